use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
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
    file: PathBuf,
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
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, BoxError> {
    let read = match file.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        }
        false => fs::read(file),
    };
    Ok(read.map_err(|error| format!("{}: {error}", file.display()))?)
}
