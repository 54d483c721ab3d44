use std::time::Duration;

use number7_client::{ErrorKind, JobId, JobResult, RawJson};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    BoxError, Verdict,
    api::ApiArgs,
    duration::duration,
    output::{BAD, Output, line, styled},
};

/// Print the result of a job
///
/// The exit status is 0 if the job is done, and 1 if it failed, is not finished, or is not known.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 result job_abc123
  number7 result job_abc123 --wait
  number7 result job_abc123 --wait --every 1s --api http://127.0.0.1:4000/api/v1")]
pub(crate) struct Args {
    /// The id of the job
    job: String,
    /// Ask again until the job is finished
    #[arg(long)]
    wait: bool,
    /// With --wait, how often to ask
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "20s")]
    every: Duration,
    /// With --wait, how long to wait at most
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    at_most: Duration,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let (client, job) = (args.api.client()?, JobId::from(args.job));
    let deadline = Instant::now() + args.at_most;
    loop {
        let result = match client.result(&job).await {
            Ok(result) => result,
            // A transient error does not end the waiting.
            Err(error) if args.wait && error.is_transient() => {
                let rest = error.retry_after().unwrap_or_default().max(args.every);
                if Instant::now() + rest > deadline {
                    return Err(error.into());
                }
                output.note(&error.to_string());
                sleep(rest).await;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::UnknownJob => {
                output.print(|| styled(BAD, &error), || json!({ "unknown": job.as_str() }));
                return Ok(Verdict::No);
            }
            Err(error) => return Err(error.into()),
        };
        match &result {
            JobResult::Running(running) if args.wait && Instant::now() + args.every <= deadline => {
                output.note(&format!("{job} is {}", running.file_status));
                sleep(args.every).await;
            }
            JobResult::Running(running) => {
                let text = format!("{job} is not finished: {}", running.file_status);
                print(output, &text, &running.data);
                return Ok(Verdict::No);
            }
            JobResult::Failed(failed) => {
                let text = format!("{job} failed: {}", styled(BAD, &failed.error));
                print(output, &text, &failed.data);
                return Ok(Verdict::No);
            }
            JobResult::Finished(done) => {
                print(output, done.result.get(), &done.data);
                return Ok(Verdict::Yes);
            }
            _ => return Err("this version does not know what became of the job".into()),
        }
    }
}

/// Prints the vendor's own JSON, because a parser would lose digits.
fn print(output: Output, text: &str, data: &RawJson) {
    line(if output.is_json() { data.get() } else { text });
}
