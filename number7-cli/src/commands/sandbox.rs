use std::{env, net::SocketAddr, time::Duration};

use clap::ValueEnum;
use number7_sandbox::{
    DEFAULT_API_KEY, DEFAULT_CONCURRENT_JOBS, DEFAULT_REQUESTS_PER_MINUTE, Happening, Misbehaviour,
    Sandbox, Share, Summary,
};
use serde_json::json;
use tokio::{net::TcpListener, signal};

use crate::{
    BoxError, Verdict,
    duration::duration,
    output::{BAD, FAINT, GOOD, Output, styled},
    secret::SecretArgs,
};

/// Stand in for Number7 AI on this machine: its REST API and its webhooks
///
/// It accepts documents, processes them, sends signed webhooks, and answers with made-up results. It has the rate limit of a
/// plan. On request it misbehaves, in the same way for the same seed. It prints a line for each thing that it does. Ctrl-C ends
/// it with a summary of what a correct receiver has received.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 sandbox
  number7 sandbox --lose 30% --repeat --outage
  number7 sandbox --to http://127.0.0.1:8080/webhook --plan growth --job-time 500ms --seed 7")]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:4000")]
    addr: SocketAddr,
    /// Where the webhooks go
    #[arg(long, value_name = "URL", value_parser = plain_http, default_value = crate::client::DEFAULT_URL)]
    to: String,
    /// The environment variable that has the API key to accept; if it is not set, the key is "sandbox"
    #[arg(long, value_name = "NAME", default_value = "N7_API_KEY")]
    api_key_env: String,
    /// The rate limit, and how many jobs run at a time
    #[arg(long, value_enum, default_value = "starter")]
    plan: Plan,
    /// Allow N requests a minute, instead of the plan's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,
    /// How long a job takes, approximately
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    job_time: Duration,
    #[command(flatten)]
    secret: SecretArgs,
    // Last, because its heading also applies to the options after it.
    #[command(flatten)]
    misbehaviour: MisbehaviourArgs,
    /// The seed that decides which jobs go wrong
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Plan {
    /// 30 requests a minute, 5 jobs at a time
    Starter,
    /// 120 requests a minute, 20 jobs at a time
    Growth,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Misbehaviour")]
struct MisbehaviourArgs {
    /// Never send this share of the webhooks, such as 30% (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    lose: Option<Share>,
    /// Send this share of the webhooks again after they were accepted (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    repeat: Option<Share>,
    /// Let later webhooks overtake this share (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    reorder: Option<Share>,
    /// Let this share of the jobs fail (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    fail_jobs: Option<Share>,
    /// For this share of the jobs, also send a forged webhook (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    forge: Option<Share>,
    /// Sign this share of the webhooks with another secret (20% if none is given)
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "20%")]
    other_secret: Option<Share>,
    /// Send each webhook up to this much late (5s if none is given)
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", value_parser = duration)]
    delay: Option<Duration>,
    /// After the first job has ended, let all requests and webhooks fail for this long (30s if none is given)
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "30s", value_parser = duration)]
    outage: Option<Duration>,
}

impl From<MisbehaviourArgs> for Misbehaviour {
    fn from(args: MisbehaviourArgs) -> Self {
        let mut misbehaviour = Self::default();
        misbehaviour.lose = args.lose.unwrap_or_default();
        misbehaviour.repeat = args.repeat.unwrap_or_default();
        misbehaviour.reorder = args.reorder.unwrap_or_default();
        misbehaviour.fail_jobs = args.fail_jobs.unwrap_or_default();
        misbehaviour.forge = args.forge.unwrap_or_default();
        misbehaviour.other_secret = args.other_secret.unwrap_or_default();
        misbehaviour.delay = args.delay.unwrap_or_default();
        misbehaviour.outage = args.outage.unwrap_or_default();
        misbehaviour
    }
}

/// The sandbox is for this machine, and has no TLS.
fn plain_http(text: &str) -> Result<String, String> {
    let url = crate::client::url(text)?;
    match url.scheme_str() {
        Some("http") => Ok(text.into()),
        _ => Err("the sandbox sends to http:// only".into()),
    }
}

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let api_key = match env::var(&args.api_key_env) {
        Ok(key) if !key.is_empty() => key,
        _ => DEFAULT_API_KEY.to_owned(),
    };
    let (requests, jobs) = match args.plan {
        Plan::Starter => (DEFAULT_REQUESTS_PER_MINUTE, DEFAULT_CONCURRENT_JOBS),
        Plan::Growth => (120, 20),
    };
    let listener = TcpListener::bind(args.addr).await;
    let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    let sandbox = Sandbox::new(args.secret.load()?)
        .webhooks_to(&args.to)
        .api_key(api_key)
        .plan(args.requests_per_minute.unwrap_or(requests), jobs)
        .job_time(args.job_time)
        .misbehave(args.misbehaviour.into())
        .seed(args.seed)
        .on_happening(move |happening| {
            output.print(|| shown(happening), || json!(happening));
        })
        .start(listener)?;
    let url = sandbox.base_url();
    output.print(
        || format!("the API is at {url}, and webhooks go to {}", args.to),
        || json!({ "listening": url, "webhooks": args.to }),
    );
    signal::ctrl_c().await?;
    let summary = sandbox.summary();
    let text = || ["\n", &summary.to_string(), "\n  ", &summary.to_handle.join("\n  ")].concat();
    output.print(text, || json!(summary));
    Ok(Verdict::from(is_good(&summary)))
}

/// Whether the receiver has refused what it must refuse.
fn is_good(summary: &Summary) -> bool {
    summary.not_refused == 0
}

fn shown(happening: &Happening) -> String {
    let time = styled(FAINT, format!("{:.3}", jiff::Timestamp::now()));
    let style = match happening {
        Happening::Finished { .. } | Happening::Sent { status: Some(200..=299), .. } => GOOD,
        Happening::Lost { .. } | Happening::GivenUp { .. } | Happening::OutageBegan => BAD,
        _ => return format!("{time} {happening}"),
    };
    format!("{time} {}", styled(style, happening))
}
