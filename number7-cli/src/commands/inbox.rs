//! What an operator asks of an inbox.

mod store;
mod text;
mod watch;

use std::time::Duration;

use clap::Subcommand;
use number7_inbox::{Cursor, Entry, Filter, State};
use serde_json::{Value, json};

use self::store::StoreArgs;
use crate::{BoxError, Verdict, output::Output};

/// See how much is in an inbox, list and show its events, and requeue or discard dead letters
#[derive(Subcommand)]
#[command(after_long_help = "An event is in one of five states:
  due      it waits for a worker
  later    it rests after an attempt, and will be due
  in_hand  a worker has it, and its handler runs
  done     it is finished
  dead     its last attempt failed, and nobody tries it again: a dead letter

Examples:
  number7 inbox stats --store sqlite:inbox.db
  number7 inbox list --store sqlite:inbox.db
  number7 inbox list --state in_hand --store postgres://localhost/app
  number7 inbox show job.failed:job_7 --store postgres://localhost/app
  number7 inbox requeue job.failed:job_7 --store redis://localhost/
  number7 inbox requeue --all --event job.failed --store redis://localhost/")]
pub(crate) enum Command {
    /// Count the events by state, and say how long the oldest has been due
    Stats {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List the events in a state, the oldest first: dead letters unless another state is named
    List(ListArgs),
    /// Show an event: its state, its attempts with their errors, and its JSON
    Show(KeyArgs),
    /// Put a dead letter back to work, with all its attempts; or all of them
    Requeue(RequeueArgs),
    /// Give a dead letter up for good: it is not tried again, and its key is forgotten when the
    /// retention of the workers is over, which is a week by default. Until then a delivery of its key
    /// is answered 200, and not handled
    Discard(KeyArgs),
    /// Show the numbers, what is in hand, and the dead letters, anew every second
    Watch {
        /// How many seconds from one look to the next
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        interval: Duration,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// The state: due, later, in_hand, done or dead
    #[arg(long, default_value = "dead", value_parser = state)]
    state: State,
    #[command(flatten)]
    filter: FilterArgs,
    /// List at most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on after the place that an earlier list ended with
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
pub(crate) struct FilterArgs {
    /// Only events of this name, such as job.failed
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only events about this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// The key, such as job.failed:job_7
    key: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
pub(crate) struct RequeueArgs {
    /// The key, such as job.failed:job_7
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "event", "job"])]
    key: Option<String>,
    /// All dead letters, or those that --event and --job name
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    store: StoreArgs,
}

impl FilterArgs {
    fn filter(self) -> Filter {
        let filter = Filter::new();
        let filter = match self.event {
            Some(event) => filter.event(event),
            None => filter,
        };
        match self.job {
            Some(job) => filter.job(job),
            None => filter,
        }
    }
}

fn state(name: &str) -> Result<State, String> {
    let names = || State::ALL.map(State::name).join(", ");
    let found = State::ALL.into_iter().find(|state| state.name() == name.replace('-', "_"));
    found.ok_or_else(|| format!("it is one of {}", names()))
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or("it is a number of seconds above 0")
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Verdict, BoxError> {
    match command {
        Command::Stats { store } => {
            let stats = store.open().await?.stats().await?;
            output.print(|| text::stats(&stats), || text::stats_json(&stats));
            Ok(Verdict::Yes)
        }
        Command::List(ListArgs { state, filter, limit, after, store }) => {
            let inbox = store.open().await?;
            let page = inbox.list(state, &filter.filter(), after.as_ref(), limit).await?;
            let next = page.next.map(|cursor| cursor.to_string());
            output.print(
                || text::list(state, &page.entries),
                || json!({ "entries": page.entries.iter().map(text::json).collect::<Value>(), "next": next }),
            );
            if let Some(next) = &next {
                output.note(&format!("there may be more: add --after {next}"));
            }
            Ok(Verdict::Yes)
        }
        Command::Show(KeyArgs { key, store }) => {
            let entry: Option<Entry> = store.open().await?.show(&key).await?;
            output.print(
                || entry.as_ref().map_or_else(|| format!("{key} is not known"), text::show),
                || entry.as_ref().map_or(Value::Null, text::json),
            );
            Ok(Verdict::from(entry.is_some()))
        }
        Command::Requeue(RequeueArgs { key: Some(key), store, .. }) => {
            let requeued = store.open().await?.requeue(&key).await?;
            Ok(changed(&key, requeued, "is back at work", output))
        }
        Command::Requeue(RequeueArgs { key: None, filter, store, .. }) => {
            let number = store.open().await?.requeue_all(&filter.filter()).await?;
            let letters = if number == 1 { "dead letter is" } else { "dead letters are" };
            output.print(
                || format!("{number} {letters} back at work"),
                || json!({ "requeued": number }),
            );
            Ok(Verdict::Yes)
        }
        Command::Discard(KeyArgs { key, store }) => {
            let discarded = store.open().await?.discard(&key).await?;
            Ok(changed(&key, discarded, "is given up", output))
        }
        Command::Watch { interval, store } => {
            watch::run(store.open().await?, interval, output).await
        }
    }
}

fn changed(key: &str, is_changed: bool, how: &str, output: Output) -> Verdict {
    output.print(
        || if is_changed { format!("{key} {how}") } else { format!("{key} is no dead letter") },
        || json!({ "key": key, "changed": is_changed }),
    );
    Verdict::from(is_changed)
}
