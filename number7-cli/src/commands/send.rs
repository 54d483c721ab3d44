use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use number7_core::{Secret, probe::Sample};
use ureq::http::Uri;

use super::sign::read;
use crate::{
    BoxError, Verdict,
    client::{Attempt, Client, DEFAULT_URL, Message, url},
    many::{Load, Summary, deliver},
    output::{BAD, GOOD, Output, line, styled},
    secret::SecretArgs,
    tls::TlsArgs,
};

/// Send a signed event to a receiver, and retry as Number7 AI does
///
/// It is a sample event, or the content of a file. If the answer is not 2xx, it is sent again up to three times,
/// after 1, 2 and 4 seconds.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 send
  number7 send --event failed --job job_7 --error 'page 2 could not be read'
  number7 send --forge --retries 0
  number7 send --file body.json --url https://example.com/webhook
  number7 send --count 1000 --concurrency 16 --rate 200")]
pub(crate) struct Args {
    /// The receiver
    #[arg(long, value_parser = url, default_value = DEFAULT_URL)]
    url: Uri,
    #[command(flatten)]
    sample: SampleArgs,
    /// Send these bytes, instead of a sample; - is the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event", "job", "document", "error"])]
    file: Option<PathBuf>,
    /// Change the body after it was signed
    #[arg(long)]
    forge: bool,
    /// Deliver each event N times, even after a 200, like a sender that missed the answer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    times: u64,
    /// Send N events; without --file, each has its own job
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,
    /// Send at most N a second
    #[arg(long, value_name = "N", value_parser = pause)]
    rate: Option<Duration>,
    /// Send N at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    concurrency: u64,
    /// Retry up to N times until a 2xx
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=10))]
    retries: u32,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// A sample event.
#[derive(clap::Args)]
pub(crate) struct SampleArgs {
    /// The event
    #[arg(long, value_enum, default_value = "completed")]
    event: Kind,
    /// Its jobId
    #[arg(long, default_value = "job_abc123")]
    job: String,
    /// Its documentType
    #[arg(long, default_value = "invoice")]
    document: String,
    /// Why the job failed, with --event failed
    #[arg(long, default_value = "page 2 could not be read")]
    error: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// job.completed
    Completed,
    /// job.failed
    Failed,
    /// an event that no receiver knows
    Unknown,
}

impl SampleArgs {
    pub(crate) fn sample(&self) -> Sample {
        let sample = match self.event {
            Kind::Completed => Sample::completed(&self.job),
            Kind::Failed => Sample::failed(&self.job, &self.error),
            Kind::Unknown => Sample::unknown(&self.job),
        };
        let now = jiff::Timestamp::now();
        sample.document(&self.document).timestamp(format!("{now:.3}"))
    }

    pub(crate) fn job(&self) -> &str {
        &self.job
    }
}

/// The pause between two events, from how many to send in a second.
fn pause(text: &str) -> Result<Duration, &'static str> {
    let rate: f64 = text.parse().map_err(|_| "not a number")?;
    match (0.001..=1_000_000.0).contains(&rate) {
        true => Ok(Duration::from_secs_f64(1.0 / rate)),
        false => Err("it has to be from 0.001 to 1000000"),
    }
}

pub(crate) fn run(args: &Args, output: Output) -> Result<Verdict, BoxError> {
    let (secret, client) = (args.secret.load()?, Client::new(&args.tls)?);
    let file = args.file.as_deref().map(read).transpose()?;
    // A repetition has the same bytes, so its time is that of the start.
    let sample = args.sample.sample();
    let message = |number: u64| args.message(file.as_ref(), &sample, number, &secret);
    if args.count == 1 && args.concurrency == 1 && args.rate.is_none() && !output.is_json() {
        return Ok(args.one_by_one(&client, &message(0)));
    }
    let Args { rate: pause, concurrency, retries, times, .. } = *args;
    let load = Load { count: args.count * times, pause, concurrency, retries };
    let summary = deliver(&client, &args.url, &load, |number| message(number / times));
    output.print(|| summary.text(), || summary.json());
    Ok(Verdict::from(summary.is_good()))
}

impl Args {
    fn message(
        &self,
        file: Option<&Vec<u8>>,
        sample: &Sample,
        number: u64,
        secret: &Secret,
    ) -> Message {
        let message = match file {
            Some(body) => Message::signed(body.clone(), secret),
            None if self.count == 1 => Message::signed(sample.json(), secret),
            None => {
                let job = format!("{}-{number}", self.sample.job);
                Message::signed(sample.clone().job(job).json(), secret)
            }
        };
        if self.forge { message.forged() } else { message }
    }

    /// Shows each attempt.
    fn one_by_one(&self, client: &Client, message: &Message) -> Verdict {
        let what = match &self.file {
            Some(file) if file.as_os_str() == "-" => "the standard input".into(),
            Some(file) => file.display().to_string(),
            None => format!("{} of {}", self.sample.sample().event(), self.sample.job),
        };
        let mut summary = Summary::default();
        for _ in 0..self.times {
            line(&format!("sending {what} to {}", self.url));
            let mut number = 0;
            let accepted = client.deliver(&self.url, message, self.retries, |attempt| {
                number += 1;
                line(&format!("attempt {number}: {}", shown(attempt)));
                if let Some(delay) = attempt.next {
                    line(&format!("next attempt in {delay:?}"));
                }
            });
            summary.end(accepted);
            if !accepted {
                line(match self.retries {
                    3.. => "all attempts failed; the vendor would be silent now",
                    _ => "it was not delivered",
                });
                break;
            }
        }
        Verdict::from(summary.is_good())
    }
}

pub(crate) fn shown(attempt: &Attempt) -> String {
    match &attempt.answer {
        Ok(status) => styled(if attempt.is_accepted() { GOOD } else { BAD }, status),
        Err(error) => styled(BAD, format!("no answer: {error}")),
    }
}
