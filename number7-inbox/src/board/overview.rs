//! The state of each inbox.

use std::time::{Duration, SystemTime};

use axum::{
    extract::{OriginalUri, State as Shown},
    http::{StatusCode, header},
    response::IntoResponse,
};
use futures_util::{future::join_all, try_join};
use maud::{Markup, html};
use tokio::time::timeout;

use super::{
    Board, Shared,
    chart::bars,
    list::link,
    page::{label, page},
    request::Asked,
    text::{length, number, relative, visible},
};
use crate::{
    inbox::Inbox,
    model::{
        entry::State, error::InboxError, paused::Paused, stats::Stats, worker_status::WorkerStatus,
    },
};

/// The most events of a worker that are named.
const NAMED: usize = 5;

/// The most pauses that are shown: there may be one for each account.
const PAUSES: usize = 10;

/// How long the page waits for the counts. The first count of a million finished events takes longer on some stores.
const PATIENCE: Duration = Duration::from_millis(100);

/// An inbox at a moment.
struct Look {
    /// `None` while they are being counted.
    stats: Option<Stats>,
    pauses: Vec<Paused>,
    workers: Vec<WorkerStatus>,
    minutes: [u64; 15],
    now: SystemTime,
}

/// Redirects to the overview. The links of pages are relative, so they work at any path and behind any proxy. Only the path of
/// the board itself may lack the slash at its end.
pub(super) async fn enter(OriginalUri(uri): OriginalUri) -> impl IntoResponse {
    let (_, last) = uri.path().rsplit_once('/').unwrap_or_default();
    let overview = match last {
        "" => "./overview".to_owned(),
        last => format!("./{last}/overview"),
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, overview)])
}

pub(super) async fn show(Shown(board): Shown<Shared>) -> impl IntoResponse {
    let looks = join_all(board.inboxes.iter().map(look)).await;
    let status = match looks.iter().all(Result::is_ok) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let content = html! {
        @for (inbox, look) in board.inboxes.iter().zip(&looks) {
            section {
                h2 { (label(inbox)) }
                @match look {
                    Ok(look) => (of_inbox(&board, inbox, look)),
                    Err(error) => p.bad role="alert" { "The store does not answer: " (visible(&error.to_string())) },
                }
            }
        }
        @if !board.allows_actions { p.faint { "This board only shows. It was started without actions." } }
    };
    (status, page("Overview", content))
}

async fn look(inbox: &Inbox) -> Result<Look, InboxError> {
    let (stats, pauses) = (stats(inbox), inbox.pauses());
    let (workers, minutes) = (inbox.workers(), inbox.handled_per_minute());
    let (stats, pauses, workers, minutes, now) =
        try_join!(stats, pauses, workers, minutes, inbox.now())?;
    Ok(Look { stats, pauses, workers, minutes, now })
}

/// The counts, if they are ready soon. Otherwise counting continues, so that the next page has them.
pub(super) async fn stats(inbox: &Inbox) -> Result<Option<Stats>, InboxError> {
    let inbox = inbox.clone();
    let counting = tokio::spawn(async move { inbox.stats().await });
    match timeout(PATIENCE, counting).await {
        Ok(Ok(stats)) => stats.map(Some),
        // A panic of the task only means that the count is missing.
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

fn of_inbox(board: &Board, inbox: &Inbox, look: &Look) -> Markup {
    let Look { stats, pauses, workers, minutes, now } = look;
    let is_paused = pauses.iter().any(|paused| paused.account.is_none());
    let asked = Asked::of(&inbox.name);
    html! {
        @for paused in pauses.iter().take(PAUSES) {
            (pause(paused, *now))
            @if board.allows_actions && let Some(account) = &paused.account {
                p.actions { a href=(asked.clone().with("account", account).link("resume")) { "Resume account " (account) "…" } }
            }
        }
        @if pauses.len() > PAUSES { p { (pauses.len() - PAUSES) " more accounts are paused." } }
        ul.states {
            @for state in State::ALL {
                li {
                    a href=(asked.clone().with("state", state).link("list")) {
                        span.count { (stats.map_or("…".to_owned(), |stats| count(&stats, state))) } " " (state)
                    }
                }
            }
        }
        @match stats {
            Some(stats) => (ages(stats, &asked)),
            None => p role="status" { "The events are being counted. " a href="overview" { "Look again" } " in a moment." },
        }
        h3 { "Handled in the last " (minutes.len()) " minutes: " (number(minutes.iter().sum())) }
        @if minutes.iter().any(|events| *events > 0) { (bars(minutes)) }
        (of_workers(workers, *now, &asked))
        @if board.allows_actions {
            p.actions {
                @if is_paused { a href=(asked.link("resume")) { "Resume…" } " " }
                a href=(asked.link("pause")) { @if is_paused { "Change the pause…" } @else { "Pause…" } }
            }
        }
    }
}

fn ages(stats: &Stats, asked: &Asked) -> Markup {
    html! {
        dl {
            dt { "Oldest ready" }
            dd { @if stats.ready + stats.quarantined > 0 { (length(stats.oldest_ready)) " ago" } @else { "none" } }
            dt { "Overdue jobs" }
            dd {
                a href=(asked.link("overdue")) { (number(stats.overdue)) }
                @if stats.overdue > 0 { ", the oldest for " (length(stats.oldest_overdue)) }
            }
        }
    }
}

fn count(stats: &Stats, state: State) -> String {
    match (state, stats.done_age) {
        (State::Done, Duration::MAX) => "many".to_owned(),
        (State::Done, age) if !age.is_zero() => format!("about {}", number(stats.done)),
        _ => number(stats.of(state)),
    }
}

fn of_workers(workers: &[WorkerStatus], now: SystemTime, asked: &Asked) -> Markup {
    html! {
        h3 { "Workers" }
        @if workers.is_empty() { p.bad { "None was seen in the last 30 seconds." } }
        @else {
            table {
                thead { tr { th { "Worker" } th { "Last heartbeat" } th { "Running" } } }
                tbody {
                    @for worker in workers {
                        tr {
                            th.key scope="row" data-label="Worker" { (visible(worker.name())) }
                            td data-label="Last heartbeat" { (relative(worker.last_heartbeat(), now)) }
                            td data-label="Running" { (running(worker, asked)) }
                        }
                    }
                }
            }
        }
    }
}

fn running(worker: &WorkerStatus, asked: &Asked) -> Markup {
    let named = worker.running().len().min(NAMED);
    let others = worker.claimed().saturating_sub(named as u64);
    html! {
        (number(worker.claimed()))
        @for key in &worker.running()[..named] { " " (link(key, asked)) }
        @if others > 0 { " and " (number(others)) " more" }
    }
}

/// Who paused it, and why.
pub(super) fn pause(paused: &Paused, now: SystemTime) -> Markup {
    html! {
        p.warn role="status" {
            strong { "Paused" }
            @if let Some(account) = &paused.account { ": account " (account) "," }
            " since " (relative(paused.since, now))
            @if !paused.by.is_empty() { " by " (visible(&paused.by)) }
            @match paused.until {
                Some(until) => { ", ends " (relative(until, now)) }
                None => ", until it is resumed",
            }
            @if !paused.why.is_empty() { ": " (visible(&paused.why)) }
        }
    }
}
