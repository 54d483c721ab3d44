//! The commands of an operator for an inbox.

mod board;
mod store;
mod text;
mod watch;

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use number7_inbox::{
    Account, ChangeEvents, Cursor, Entry, Filter, Inbox, Origin, Page, Paused, State, Stats,
};
use serde_json::{Value, json};

use self::{board::BoardArgs, store::StoreArgs};
use crate::{BoxError, Verdict, duration::duration, output::Output};

/// See how much is in an inbox, list and show its events, requeue, rerun or discard them, pause its workers
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

Events stay ready if the inbox is paused, if no worker is running, or if every worker already runs
its maximum: 16 unless the receiver sets its concurrency. `stats` shows a pause. `stats` shows how many workers were seen in the last 30 seconds;
one that has just died is still counted. First start another process on the same store. Then set a
timeout or a larger concurrency in the receiver.
If a worker dies, another one rescues its running events when the lease has expired: after 20
seconds unless the receiver sets it.
Dead letters wait for you: `show` has their errors. Fix the cause, and requeue or discard them.
If a handler was wrong and said nothing, its events are done: fix it, and rerun them.

A TIME is like 2026-11-30T08:00:00Z, or as long ago as 90m or 2h. With --all, what is changed is the oldest first.

Examples:
  number7 inbox stats --store sqlite:inbox.db
  number7 inbox list --store sqlite:inbox.db
  number7 inbox list --state running --store postgres://localhost/app
  number7 inbox list --state done --signed-by old --store postgres://localhost/app
  number7 inbox overdue --store postgres://localhost/app
  number7 inbox migrate --print --store postgres://localhost/app
  number7 inbox show job.failed:job_7 --store postgres://localhost/app
  number7 inbox requeue job.failed:job_7 --store redis://localhost/
  number7 inbox requeue --all --event job.failed --store redis://localhost/
  number7 inbox pause --for 10m --why 'the database moves' --store redis://localhost/
  number7 inbox rerun --all --since-after 4h --since-before 1h --dry-run --store redis://localhost/")]
pub(crate) enum Command {
    /// Count the events by state, the workers, and the overdue jobs
    Stats {
        /// Also count what each secret signed, and show when the last of it was accepted. This goes through all events
        #[arg(long)]
        by_secret: bool,
        /// Count only the events of this account. This goes through all events
        #[arg(long, value_name = "NAME", conflicts_with = "by_secret")]
        account: Option<Account>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List the events in a state, the oldest first: dead letters unless another state is named
    List(ListArgs),
    /// List overdue jobs: the app expected their results by now, but none has arrived
    Overdue(OverdueArgs),
    /// Show an event: its state, its attempts with their errors, and its JSON
    Show(KeyArgs),
    /// Make a dead letter ready again, or all of them. Its attempts are counted from 0 again
    Requeue(ChangeArgs),
    /// Make a done event ready again, or all of them
    ///
    /// Use it if a handler was wrong but reported no error. Its attempts are counted from 0 again, and its history has a note.
    /// An event whose payload is forgotten cannot be rerun: such events are counted.
    Rerun(ChangeArgs),
    /// Make a scheduled event ready now, or all of them
    RunNow(ChangeArgs),
    /// Give up a dead letter for good, or all of them
    ///
    /// It counts as done. Its key stays known for the retention of the workers, a week by default. Until then, further
    /// deliveries of it are answered 200 and ignored.
    Discard(ChangeArgs),
    /// Pause all workers of the inbox, in every process: they claim nothing, or nothing of an account, and finish what they run
    ///
    /// Events are accepted as before. The pause lasts until `number7 inbox resume`, or for the given time. A restart does not
    /// end it. If there already is a pause, it is changed.
    Pause {
        /// Pause only the events of this account: workers continue with all others
        #[arg(long, value_name = "NAME")]
        account: Option<Account>,
        /// How long, such as 10m or 1h. Without it, until it is resumed
        #[arg(long, value_name = "TIME", value_parser = duration)]
        r#for: Option<Duration>,
        /// Why. `stats`, `watch` and the log of each worker show it
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
        /// Who pauses it
        #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = "")]
        by: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// End a pause
    Resume {
        /// End the pause of this account
        #[arg(long, value_name = "NAME")]
        account: Option<Account>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Create the tables of the inbox, or upgrade them, as a receiver does when it starts
    ///
    /// It changes nothing if the tables are up to date. Run it at deployment if your receivers may not create tables. On Redis
    /// there is nothing to create.
    Migrate {
        /// Print the SQL that creates all tables, and do not connect
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Serve the board: pages for a browser that show the same as these commands and, if allowed, do the same
    ///
    /// By default it listens on the loopback, and changes nothing. Anybody who can connect to it sees all events. So on another
    /// address it needs a password, and should be behind a proxy that terminates TLS. Ctrl-C ends it.
    Board(BoardArgs),
    /// Show the stats, and the oldest events of each state except done, once a second
    Watch {
        /// How many seconds to wait between two looks
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
    /// Only events with this name, such as job.failed
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only events of this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Only events about this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only events with an error that contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only signed, or only fetched events
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Option<Origin>,
    /// Only events that the secret with this name signed, first or later with other bytes
    #[arg(long, value_name = "SECRET")]
    signed_by: Option<String>,
    /// Only events that were later signed with other bytes
    #[arg(long)]
    conflict: bool,
    /// Only events that were accepted at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    accepted_after: Option<SystemTime>,
    /// Only events that were accepted before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    accepted_before: Option<SystemTime>,
    /// Only events that entered their state at this time or later (done and dead: when they finished)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since_after: Option<SystemTime>,
    /// Only events that entered their state before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since_before: Option<SystemTime>,
}

#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// The key, such as job.failed:job_7
    key: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: FilterArgs,
    /// Change nothing, but say how many events would be changed, and show the first ones
    #[arg(long)]
    dry_run: bool,
    /// Change at most N events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Change at most N events a second, so that new ones do not wait behind them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The key, such as job.failed:job_7
    key: Option<String>,
    /// All events in the state, or those that the filters select
    #[arg(long)]
    all: bool,
}

impl FilterArgs {
    fn filter(self) -> Filter {
        let filter = Filter::new();
        let filter = self.event.into_iter().fold(filter, Filter::event);
        let filter = self.account.into_iter().fold(filter, Filter::account);
        let filter = self.job.into_iter().fold(filter, Filter::job);
        let filter = self.error.into_iter().fold(filter, Filter::error);
        let filter = self.origin.into_iter().fold(filter, Filter::origin);
        let filter = self.signed_by.into_iter().fold(filter, Filter::signed_by);
        let filter = if self.conflict { filter.conflict() } else { filter };
        let filter = self.accepted_after.into_iter().fold(filter, Filter::accepted_after);
        let filter = self.accepted_before.into_iter().fold(filter, Filter::accepted_before);
        let filter = self.since_after.into_iter().fold(filter, Filter::since_after);
        self.since_before.into_iter().fold(filter, Filter::since_before)
    }
}

fn origin(name: &str) -> Result<Origin, &'static str> {
    let found = [Origin::Signed, Origin::Fetched].into_iter().find(|origin| origin.name() == name);
    found.ok_or("use signed or fetched")
}

/// A moment, or how long ago it was.
fn time(text: &str) -> Result<SystemTime, &'static str> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        let since_epoch = Duration::try_from(time.as_duration());
        let time = since_epoch.ok().and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time));
        return time.ok_or("use a time after 1970");
    }
    let ago = duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.ok_or("use a time such as 2026-11-30T08:00:00Z, or how long ago it is, such as 2h")
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
        Command::Stats { account: Some(account), store, .. } => {
            let account = store.open().await?.account(&account);
            let (stats, paused) = (account.stats().await?, account.paused().await?);
            output.print(
                || text::account_stats(&stats, paused.as_ref()),
                || text::account_stats_json(&stats, paused.as_ref()),
            );
            Ok(Verdict::Yes)
        }
        Command::Stats { by_secret, account: None, store } => {
            let inbox = store.open().await?;
            let stats = inbox.stats().await?;
            let pauses = pauses(&inbox, &stats).await?;
            let secrets = if by_secret { Some(inbox.secrets().await?) } else { None };
            output.print(
                || text::with_secrets(text::stats(&stats, &pauses), secrets.as_deref()),
                || {
                    let mut json = text::stats_json(&stats, &pauses);
                    if let Some(secrets) = &secrets {
                        json["secrets"] = secrets.iter().map(text::secret_json).collect();
                    }
                    json
                },
            );
            say_if_empty(&stats, output);
            Ok(Verdict::Yes)
        }
        Command::List(ListArgs { state, filter, limit, after, store }) => {
            let inbox = store.open().await?;
            let filter = filter.filter();
            let page = list(&inbox, state, &filter, after.as_ref(), limit).await?;
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
        Command::Requeue(args) => change(args, &REQUEUE, output).await,
        Command::Rerun(args) => change(args, &RERUN, output).await,
        Command::RunNow(args) => change(args, &RUN_NOW, output).await,
        Command::Discard(args) => change(args, &DISCARD, output).await,
        Command::Pause { account, r#for: length, why, by, store } => {
            let inbox = store.open().await?;
            let paused = match account {
                Some(account) => {
                    let account = inbox.account(&account);
                    account.pause(&by, &why, length).await?;
                    account.paused().await?
                }
                None => {
                    inbox.pause(&by, &why, length).await?;
                    inbox.paused().await?
                }
            };
            output.print(
                || paused.as_ref().map(text::pause).unwrap_or_default(),
                || json!({ "paused": text::pause_json(paused.as_ref()) }),
            );
            Ok(Verdict::Yes)
        }
        Command::Resume { account, store } => {
            let inbox = store.open().await?;
            let (is_resumed, what) = match account {
                Some(account) => (inbox.account(&account).resume().await?, "account"),
                None => (inbox.resume().await?, "inbox"),
            };
            let not_paused = || format!("the {what} is not paused");
            let text = if is_resumed { "the workers go on".to_owned() } else { not_paused() };
            output.print(|| text, || json!({ "resumed": is_resumed }));
            Ok(Verdict::from(is_resumed))
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
        Command::Board(args) => board::run(args, output).await,
        Command::Watch { interval, store } => {
            watch::run(store.open().await?, interval, output).await
        }
    }
}

/// A page that is full unless the list ends.
async fn list(
    inbox: &Inbox,
    state: State,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page, BoxError> {
    let mut page = inbox.list(state, filter, after, limit).await?;
    while let Some(next) = &page.next {
        let left = limit.saturating_sub(page.entries.len().try_into()?);
        if left == 0 {
            break;
        }
        let more = inbox.list(state, filter, Some(next), left).await?;
        page.entries.extend(more.entries);
        page.next = more.next;
    }
    Ok(page)
}

/// The pauses of the inbox or its accounts, if there are any.
async fn pauses(inbox: &Inbox, stats: &Stats) -> Result<Vec<Paused>, BoxError> {
    let is_paused = stats.is_paused || stats.paused_accounts > 0;
    Ok(if is_paused { inbox.pauses().await? } else { Vec::new() })
}

/// A change of events by a command.
struct Action {
    /// The state of the events.
    state: State,
    begin: for<'a> fn(&'a Inbox, Filter) -> ChangeEvents<'a>,
    /// What happens to one event, and to several.
    becomes: [&'static str; 2],
}

const REQUEUE: Action = Action {
    state: State::Dead,
    begin: |inbox, filter| inbox.requeue(filter),
    becomes: ["is ready again", "are ready again"],
};
const RERUN: Action = Action {
    state: State::Done,
    begin: |inbox, filter| inbox.rerun(filter),
    becomes: ["is ready again", "are ready again"],
};
const RUN_NOW: Action = Action {
    state: State::Scheduled,
    begin: |inbox, filter| inbox.run_now(filter),
    becomes: ["is ready", "are ready"],
};
const DISCARD: Action = Action {
    state: State::Dead,
    begin: |inbox, filter| inbox.discard(filter),
    becomes: ["is given up, and counts as done", "are given up, and count as done"],
};

async fn change(args: ChangeArgs, action: &Action, output: Output) -> Result<Verdict, BoxError> {
    let ChangeArgs { which, filter, dry_run, limit, rate, store } = args;
    let (inbox, state) = (store.open().await?, action.state);
    let is_to_resume = which.all && state == State::Done && filter.since_before.is_none();
    let mut filter = filter.filter();
    if let Some(key) = &which.key {
        filter = filter.key(key);
    }
    if is_to_resume && !dry_run {
        // Events that are done again must not be rerun again.
        let now = text::time(inbox.now().await?);
        output.note(&format!("if this is interrupted, go on with --since-before {now}"));
    }
    let change = (action.begin)(&inbox, filter.clone()).limit(limit.unwrap_or(u64::MAX));
    let change = rate.into_iter().fold(change, ChangeEvents::rate);
    let changed = if dry_run { change.dry_run() } else { change }.await?;
    let text = match &which.key {
        Some(key) if changed.events == 0 => match inbox.show(key).await? {
            Some(entry) if changed.forgotten > 0 => {
                format!("the payload of {} is forgotten", entry.key())
            }
            Some(entry) if entry.state() == state => format!("{key} does not match the filters"),
            Some(entry) => format!("{key} is {}, not {state}", entry.state()),
            None => text::unknown(key),
        },
        Some(key) if !dry_run => format!("{key} {}", action.becomes[0]),
        _ => text::changed(&changed, state, action.becomes, dry_run),
    };
    output.print(|| text, || text::changed_json(&changed, dry_run));
    if changed.events > 0 {
        return Ok(Verdict::Yes);
    }
    match which.all {
        true => say_why_none(&inbox, state, &filter, output).await?,
        false => say_if_empty(&inbox.stats().await?, output),
    }
    // For one event, "none" is a failure. For all, it is not.
    Ok(Verdict::from(which.all))
}

/// A filter may have a typing mistake.
async fn say_why_none(
    inbox: &Inbox,
    state: State,
    filter: &Filter,
    output: Output,
) -> Result<(), BoxError> {
    let stats = inbox.stats().await?;
    let others = stats.of(state);
    if others > 0 && *filter != Filter::new() {
        output.note(&format!("without the filters there are {others} events in the state {state}"));
    }
    say_if_empty(&stats, output);
    Ok(())
}

/// The store may be the wrong one.
fn say_if_empty(stats: &Stats, output: Output) {
    if *stats == Stats::default() {
        output.note(
            "this inbox has no events and no workers: are --store and --inbox those of the receiver?",
        );
    }
}
