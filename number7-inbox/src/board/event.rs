//! Everything about one event.

use std::time::SystemTime;

use axum::{
    extract::{Query, State as Shown},
    http::StatusCode,
};
use maud::{Markup, html};

use super::{
    Shared, change,
    failure::Failure,
    json::indented,
    page::{label, page},
    request::Asked,
    text::{at, number, visible, visible_bytes},
};
use crate::model::{
    conflict::Conflict,
    entry::Entry,
    event::{Origin, StoredEvent},
    history::AttemptError,
};

/// How much of a body is shown, in bytes: the default limit of a receiver.
const SHOWN: usize = 64 * 1024;

pub(super) async fn show(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let (key, now) = (asked.get("key"), inbox.now().await?);
    let entry = inbox.show(key).await?.ok_or_else(|| {
        Failure::new(StatusCode::NOT_FOUND, format!("No event of the key {key} is known."))
    })?;
    let content = html! {
        p { "In " (label(inbox)) }
        (facts(&entry, now))
        @if board.allows_actions {
            (change::links(&Asked::of(&inbox.name).with("key", key), entry.state(), "this event"))
            @if let Some(account) = entry.account() {
                p.actions {
                    a href=(Asked::of(&inbox.name).with("account", account).link("pause")) { "Pause account " (account) "…" }
                }
            }
        }
        h2 { "History" }
        (history(entry.errors(), now))
        h2 { "Body" }
        @match entry.stored() {
            Some(stored) => (body(stored)),
            None => p { "Its payload is forgotten." },
        }
        @if let Some(later) = entry.conflict() { (conflict(later, now)) }
    };
    Ok(page(key, content))
}

fn facts(entry: &Entry, now: SystemTime) -> Markup {
    html! {
        dl {
            dt { "State" } dd { (entry.state()) ", " (at(entry.since(), now)) }
            @if let Some(seen) = entry.worker_seen() { dt { "Its worker was seen" } dd { (at(seen, now)) } }
            @if let Some(account) = entry.account() { dt { "Account" } dd { (account) } }
            dt { "Event" } dd { (visible(entry.event_name())) }
            @if let Some(job) = entry.job_id() { dt { "Job" } dd { (visible(job)) } }
            dt { "Attempts" } dd { (entry.attempts()) }
            dt { "Runs" } dd { (entry.runs()) }
            dt { "Accepted" } dd { (at(entry.accepted_at(), now)) }
            @match entry.origin() {
                Origin::Signed => {
                    dt { "Signed by the secret" } dd { (visible(entry.signed_by().unwrap_or("a name that is lost"))) }
                    @if let Some(signature) = entry.signature() { dt { "Signature" } dd { code { (signature) } } }
                }
                Origin::Fetched => { dt { "Origin" } dd { "fetched: no webhook came, and nobody signed it" } }
            }
            @if let Some(trace) = &entry.trace {
                dt { "traceparent" } dd { code { (visible(&trace.parent)) } }
                @if !trace.state.is_empty() { dt { "tracestate" } dd { code { (visible(&trace.state)) } } }
            }
        }
    }
}

fn history(errors: &[AttemptError], now: SystemTime) -> Markup {
    html! {
        @if errors.is_empty() { p { "No errors." } }
        @else {
            ol.history {
                @for error in errors {
                    li {
                        p {
                            @match (error.attempt(), error.snoozes()) {
                                (0, _) => "Note",
                                (attempt, 0) => { "Attempt " (attempt) }
                                (_, snoozes) => { "Snoozed " (snoozes) " times, last" }
                            }
                            ", " (at(error.at(), now))
                        }
                        pre.error tabindex="0" { (visible(error.text())) }
                    }
                }
            }
        }
    }
}

fn body(stored: &StoredEvent) -> Markup {
    let bytes = stored.json();
    let shown = &bytes[..bytes.len().min(SHOWN)];
    html! {
        @if let Ok(json) = std::str::from_utf8(shown) {
            h3 { "JSON" }
            pre tabindex="0" { (visible(&indented(json))) }
        }
        h3 { "Bytes (" (number(bytes.len() as u64)) ")" }
        pre tabindex="0" { (visible_bytes(shown)) }
        @if bytes.len() > SHOWN { p { "The rest is not shown." } }
    }
}

fn conflict(later: &Conflict, now: SystemTime) -> Markup {
    html! {
        h2 { "Signed again with other bytes" }
        p { "No handler was called for this later body." }
        dl {
            dt { "Accepted" } dd { (at(later.accepted_at(), now)) }
            dt { "Signed by the secret" } dd { (visible(later.signed_by())) }
            @if let Some(signature) = later.signature() { dt { "Signature" } dd { code { (signature) } } }
        }
        (body(later.stored()))
    }
}
