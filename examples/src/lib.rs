//! Common parts of the examples: their configuration, and their errors.

mod metrics;

use std::{
    env,
    error::Error,
    fmt,
    io::{self, IsTerminal},
    net::TcpListener,
};

use number7_core::{Event, Secret, SecretError, SecretErrorKind, Verifier};

pub use self::metrics::metrics;

/// The secret of receivers and senders without another. It is in this file, so anybody can sign with it.
pub const DEMO_SECRET: &str = "number7-demo-secret";

/// The error of an example. If `main` returns it, it is printed as a sentence.
pub struct Failure(Box<dyn Error + Send + Sync>);

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Writes the log to the standard error, colored on a terminal.
pub fn log() {
    let is_terminal = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(is_terminal).init();
}

/// Accepts what [`secret`] signed. If a signature does not match, it searches for the cause, which is logged.
///
/// # Errors
///
/// The value of `WEBHOOK_SECRET` cannot be a secret.
pub fn verifier() -> Result<Verifier, SecretError> {
    Ok(Verifier::new(secret()?).diagnose())
}

/// The URL of a store without user, password and options, so that it may be printed.
#[must_use]
pub fn without_password(store: &str) -> String {
    let Some((scheme, rest)) = store.split_once("://") else { return store.to_owned() };
    // Without a parser for URLs, because a URL of Sentinels has several hosts.
    let (rest, _) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    let (_, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    format!("{scheme}://{rest}")
}

/// The secret in `WEBHOOK_SECRET`, or else, with a warning, the [`DEMO_SECRET`].
///
/// # Errors
///
/// The value of `WEBHOOK_SECRET` cannot be a secret.
pub fn secret() -> Result<Secret, SecretError> {
    secret_or("WEBHOOK_SECRET", DEMO_SECRET)
}

/// The secret in an environment variable, or else, with a warning, another one.
///
/// # Errors
///
/// The value of the variable cannot be a secret.
pub fn secret_or(variable: &str, demo: &str) -> Result<Secret, SecretError> {
    match Secret::from_env(variable) {
        Err(error) if error.kind() == SecretErrorKind::NotSet => {
            eprintln!("warning: {variable} is not set; using {demo}, with which anybody can sign");
            Secret::new(demo)
        }
        other => other,
    }
}

/// The address to listen on, or to send to: `WEBHOOK_ADDR`, or `127.0.0.1:3000`.
#[must_use]
pub fn addr() -> String {
    env::var("WEBHOOK_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into())
}

/// Listens on [`addr`], and prints that.
///
/// # Errors
///
/// The address is invalid or in use. The error names it.
pub fn listen() -> io::Result<TcpListener> {
    let addr = addr();
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {addr} (WEBHOOK_ADDR): {error}"))
    };
    let listener = TcpListener::bind(&addr).map_err(named)?;
    listener.set_nonblocking(true)?;
    println!("listening on http://{}/webhook", listener.local_addr()?);
    Ok(listener)
}

/// Handles an event: prints it.
pub fn handle(event: &Event) {
    match event {
        Event::JobCompleted(job) => {
            println!("handled: {} is done: {}", job.job_id, job.document_type)
        }
        Event::JobFailed(job) => println!("handled: {} failed: {}", job.job_id, job.error),
        Event::Unknown(other) => println!("handled: {} is unknown: {}", other.name(), other.json()),
        _ => println!("handled: {} is newer than this example", event.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_store_is_printed_without_its_password() {
        for (store, printed) in [
            ("postgres://me:secret@db:5432/app?password=secret", "postgres://db:5432/app"),
            ("redis://:secret@localhost/", "redis://localhost/"),
            (
                "redis+sentinel://me:secret@one:26379,two:26379/main/0?sentinel_password=secret",
                "redis+sentinel://one:26379,two:26379/main/0",
            ),
            ("sqlite:/tmp/number7-inbox/inbox.db", "sqlite:/tmp/number7-inbox/inbox.db"),
        ] {
            assert_eq!(without_password(store), printed);
        }
    }
}
