//! The source of the secret.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use number7_core::{DEFAULT_SECRET_NAME, Secret, SecretErrorKind, Verifier};

use crate::{BoxError, output::warn};

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct SecretArgs {
    /// The environment variable that has the secret
    #[arg(long, value_name = "NAME", default_value = "WEBHOOK_SECRET")]
    secret_env: String,
    /// The file that has the secret; a newline at its end is not part of it
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The secret itself. Others can see it in the list of processes and in the shell's history
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
}

impl SecretArgs {
    pub(crate) fn load(&self) -> Result<Secret, BoxError> {
        if let Some(secret) = &self.secret {
            warn("a secret among the arguments can be seen by others: use --secret-env");
            return Ok(Secret::new(secret)?);
        }
        let Some(file) = &self.secret_file else {
            return Secret::from_env(&self.secret_env).map_err(|error| match error.kind() {
                SecretErrorKind::NotSet => format!(
                    "the environment variable {} is not set: export it, or name another source \
                     of the secret with --secret-env or --secret-file",
                    self.secret_env
                )
                .into(),
                _ => error.into(),
            });
        };
        Ok(Secret::from_file(file)?)
    }
}

/// `NAME=VARIABLE`: the name of a secret to recognize, and the environment variable that has it.
#[derive(Clone)]
pub(crate) struct Recognized {
    name: String,
    variable: String,
}

impl Recognized {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, variable) = text.split_once('=').ok_or("it has to be NAME=VARIABLE")?;
        Ok(Self { name: name.into(), variable: variable.into() })
    }
}

/// Accepts what the secret signed, recognizes the others, and searches for the cause of every mismatch.
pub(crate) fn diagnosing(secret: Secret, recognized: &[Recognized]) -> Result<Verifier, BoxError> {
    // The limit of diagnoses per second is for servers, so each diagnosis gets a second of its own.
    let seconds = AtomicU64::new(0);
    let clock = move || {
        let seconds = seconds.fetch_add(1, Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let mut names = HashSet::from([DEFAULT_SECRET_NAME]);
    let mut verifier = Verifier::new(secret).clock(clock).diagnose();
    for Recognized { name, variable } in recognized {
        if !names.insert(name) {
            return Err(format!("--recognize: there is already a secret named {name}").into());
        }
        verifier = verifier.recognize(&**name, Secret::from_env(variable)?);
    }
    Ok(verifier)
}
