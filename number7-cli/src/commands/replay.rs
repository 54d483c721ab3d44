use std::{path::PathBuf, time::Instant};

use ureq::http::Uri;

use super::send::shown;
use crate::{
    BoxError, Verdict,
    client::{Client, DEFAULT_URL, url},
    many::Summary,
    output::{Output, line},
    recording::read,
    secret::SecretArgs,
    tls::TlsArgs,
};

/// Send recorded deliveries again, as they were or signed anew
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 listen --record deliveries.jsonl
  number7 replay deliveries.jsonl
  number7 replay deliveries.jsonl --select job.failed
  number7 replay deliveries.jsonl --select job.completed:job_abc123 --resign --secret-env TEST_SECRET")]
pub(crate) struct Args {
    /// A file that `number7 listen --record` wrote
    file: PathBuf,
    /// The receiver
    #[arg(long, value_parser = url, default_value = DEFAULT_URL)]
    url: Uri,
    /// Only deliveries with this key, such as job.failed:job_7, or of this event. May be repeated
    #[arg(long, value_name = "KEY|EVENT")]
    select: Vec<String>,
    /// Sign them anew with the secret
    #[arg(long)]
    resign: bool,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub(crate) fn run(args: &Args, output: Output) -> Result<Verdict, BoxError> {
    let client = Client::new(&args.tls)?;
    let secret = args.resign.then(|| args.secret.load()).transpose()?;
    let is_selected =
        |name: &Option<String>| name.as_ref().is_some_and(|name| args.select.contains(name));
    let (begun, mut summary) = (Instant::now(), Summary::default());
    for recorded in read(&args.file)? {
        if !args.select.is_empty() && !is_selected(&recorded.key) && !is_selected(&recorded.event) {
            continue;
        }
        let message = recorded.message()?;
        let message = match &secret {
            Some(secret) => message.signed_again(secret),
            None => message,
        };
        let name = recorded.key.or(recorded.event).unwrap_or_else(|| "a delivery".into());
        let accepted = client.deliver(&args.url, &message, 0, |attempt| {
            if !output.is_json() {
                line(&format!("{name} of {}: {}", recorded.time, shown(attempt)));
            }
            summary.add(attempt);
        });
        summary.end(accepted);
    }
    if summary.is_empty() {
        return Err(format!("{} has no such delivery", args.file.display()).into());
    }
    summary.end_all(begun.elapsed());
    output.print(|| summary.text(), || summary.json());
    Ok(Verdict::from(summary.is_good()))
}
