//! Numbers and events, for people and for programs.

use std::time::{Duration, SystemTime};

use number7_inbox::{
    Account, AccountStats, AttemptError, Changed, Conflict, Entry, Origin, OverdueJob, Page,
    Paused, SecretUse, State, Stats,
};
use serde_json::{Value, json};

use crate::output::{BAD, styled};

/// A live worker has at least two heartbeats in this time.
const SILENT: Duration = Duration::from_secs(30);

/// How many pauses of accounts are shown.
const MOST_PAUSES: usize = 10;

pub(crate) fn stats(stats: &Stats, pauses: &[Paused]) -> String {
    let line = |state: State| match state {
        State::Done => format!("{state:12} {}{}", stats.done, counted(stats)),
        _ => format!("{state:12} {}", stats.of(state)),
    };
    let mut lines = State::ALL.map(line);
    if stats.ready > 0 {
        lines[0].push_str(&format!(", the oldest for {}", length(stats.oldest_ready)));
    }
    let workers = match stats.workers {
        0 => "workers      0: none was seen in the last 30 seconds".to_owned(),
        workers => format!("workers      {workers}"),
    };
    let overdue = match stats.overdue {
        0 => "overdue      0".to_owned(),
        jobs => format!("overdue      {jobs}, the oldest for {}", length(stats.oldest_overdue)),
    };
    let paused = |paused: &Paused| format!("\n{}", styled(BAD, pause(paused)));
    let paused: String = pauses.iter().take(MOST_PAUSES).map(paused).collect();
    let more = match pauses.len().saturating_sub(MOST_PAUSES) {
        0 => String::new(),
        more => format!("\npaused       {more} more accounts"),
    };
    format!("{}\n{workers}\n{overdue}{paused}{more}", lines.join("\n"))
}

pub(crate) fn account_stats(stats: &AccountStats, paused: Option<&Paused>) -> String {
    let mut lines = State::ALL.map(|state| format!("{state:12} {}", stats.of(state)));
    if stats.ready > 0 {
        lines[0].push_str(&format!(", the oldest for {}", length(stats.oldest_ready)));
    }
    let paused = paused.map(|paused| format!("\n{}", styled(BAD, pause(paused))));
    format!("{}{}", lines.join("\n"), paused.unwrap_or_default())
}

pub(crate) fn account_stats_json(stats: &AccountStats, paused: Option<&Paused>) -> Value {
    let mut json: serde_json::Map<String, Value> =
        State::ALL.iter().map(|state| (state.name().to_owned(), stats.of(*state).into())).collect();
    json.insert("oldest_ready_seconds".into(), stats.oldest_ready.as_secs_f64().into());
    json.insert("paused".into(), pause_json(paused));
    json.into()
}

/// The age of the count of done events, unless it is new.
fn counted(stats: &Stats) -> String {
    match stats.done_age {
        Duration::ZERO => String::new(),
        Duration::MAX => ": there are too many to count".to_owned(),
        age => format!(", counted {} ago", length(age)),
    }
}

pub(crate) fn with_secrets(stats: String, secrets: Option<&[SecretUse]>) -> String {
    let line = |secret: &SecretUse| {
        let ago = SystemTime::now().duration_since(secret.last).unwrap_or_default();
        let (name, bodies) = (one_line(&secret.name), secret.bodies);
        format!("\nsecret       {name}: {bodies}, the last {} ago", length(ago))
    };
    secrets.unwrap_or_default().iter().fold(stats, |lines, secret| lines + &line(secret))
}

pub(crate) fn secret_json(secret: &SecretUse) -> Value {
    let SecretUse { name, bodies, first, last, .. } = secret;
    json!({ "name": name, "bodies": bodies, "first": time(*first), "last": time(*last) })
}

/// Since when it is paused, by whom, and why.
pub(crate) fn pause(paused: &Paused) -> String {
    let end =
        paused.until.map_or("until it is resumed".into(), |until| format!("until {}", time(until)));
    let account = paused.account.as_ref().map(|account| format!("account {account} "));
    let account = account.unwrap_or_default();
    let mut text = format!("paused       {account}since {}, {end}", time(paused.since));
    for (name, said) in [("by", &paused.by), ("why", &paused.why)] {
        if !said.is_empty() {
            text.push_str(&format!(", {name}: {}", one_line(said)));
        }
    }
    text
}

pub(crate) fn pause_json(paused: Option<&Paused>) -> Value {
    let json = |paused: &Paused| {
        json!({
            "account": paused.account.as_ref().map(Account::as_str), "by": paused.by, "why": paused.why,
            "since": time(paused.since), "until": paused.until.map(time),
        })
    };
    paused.map_or(Value::Null, json)
}

pub(crate) fn stats_json(stats: &Stats, pauses: &[Paused]) -> Value {
    let mut json: serde_json::Map<String, Value> =
        State::ALL.iter().map(|state| (state.name().to_owned(), stats.of(*state).into())).collect();
    json.insert("oldest_ready_seconds".into(), stats.oldest_ready.as_secs_f64().into());
    let done_age = Some(stats.done_age).filter(|age| *age < Duration::MAX);
    json.insert("done_age_seconds".into(), done_age.map(|age| age.as_secs_f64()).into());
    json.insert("workers".into(), stats.workers.into());
    json.insert("overdue".into(), stats.overdue.into());
    json.insert("oldest_overdue_seconds".into(), stats.oldest_overdue.as_secs_f64().into());
    let (accounts, inbox): (Vec<_>, Vec<_>) =
        pauses.iter().partition(|paused| paused.account.is_some());
    json.insert("paused".into(), pause_json(inbox.first().copied()));
    let accounts = accounts.into_iter().map(|paused| pause_json(Some(paused)));
    json.insert("paused_accounts".into(), accounts.collect());
    json.into()
}

/// A page: the first, or a later one.
pub(crate) fn list(state: State, page: &Page, is_later: bool) -> String {
    let events = if page.entries.len() == 1 { "event" } else { "events" };
    pages(page, is_later, &format!("{events} in the state {state}"), line)
}

/// A page of jobs.
pub(crate) fn overdue(page: &Page<OverdueJob>, is_later: bool) -> String {
    let jobs = if page.entries.len() == 1 { "overdue job" } else { "overdue jobs" };
    pages(page, is_later, jobs, |job| {
        let late = SystemTime::now().duration_since(job.due_at()).unwrap_or_default();
        let late = length(late);
        let account = job.account().map(|account| format!("{account}/")).unwrap_or_default();
        if let Some(upload) = job.upload() {
            return format!("{account}upload {}  for {late}, no job known", one_line(upload));
        }
        let id = job.job_id().map(|id| one_line(id.as_str())).unwrap_or_default();
        let end = if job.is_given_up() {
            ", given up: the vendor does not know it, or its account has no client"
        } else {
            ""
        };
        format!("{account}{id}  for {late}, fetches: {}{end}", job.fetches())
    })
}

fn pages<T>(page: &Page<T>, is_later: bool, what: &str, line: impl Fn(&T) -> String) -> String {
    let which = match (is_later, &page.next) {
        (false, None) => "",
        (false, Some(_)) => "the first ",
        (true, None) => "the last ",
        (true, Some(_)) => "the next ",
    };
    let head = format!("{which}{} {what}", page.entries.len());
    let foot = page.next.as_ref().map(|next| format!("there are more: add --after {next}"));
    let lines = [head].into_iter().chain(page.entries.iter().map(line)).chain(foot);
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn job_json(job: &OverdueJob) -> Value {
    json!({ "account": job.account().map(Account::as_str), "job": job.job_id(), "upload": job.upload(), "due_at": time(job.due_at()), "fetches": job.fetches(), "given_up": job.is_given_up() })
}

/// What a change did, or would do.
pub(crate) fn changed(changed: &Changed, state: State, becomes: [&str; 2], is_dry: bool) -> String {
    let [one, many] = becomes;
    let (ending, becomes) = if changed.events == 1 { ("", one) } else { ("s", many) };
    let events = match state {
        State::Dead => format!("{} dead letter{ending}", changed.events),
        _ => format!("{} {state} event{ending}", changed.events),
    };
    let mut lines = vec![match is_dry {
        true => format!("{events} would be changed, the oldest first:"),
        false => format!("{events} {becomes}"),
    }];
    if is_dry {
        lines.extend(changed.first.iter().map(line));
    }
    if changed.forgotten > 0 {
        lines.push(format!("{} others cannot: their payload is forgotten", changed.forgotten));
    }
    lines.join("\n")
}

pub(crate) fn changed_json(changed: &Changed, is_dry: bool) -> Value {
    json!({
        "changed": changed.events,
        "forgotten": changed.forgotten,
        "dry_run": is_dry,
        "first": changed.first.iter().map(json).collect::<Value>(),
    })
}

pub(crate) fn unknown(key: &str) -> String {
    format!("{key} is not known; a key is EVENT:JOB, such as job.failed:job_7")
}

/// An event in one line.
pub(crate) fn line(entry: &Entry) -> String {
    let mut line = format!("{}  {}, attempts: {}", entry.key(), age(entry), entry.attempts());
    if let Some(error) = entry.errors().last() {
        let what = match entry.state() {
            _ if error.attempt() == 0 => "note",
            _ if error.snoozes() > 0 => "snoozed",
            State::Scheduled | State::Dead => "last error",
            _ => "earlier error",
        };
        line.push_str(&format!(", {what}: {}", styled(BAD, one_line(error.text()))));
    }
    line
}

pub(crate) fn show(entry: &Entry) -> String {
    let mut lines = vec![
        format!("key       {}", entry.key()),
        format!("state     {}, {}", entry.state(), age(entry)),
        format!("accepted  {}", time(entry.accepted_at())),
        format!("attempts  {}", entry.attempts()),
    ];
    if entry.runs() > 1 {
        lines.push(format!("runs      {}", entry.runs()));
    }
    lines.push(match (entry.origin(), entry.signed_by()) {
        (Origin::Fetched, _) => "origin    fetched: no webhook came, and nobody signed it".into(),
        (Origin::Signed, Some(secret)) => format!("signed by {}", one_line(secret)),
        (Origin::Signed, None) => "signed by a secret whose name is lost".into(),
        (other, _) => format!("origin    {}", other.name()),
    });
    lines.extend(entry.errors().iter().map(|error| {
        let text = styled(BAD, printable(error.text()));
        match (time(error.at()), error.attempt()) {
            (time, 0) => format!("note      {time} {text}"),
            (time, _) if error.snoozes() > 0 => {
                format!("snoozed   {time} the last of {} times: {text}", error.snoozes())
            }
            (time, attempt) => format!("error     {time} attempt {attempt}: {text}"),
        }
    }));
    lines.push(match entry.stored() {
        Some(event) => format!("event     {}", printable(&String::from_utf8_lossy(event.json()))),
        None => "event     its payload is forgotten".into(),
    });
    if let Some(later) = entry.conflict() {
        let (at, secret) = (time(later.accepted_at()), one_line(later.signed_by()));
        let json = printable(&String::from_utf8_lossy(later.stored().json()));
        lines.push(format!("conflict  {at} signed again with other bytes, by {secret}: {json}"));
    }
    lines.join("\n")
}

pub(crate) fn json(entry: &Entry) -> Value {
    let event = entry.stored().and_then(|event| serde_json::to_value(event).ok());
    let payload = entry.stored().map(|event| String::from_utf8_lossy(event.json()));
    let error = |error: &AttemptError| json!({ "at": time(error.at()), "attempt": error.attempt(), "text": error.text(), "snoozes": error.snoozes() });
    json!({
        "key": entry.key(),
        "account": entry.account(),
        "state": entry.state().name(),
        (if entry.state() == State::Scheduled { "ready_at" } else { "since" }): time(entry.since()),
        "worker_seen": entry.worker_seen().map(time),
        "accepted_at": time(entry.accepted_at()),
        "origin": entry.origin().name(),
        "signed_by": entry.signed_by(),
        "signature": entry.signature().map(ToString::to_string),
        "attempts": entry.attempts(),
        "runs": entry.runs(),
        "errors": entry.errors().iter().map(error).collect::<Value>(),
        "event": event,
        // Byte for byte, so that its hash can be computed again.
        "payload": payload,
        "conflict": entry.conflict().map(conflict_json),
    })
}

fn conflict_json(later: &Conflict) -> Value {
    json!({
        "payload": String::from_utf8_lossy(later.stored().json()),
        "signed_by": later.signed_by(),
        "signature": later.signature().map(ToString::to_string),
        "accepted_at": time(later.accepted_at()),
    })
}

/// How long it has been in its state, or will stay scheduled.
fn age(entry: &Entry) -> String {
    let ago = |time| SystemTime::now().duration_since(time);
    match (ago(entry.since()), entry.worker_seen()) {
        (Err(to_come), _) if entry.state() == State::Scheduled => {
            // Rounded up, so that the last second does not show as 0.
            format!("ready in {}", length(to_come.duration() + Duration::from_millis(999)))
        }
        (age, None) => format!("for {}", length(age.unwrap_or_default())),
        (age, Some(seen)) => {
            let (age, seen) = (age.unwrap_or_default(), ago(seen).unwrap_or_default());
            let what = if seen < SILENT { "was seen" } else { "is probably dead: seen" };
            format!("for {}, its worker {what} {} ago", length(age), length(seen))
        }
    }
}

/// The two largest units: `3d 4h`, `12m 5s`, `0s`.
fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m")];
    let all = units.into_iter().chain([(seconds % 60, "s")]);
    let parts = all.skip_while(|(number, unit)| *number == 0 && *unit != "s").take(2);
    parts.map(|(number, unit)| format!("{number}{unit}")).collect::<Vec<_>>().join(" ")
}

pub(crate) fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

/// With U+FFFD instead of control characters, except line ends.
fn printable(text: &str) -> String {
    text.replace(|char: char| char.is_control() && char != '\n', "\u{fffd}")
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}b\nc"), "a\u{fffd}[2J\u{fffd}b\nc");
        assert_eq!(one_line("a\r\nb"), "a  b");
    }

    #[test]
    fn a_count_that_is_old_says_so() {
        let shown = |age| {
            let mut stats = Stats::default();
            (stats.done, stats.done_age) = (12_345, age);
            let text = super::stats(&stats, &[]);
            let line = text.lines().find(|line| line.starts_with("done")).unwrap();
            (line.to_owned(), stats_json(&stats, &[])["done_age_seconds"].clone())
        };
        assert_eq!(shown(Duration::ZERO), ("done         12345".into(), json!(0.0)));
        let old = "done         12345, counted 1m 5s ago".into();
        assert_eq!(shown(Duration::from_secs(65)), (old, json!(65.0)));
        let (never, age) = shown(Duration::MAX);
        assert!(never.ends_with(": there are too many to count") && age.is_null(), "{never}");
    }

    #[test]
    fn a_length_has_two_units() {
        let lengths = [0, 59, 60, 3_605, 90_061, 8 * 86_400].map(Duration::from_secs).map(length);
        assert_eq!(lengths, ["0s", "59s", "1m 0s", "1h 0m", "1d 1h", "8d 0h"]);
    }
}
