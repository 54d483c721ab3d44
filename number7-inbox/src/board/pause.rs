//! Pausing and resuming an inbox or an account of it.

use std::time::Duration;

use axum::extract::{Form, Query, State as Shown};
use maud::{Markup, html};
use number7_core::Account;

use super::{
    Shared,
    failure::Failure,
    overview,
    page::{label, page},
    request::Asked,
    text::number,
};
use crate::{
    inbox::{AccountInbox, Inbox},
    model::{error::InboxError, paused::Paused},
};

/// What is paused.
struct Subject<'a> {
    inbox: &'a Inbox,
    account: Option<(Account, AccountInbox)>,
}

impl<'a> Subject<'a> {
    fn of(asked: &Asked, board: &'a Shared) -> Result<Self, Failure> {
        let inbox = asked.inbox(board)?;
        let account = match asked.get("account") {
            "" => None,
            name => {
                let account = Account::new(name)
                    .map_err(|_| Failure::invalid("No account has this name."))?;
                Some((account.clone(), inbox.account(&account)))
            }
        };
        Ok(Self { inbox, account })
    }

    fn label(&self) -> String {
        match &self.account {
            None => label(self.inbox),
            Some((name, _)) => format!("account {name} of {}", label(self.inbox)),
        }
    }

    async fn paused(&self) -> Result<Option<Paused>, InboxError> {
        match &self.account {
            None => self.inbox.paused().await,
            Some((_, account)) => account.paused().await,
        }
    }

    async fn pause(&self, by: &str, why: &str, length: Option<Duration>) -> Result<(), InboxError> {
        match &self.account {
            None => self.inbox.pause(by, why, length).await,
            Some((_, account)) => account.pause(by, why, length).await,
        }
    }

    async fn resume(&self) -> Result<bool, InboxError> {
        match &self.account {
            None => self.inbox.resume().await,
            Some((_, account)) => account.resume().await,
        }
    }

    fn name(&self) -> Option<&str> {
        self.account.as_ref().map(|(name, _)| name.as_str())
    }
}

/// Explains what a pause does, and asks how long and why.
pub(super) async fn plan(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let subject = Subject::of(&asked, &board)?;
    let now = subject.inbox.now().await?;
    let content = html! {
        @if let Some(paused) = subject.paused().await? {
            (overview::pause(&paused, now))
            p { "The new pause replaces this one." }
        }
        p {
            @match subject.name() {
                None => { "All workers of " (subject.label()) ", in every process, will claim nothing. " }
                Some(name) => {
                    "The workers of " (label(subject.inbox)) ", in every process, will claim no event of the account "
                    strong { (name) } ". They go on with the other accounts. "
                }
            }
            "They finish what they run. Events are accepted as before, and wait."
        }
        (concerned(&subject).await?)
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
    let subject = Subject::of(&asked, &board)?;
    let (by, why) = (form.get("by"), form.get("why"));
    subject.pause(by, why, length(form.get("length"))?).await?;
    let (inbox, account) = (&*subject.inbox.name, subject.name());
    tracing::info!(target: "number7", inbox, account, by, why, "an inbox was paused on the board");
    let now = subject.inbox.now().await?;
    let content = html! {
        @if let Some(paused) = subject.paused().await? { (overview::pause(&paused, now)) }
        p { (subject.label()) " is paused. " a href="overview" { "Overview" } }
    };
    Ok(page("Pause: done", content))
}

/// Explains what the end of a pause does.
pub(super) async fn plan_end(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let subject = Subject::of(&asked, &board)?;
    let now = subject.inbox.now().await?;
    let content = html! {
        @match subject.paused().await? {
            Some(paused) => {
                (overview::pause(&paused, now))
                p {
                    "The workers of " (label(subject.inbox)) " will go on "
                    @if let Some(name) = subject.name() { "with the account " (name) " " }
                    "at once."
                }
                (concerned(&subject).await?)
                form method="post" action=(asked.link("resume")) {
                    p.actions { button { "Resume" } " " a href="overview" { "Cancel" } }
                }
            }
            None => p { (subject.label()) " is not paused. " a href="overview" { "Overview" } },
        }
    };
    Ok(page("Resume", content))
}

pub(super) async fn end(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let subject = Subject::of(&asked, &board)?;
    let is_resumed = subject.resume().await?;
    let (inbox, account) = (&*subject.inbox.name, subject.name());
    tracing::info!(target: "number7", inbox, account, is_resumed, "an inbox was resumed on the board");
    let content = html! {
        p role="status" {
            (subject.label()) @if is_resumed { " goes on. " } @else { " was not paused. " }
            a href="overview" { "Overview" }
        }
    };
    Ok(page("Resume: done", content))
}

/// How many events are running and waiting in the inbox, if the counts are ready soon. For an account, counting takes too long.
async fn concerned(subject: &Subject<'_>) -> Result<Markup, InboxError> {
    let stats = match subject.account {
        None => overview::stats(subject.inbox).await?,
        Some(_) => None,
    };
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
