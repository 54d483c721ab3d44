//! What an operator asks of an inbox.

mod store;
mod text;
mod watch;

use std::time::Duration;

use clap::Subcommand;
use number7_inbox::{Cursor, Entry, Filter, Inbox, State, Stats};
use serde_json::{Value, json};

use self::store::StoreArgs;
use crate::{BoxError, Verdict, output::Output};

/// See how much is in an inbox, list and show its events, requeue or discard dead letters, make its tables
#[derive(Subcommand)]
#[command(after_long_help = "An event is in one of six states:
  ready        it waits for a worker
  scheduled    it waits for its next attempt, at a known time
  quarantined  its worker died, and the event may be the cause: it waits for a worker that has no
               other quarantined event
  running      a worker has claimed it: its handler is running, or the worker has died and the
               event was not rescued yet
  done         it is finished, or was discarded
  dead         a dead letter: its attempts are used up, or its handler returned a permanent
               failure; it is not tried again unless you requeue it

A key is EVENT:JOB, such as job.failed:job_7; `list` shows it.

Events stay ready if no worker is running, or if every worker already runs its maximum: 16 unless
the receiver sets its concurrency. `stats` shows how many workers were seen in the last 30 seconds;
one that has just died is still counted. First start another process on the same store. Then set a
timeout or a larger concurrency in the receiver.
If a worker dies, another one rescues its running events when the lease has expired: after 20
seconds unless the receiver sets it.
Dead letters wait for you: `show` has their errors. Fix the cause, and requeue or discard them.

Examples:
  number7 inbox stats --store sqlite:inbox.db
  number7 inbox list --store sqlite:inbox.db
  number7 inbox list --state running --store postgres://localhost/app
  number7 inbox overdue --store postgres://localhost/app
  number7 inbox migrate --print --store postgres://localhost/app
  number7 inbox show job.failed:job_7 --store postgres://localhost/app
  number7 inbox requeue job.failed:job_7 --store redis://localhost/
  number7 inbox requeue --all --event job.failed --store redis://localhost/")]
pub(crate) enum Command {
    /// Count the events by state, the workers, and the overdue jobs
    Stats {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List the events in a state, the oldest first: dead letters unless another state is named
    List(ListArgs),
    /// List overdue jobs: the app expected their results by now, and none has come
    Overdue(OverdueArgs),
    /// Show an event: its state, its attempts with their errors, and its JSON
    Show(KeyArgs),
    /// Make a dead letter ready again, or all of them. Its attempts are counted from 0 again
    Requeue(RequeueArgs),
    /// Give up a dead letter for good
    ///
    /// It counts as done, and this cannot be undone. Its key stays known for the retention of the workers,
    /// a week by default. Until then further deliveries are answered 200 and ignored.
    Discard(KeyArgs),
    /// Make the tables of the inbox, or upgrade them: what a receiver does when it starts
    ///
    /// It changes nothing if the tables are up to date. Run it at deployment if your receivers may not create
    /// tables. On Redis there is nothing to make.
    Migrate {
        /// Print the SQL that makes all tables, and do not connect
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show the stats, and the oldest events of each state except done, once a second
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
    /// The state: ready, scheduled, quarantined, running, done or dead
    #[arg(long, default_value = "dead", value_parser = state)]
    state: State,
    #[command(flatten)]
    filter: FilterArgs,
    /// List at most N
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue after the cursor of an earlier list
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
pub(crate) struct OverdueArgs {
    /// List at most N
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue after the cursor of an earlier list
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
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The key, such as job.failed:job_7
    #[arg(conflicts_with_all = ["event", "job"])]
    key: Option<String>,
    /// All dead letters, or those that --event and --job name
    #[arg(long)]
    all: bool,
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
    let found = State::ALL.into_iter().find(|state| state.name() == name);
    found.ok_or_else(|| format!("use one of {}", names()))
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).ok_or("use a number of seconds above 0")
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Verdict, BoxError> {
    match command {
        Command::Stats { store } => {
            let stats = store.open().await?.stats().await?;
            output.print(|| text::stats(&stats), || text::stats_json(&stats));
            say_if_empty(&stats, output);
            Ok(Verdict::Yes)
        }
        Command::List(ListArgs { state, filter, limit, after, store }) => {
            let inbox = store.open().await?;
            let filter = filter.filter();
            let page = inbox.list(state, &filter, after.as_ref(), limit).await?;
            let next = page.next.as_ref().map(ToString::to_string);
            output.print(
                || text::list(state, &page, after.is_some()),
                || json!({ "entries": page.entries.iter().map(text::json).collect::<Value>(), "next": next }),
            );
            if page.entries.is_empty() {
                say_why_none(&inbox, state, &filter, output).await?;
            }
            Ok(Verdict::Yes)
        }
        Command::Overdue(OverdueArgs { limit, after, store }) => {
            let page = store.open().await?.overdue(after.as_ref(), limit).await?;
            let next = page.next.as_ref().map(ToString::to_string);
            output.print(
                || text::overdue(&page, after.is_some()),
                || json!({ "jobs": page.entries.iter().map(text::job_json).collect::<Value>(), "next": next }),
            );
            Ok(Verdict::Yes)
        }
        Command::Show(KeyArgs { key, store }) => {
            let inbox = store.open().await?;
            let entry: Option<Entry> = inbox.show(&key).await?;
            output.print(
                || entry.as_ref().map_or_else(|| text::unknown(&key), text::show),
                || entry.as_ref().map_or(Value::Null, text::json),
            );
            if entry.is_none() {
                say_if_empty(&inbox.stats().await?, output);
            }
            Ok(Verdict::from(entry.is_some()))
        }
        Command::Requeue(RequeueArgs { which: Which { key: Some(key), .. }, store, .. }) => {
            let inbox = store.open().await?;
            let requeued = inbox.requeue(&key).await?;
            changed(&inbox, &key, requeued, "is ready again", output).await
        }
        Command::Requeue(RequeueArgs { filter, store, .. }) => {
            let inbox = store.open().await?;
            let filter = filter.filter();
            let number = inbox.requeue_all(&filter).await?;
            let dead_letters = if number == 1 { "dead letter is" } else { "dead letters are" };
            output.print(
                || format!("{number} {dead_letters} ready again"),
                || json!({ "requeued": number }),
            );
            if number == 0 {
                say_why_none(&inbox, State::Dead, &filter, output).await?;
            }
            Ok(Verdict::Yes)
        }
        Command::Discard(KeyArgs { key, store }) => {
            let inbox = store.open().await?;
            let discarded = inbox.discard(&key).await?;
            changed(&inbox, &key, discarded, "is given up, and counts as done", output).await
        }
        Command::Migrate { print: true, store } => {
            let sql = store.options().migrations(store.url())?;
            output.print(|| sql.trim_end().to_owned(), || json!({ "sql": sql }));
            Ok(Verdict::Yes)
        }
        Command::Migrate { print: false, store } => {
            store.options().open(store.url()).await?;
            output.print(|| "the tables are up to date".into(), || json!({ "up_to_date": true }));
            Ok(Verdict::Yes)
        }
        Command::Watch { interval, store } => {
            watch::run(store.open().await?, interval, output).await
        }
    }
}

/// Says what became of a dead letter, or that there is none of this key.
async fn changed(
    inbox: &Inbox,
    key: &str,
    is_changed: bool,
    how: &str,
    output: Output,
) -> Result<Verdict, BoxError> {
    let text = match inbox.show(key).await? {
        _ if is_changed => format!("{key} {how}"),
        Some(entry) => format!("{key} is {}, not dead", entry.state()),
        None => text::unknown(key),
    };
    output.print(|| text, || json!({ "key": key, "changed": is_changed }));
    if !is_changed {
        say_if_empty(&inbox.stats().await?, output);
    }
    Ok(Verdict::from(is_changed))
}

/// A filter may be mistyped.
async fn say_why_none(
    inbox: &Inbox,
    state: State,
    filter: &Filter,
    output: Output,
) -> Result<(), BoxError> {
    let stats = inbox.stats().await?;
    let others = stats.of(state);
    if others > 0 && *filter != Filter::new() {
        output.note(&format!(
            "without --event and --job there are {others}; the name of an event is like job.failed"
        ));
    }
    say_if_empty(&stats, output);
    Ok(())
}

/// It may be the wrong one.
fn say_if_empty(stats: &Stats, output: Output) {
    if *stats == Stats::default() {
        output.note(
            "this inbox has no events and no workers: are --store and --inbox those of the receiver?",
        );
    }
}
