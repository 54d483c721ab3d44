use std::path::PathBuf;

use serde_json::json;

use super::sign::read;
use crate::{
    BoxError, Verdict,
    output::{BAD, GOOD, Output, styled},
    secret::{Recognized, SecretArgs, diagnosing},
};

/// Say whether a body has this signature, and if not, why
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 verify --signature 4dafc16b… body.json
  number7 verify --signature 4dafc16b… --recognize staging=STAGING_SECRET body.json")]
pub(crate) struct Args {
    /// The value of the signature header
    #[arg(long, value_name = "HEX")]
    signature: String,
    /// Recognize deliveries of another environment, whose secret is in a variable
    #[arg(long, value_name = "NAME=VARIABLE", value_parser = Recognized::parse)]
    recognize: Vec<Recognized>,
    /// The body, byte for byte; - is the standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    #[command(flatten)]
    secret: SecretArgs,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<Verdict, BoxError> {
    let body = read(&args.file)?;
    // A body of any size is verified, because the user already has it.
    let verifier = diagnosing(args.secret.load()?, &args.recognize)?;
    let verifier = verifier.body_limit(body.len().max(1));
    let rejection = verifier.verify(&args.signature, body).err();
    let diagnosis = rejection.as_ref().and_then(|rejection| rejection.diagnosis());
    output.print(
        || match (&rejection, diagnosis) {
            (None, _) => styled(GOOD, "yes"),
            (Some(rejection), None) => format!("{}: {rejection}", styled(BAD, "no")),
            (Some(_), Some(diagnosis)) => format!("{}: {diagnosis}", styled(BAD, "no")),
        },
        || {
            json!({
                "verified": rejection.is_none(),
                "kind": rejection.as_ref().map(|rejection| format!("{:?}", rejection.kind())),
                "diagnosis": diagnosis.map(|diagnosis| json!({
                    "kind": format!("{:?}", diagnosis.kind()),
                    "certain": diagnosis.is_certain(),
                    "secret": diagnosis.secret(),
                    "text": diagnosis.to_string(),
                })),
            })
        },
    );
    Ok(Verdict::from(rejection.is_none()))
}
