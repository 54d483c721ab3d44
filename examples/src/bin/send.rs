//! Sends a signed sample event, with the retries that the vendor documents.

use std::{process::ExitCode, thread::sleep, time::Duration};

use clap::Parser;
use number7_core::{Secret, SecretError};
use number7_examples::{
    addr, secret,
    sender::{Kind, Message},
};

/// The vendor retries up to three times with exponential backoff; it does not publish the delays.
const BACKOFF: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Send a signed sample event to a receiver, and retry as Number7 AI does.
#[derive(Parser)]
#[expect(clippy::doc_markdown, reason = "clap prints it as it is")]
struct Args {
    /// The event to send
    #[arg(long, value_enum, default_value = "completed")]
    event: Kind,
    /// Its jobId
    #[arg(long, default_value = "job_abc123")]
    job: String,
    /// Its documentType
    #[arg(long, default_value = "invoice")]
    document: String,
    /// Change the body after it was signed
    #[arg(long)]
    forge: bool,
    /// Deliver it so many times, though it was answered 200: a retry may cross its answer
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Where to send it, by plain HTTP [default: /webhook at WEBHOOK_ADDR, or at 127.0.0.1:3000]
    #[arg(long, value_parser = plain_http)]
    url: Option<String>,
    /// The secret to sign with [default: the one in WEBHOOK_SECRET, or the demo secret]
    #[arg(long, value_parser = |text: &str| Secret::new(text))]
    secret: Option<Secret>,
}

fn main() -> Result<ExitCode, SecretError> {
    let args = Args::parse();
    let secret = args.secret.map_or_else(secret, Ok)?;
    let url = args.url.unwrap_or_else(|| format!("http://{}/webhook", addr()));
    let message = Message::sample(args.event, &args.job, &args.document, &secret);
    let message = if args.forge { message.forged() } else { message };

    for _ in 0..args.times {
        println!("sending {} of {} to {}", args.event, args.job, url);
        if !deliver(&message, &url) {
            println!("all attempts failed; the vendor would be silent now");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Delivers, up to four times. Whether it was answered 2xx in the end.
fn deliver(message: &Message, url: &str) -> bool {
    let mut backoff = BACKOFF.into_iter();
    for attempt in 1.. {
        match message.post(url) {
            Ok(status) => {
                println!("attempt {attempt}: {status}");
                if status.is_success() {
                    return true;
                }
            }
            Err(error) => println!("attempt {attempt}: no answer: {error}"),
        }
        let Some(delay) = backoff.next() else { break };
        println!("next attempt in {delay:?}");
        sleep(delay);
    }
    false
}

fn plain_http(url: &str) -> Result<String, &'static str> {
    match url.starts_with("http://") {
        true => Ok(url.to_owned()),
        false => Err("a URL of plain HTTP begins with http://"),
    }
}
