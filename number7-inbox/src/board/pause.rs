//! Pausing an inbox, and resuming it.

use std::time::Duration;

use axum::extract::{Form, Query, State as Shown};
use maud::{Markup, html};

use super::{
    Shared,
    failure::Failure,
    overview,
    page::{label, page},
    request::Asked,
    text::number,
};
use crate::{inbox::Inbox, model::error::InboxError};

/// Says what a pause does, and asks how long and why.
pub(super) async fn plan(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let now = inbox.now().await?;
    let content = html! {
        @if let Some(paused) = inbox.paused().await? {
            (overview::pause(&paused, now))
            p { "The new pause replaces this one." }
        }
        p {
            "All workers of " (label(inbox)) ", in every process, will claim nothing. They finish what they run. "
            "Events are accepted as before, and wait."
        }
        (concerned(inbox).await?)
        form method="post" action=(asked.link("pause")) {
            label { "How long, such as 10m or 1h; empty: until it is resumed " input name="length" autocomplete="off"; }
            label { "Why " input name="why" maxlength="255"; }
            label { "Who you are " input name="by" maxlength="255" required; }
            p.actions { button { "Pause" } " " a href="overview" { "Cancel" } }
        }
    };
    Ok(page("Pause", content))
}

pub(super) async fn run(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
    Form(form): Form<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let (by, why) = (form.get("by"), form.get("why"));
    inbox.pause(by, why, length(form.get("length"))?).await?;
    tracing::info!(target: "number7", inbox = &*inbox.name, by, why, "an inbox was paused on the board");
    let now = inbox.now().await?;
    let content = html! {
        @if let Some(paused) = inbox.paused().await? { (overview::pause(&paused, now)) }
        p { (label(inbox)) " is paused. " a href="overview" { "Overview" } }
    };
    Ok(page("Pause: done", content))
}

/// Says what the end of a pause does.
pub(super) async fn plan_end(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let now = inbox.now().await?;
    let content = html! {
        @match inbox.paused().await? {
            Some(paused) => {
                (overview::pause(&paused, now))
                p { "The workers of " (label(inbox)) " will go on at once." }
                (concerned(inbox).await?)
                form method="post" action=(asked.link("resume")) {
                    p.actions { button { "Resume" } " " a href="overview" { "Cancel" } }
                }
            }
            None => p { (label(inbox)) " is not paused. " a href="overview" { "Overview" } },
        }
    };
    Ok(page("Resume", content))
}

pub(super) async fn end(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let is_resumed = inbox.resume().await?;
    tracing::info!(target: "number7", inbox = &*inbox.name, is_resumed, "an inbox was resumed on the board");
    let content = html! {
        p role="status" {
            (label(inbox)) @if is_resumed { " goes on. " } @else { " was not paused. " }
            a href="overview" { "Overview" }
        }
    };
    Ok(page("Resume: done", content))
}

/// What is running and waiting, if it is counted soon.
async fn concerned(inbox: &Inbox) -> Result<Markup, InboxError> {
    let stats = overview::stats(inbox).await?;
    Ok(html! {
        @if let Some(stats) = stats {
            dl {
                dt { "Workers seen" } dd { (number(stats.workers)) }
                dt { "Running events" } dd { (number(stats.running)) }
                dt { "Ready events" } dd { (number(stats.ready)) }
            }
        }
    })
}

/// `None` if it is empty.
fn length(text: &str) -> Result<Option<Duration>, Failure> {
    let wrong = || Failure::invalid("A length is like 10m or 1h.");
    match text.trim() {
        "" => Ok(None),
        text => {
            let length = text.parse::<jiff::SignedDuration>().ok();
            length.and_then(|length| length.try_into().ok()).map(Some).ok_or_else(wrong)
        }
    }
}
