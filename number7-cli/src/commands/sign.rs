use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use number7_core::SIGNATURE_HEADER;
use serde_json::json;

use crate::{BoxError, Verdict, output::Output, secret::SecretArgs};

/// Print the signature header of a body
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 sign body.json
  printf %s '{\"event\":\"job.completed\"}' | number7 sign
  curl -H \"$(number7 sign body.json)\" --data-binary @body.json http://127.0.0.1:3000/webhook")]
pub(crate) struct Args {
    /// The body, byte for byte; - is the standard input
    #[arg(default_value = "-")]
    file: String,
    #[command(flatten)]
    secret: SecretArgs,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<Verdict, BoxError> {
    let signature = args.secret.load()?.sign(read(&args.file)?).to_string();
    output.print(
        || format!("{SIGNATURE_HEADER}: {signature}"),
        || json!({ "header": SIGNATURE_HEADER, "signature": signature }),
    );
    Ok(Verdict::Yes)
}

/// All bytes of a file, or of the standard input.
pub(crate) fn read(file: &str) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    let read = match file {
        "-" => io::stdin().read_to_end(&mut bytes).map(drop),
        file => fs::read(Path::new(file)).map(|read| bytes = read),
    };
    read.map_err(|error| format!("{file}: {error}"))?;
    Ok(bytes)
}
