//! The events in a state.

use std::time::SystemTime;

use axum::extract::{Query, State as Shown};
use maud::{Markup, html};

use super::{
    Shared, change,
    failure::Failure,
    page::{label, page},
    request::{Asked, FILTERS},
    text::{beginning, number, relative, visible},
};
use crate::model::entry::{Entry, State};

/// How many events a page has at most.
const PAGE: u32 = 50;

/// How many events without a match a page passes over. This takes only a moment on every store.
const PASSED: u32 = 1_500;

/// How much of an error a list shows, in bytes.
const SHOWN: usize = 200;

pub(super) async fn show(
    Shown(board): Shown<Shared>,
    Query(mut asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let (inbox, state) = (asked.inbox(&board)?, asked.state()?);
    let now = inbox.now().await?;
    let filter = asked.filter(now)?;
    let found = inbox.list_passing(state, &filter, asked.cursor().as_ref(), PAGE, PASSED).await?;
    let content = html! {
        p { (label(inbox)) ", the oldest first" }
        nav.states aria-label="States" {
            @for other in State::ALL {
                a href=(asked.clone().with("state", other).with("after", "").link("list"))
                    aria-current=[(other == state).then_some("page")] { (other) }
                " "
            }
        }
        (form(&asked))
        (events(&found.entries, now, &asked))
        @if found.entries.is_empty() {
            p {
                @if found.next.is_some() { "None of the next " (number(PASSED.into())) " matches, but later ones may." }
                @else { "None." }
            }
        }
        @if let Some(next) = &found.next {
            p { a rel="next" href=(asked.clone().with("after", next).link("list")) { "Next page" } }
        }
        @if board.allows_actions { (change::links(&asked, state, "all of these")) }
    };
    Ok(page(&format!("Events that are {state}"), content))
}

/// The filters.
fn form(asked: &Asked) -> Markup {
    let is_filtered = FILTERS.iter().any(|(name, _)| !asked.get(name).is_empty());
    html! {
        details open[is_filtered] {
            summary { "Filter" }
            form method="get" action="list" {
                @for name in ["inbox", "state"] { input type="hidden" name=(name) value=(asked.get(name)); }
                @for (name, label) in FILTERS {
                    label { (label) " " (field(name, asked.get(name))) }
                }
                p.actions {
                    button { "Filter" } " "
                    a href=(Asked::of(asked.get("inbox")).with("state", asked.get("state")).link("list")) { "Clear" }
                }
            }
        }
    }
}

fn field(name: &str, value: &str) -> Markup {
    let choices: &[(&str, &str)] = match name {
        "origin" => &[("", "any"), ("signed", "signed"), ("fetched", "fetched")],
        "conflict" => &[("", "any"), ("true", "signed again with other bytes")],
        _ => &[],
    };
    let hint = (name.ends_with("_after") || name.ends_with("_before"))
        .then_some("2h, or 2026-11-30T08:00Z");
    html! {
        @if choices.is_empty() { input name=(name) value=(value) placeholder=[hint] autocomplete="off"; }
        @else {
            select name=(name) {
                @for (choice, text) in choices { option value=(choice) selected[*choice == value] { (text) } }
            }
        }
    }
}

/// A table of events.
pub(super) fn events(entries: &[Entry], now: SystemTime, asked: &Asked) -> Markup {
    if entries.is_empty() {
        return html! {};
    }
    html! {
        table {
            thead { tr { th { "Key" } th { "State" } th { "Accepted" } th { "Attempts" } th { "Last error or note" } } }
            tbody {
                @for entry in entries {
                    tr {
                        th scope="row" data-label="Key" { (link(entry.key(), asked)) }
                        td data-label="State" { (entry.state()) " " (relative(entry.since(), now)) }
                        td data-label="Accepted" { (relative(entry.accepted_at(), now)) }
                        td data-label="Attempts" { (entry.attempts()) }
                        td.error data-label="Last error or note" {
                            (visible(beginning(entry.error(), SHOWN)))
                            @if entry.error().len() > SHOWN { "…" }
                        }
                    }
                }
            }
        }
    }
}

/// A link to the page of an event.
pub(super) fn link(key: &str, asked: &Asked) -> Markup {
    let event = Asked::of(asked.get("inbox")).with("key", key);
    html! { a.key href=(event.link("event")) { (visible(key)) } }
}
