//! Changes of events by an operator. A page first shows what will be done.

use std::{fmt, time::Duration};

use axum::extract::{Form, Query, State as Shown};
use maud::{Markup, html};
use tokio::time::timeout;

use super::{
    Shared,
    failure::Failure,
    list, overview,
    page::{label, page},
    request::{Asked, FILTERS},
    text::{number, visible},
};
use crate::{
    inbox::{ChangeEvents, Changed, Inbox},
    model::{
        change::Change,
        entry::{Entry, State},
        error::InboxError,
        page::{Filter, Page},
    },
};

/// How long counting may take. After that the page shows an upper bound instead.
const PATIENCE: Duration = Duration::from_millis(50);

/// How many events one request changes: the default, and the maximum.
const LIMIT: (u64, u64) = (1_000, 10_000);

/// How many events a plan shows.
const FIRST: u32 = 10;

/// A change, with its names in URLs and on buttons, and its effect on the events.
struct Action {
    name: &'static str,
    title: &'static str,
    change: Change,
    becomes: &'static str,
}

const ACTIONS: [Action; 4] = [
    Action {
        name: "requeue",
        title: "Requeue",
        change: Change::Requeue,
        becomes: "ready again. Attempts are counted from 0 again",
    },
    Action {
        name: "discard",
        title: "Discard",
        change: Change::Discard,
        becomes: "given up for good, and counted as done",
    },
    Action {
        name: "rerun",
        title: "Rerun",
        change: Change::Rerun,
        becomes: "ready again, although done. Handlers are called again, and attempts are counted from 0",
    },
    Action {
        name: "run_now",
        title: "Run now",
        change: Change::RunNow,
        becomes: "ready now, before the scheduled time",
    },
];

impl Action {
    fn find(asked: &Asked) -> Result<&'static Self, Failure> {
        let found = ACTIONS.iter().find(|action| action.name == asked.get("change"));
        found.ok_or_else(|| Failure::invalid("There is no such change."))
    }

    fn of<'a>(&self, inbox: &'a Inbox, filter: &Filter) -> ChangeEvents<'a> {
        match self.change {
            Change::Requeue => inbox.requeue(filter),
            Change::Rerun => inbox.rerun(filter),
            Change::RunNow => inbox.run_now(filter),
            Change::Discard => inbox.discard(filter),
        }
    }
}

/// What will be changed.
struct Plan {
    events: Events,
    first: Vec<Entry>,
    forgotten: u64,
}

/// How many events a change affects.
enum Events {
    Exactly(u64),
    /// Counting them took too long.
    AtMost(u64),
    /// Counting the events of the state took too long, too.
    Uncounted,
}

impl From<Changed> for Plan {
    fn from(Changed { events, first, forgotten }: Changed) -> Self {
        Self { events: Events::Exactly(events), first, forgotten }
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bound, events) = match self {
            Self::Exactly(events) => ("", *events),
            Self::AtMost(events) => ("at most about ", *events),
            Self::Uncounted => return f.write_str("uncounted events"),
        };
        let ending = if events == 1 { "" } else { "s" };
        write!(f, "{bound}{} event{ending}", number(events))
    }
}

/// Links to the changes of these events, if they are in this state.
pub(super) fn links(asked: &Asked, state: State, what: &str) -> Markup {
    let asked = asked.clone().with("after", "").with("state", "");
    html! {
        p.actions {
            @for action in ACTIONS.iter().filter(|action| action.change.of() == state) {
                a href=(asked.clone().with("change", action.name).link("change")) { (action.title) " " (what) "…" }
                " "
            }
        }
    }
}

/// Shows what will be changed, and changes nothing.
pub(super) async fn plan(
    Shown(board): Shown<Shared>,
    Query(mut asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let (inbox, action) = (asked.inbox(&board)?, Action::find(&asked)?);
    let now = inbox.now().await?;
    if action.change == Change::Rerun && asked.get("since_before").is_empty() {
        // Events that are done again before the second click are not rerun again.
        asked = asked.with("since_before", "0s");
    }
    let filter = asked.filter(now)?;
    let Plan { events, first, forgotten } = look(inbox, action, &filter).await?;
    let is_none = matches!(events, Events::Exactly(0) | Events::AtMost(0));
    let content = html! {
        @if !is_none { p { (events) " of " (label(inbox)) " will be " (action.becomes) "." } }
        (criteria(&asked))
        @if forgotten > 0 {
            p { (number(forgotten)) " others cannot be rerun, because their payload is forgotten." }
        }
        @if is_none {
            (why_none(inbox, asked.get("key"), action).await?)
        } @else {
            // The URL names the events, because a browser would change line ends in a field.
            form method="post" action=(asked.link("change")) {
                @if asked.get("key").is_empty() {
                    label {
                        "At most "
                        input type="number" name="limit" min="1" max=(LIMIT.1) value=(LIMIT.0) required;
                    }
                }
                p.actions {
                    button { (action.title) " " (events) } " "
                    a href=(back(&asked, action)) { "Cancel" }
                }
            }
            @if asked.get("key").is_empty() { h2 { "The first" } }
            @if first.is_empty() { p { "None of the oldest matches. There are too many to look at all of them here." } }
            (list::events(&first, now, &asked))
        }
    };
    Ok(page(action.title, content))
}

/// Changes the events.
pub(super) async fn run(
    Shown(board): Shown<Shared>,
    Query(mut asked): Query<Asked>,
    Form(form): Form<Asked>,
) -> Result<Markup, Failure> {
    let (inbox, action) = (asked.inbox(&board)?, Action::find(&asked)?);
    let now = inbox.now().await?;
    let filter = asked.filter(now)?;
    let limit = match form.get("limit") {
        "" => LIMIT.0,
        limit => limit.parse().map_err(|_| Failure::invalid("A limit is a number."))?,
    };
    let limit = limit.min(LIMIT.1);
    let changed = action.of(inbox, &filter).limit(limit).await?;
    tracing::info!(
        target: "number7", inbox = &*inbox.name, change = action.name, events = changed.events, ?filter,
        "events were changed on the board"
    );
    let content = html! {
        p role="status" { (Events::Exactly(changed.events)) " of " (label(inbox)) " are " (action.becomes) "." }
        (criteria(&asked))
        @if changed.events >= limit && asked.get("key").is_empty() {
            p { "There may be more: " a href=(asked.link("change")) { (action.title) " the next" } "." }
        }
        (list::events(&changed.first, now, &asked))
        p.actions { a href=(back(&asked, action)) { "Back" } }
    };
    Ok(page(&format!("{}: done", action.title), content))
}

/// A dry run. If it takes too long, returns the first events, and an upper bound of their number.
async fn look(inbox: &Inbox, action: &Action, filter: &Filter) -> Result<Plan, InboxError> {
    let dry_run = action.of(inbox, filter).dry_run();
    if filter.one_key().is_some() {
        return Ok(dry_run.await?.into());
    }
    if let Ok(planned) = timeout(PATIENCE, dry_run).await {
        return Ok(planned?.into());
    }
    let state = action.change.of();
    let Page { entries: first, .. } = inbox.list_passing(state, filter, None, FIRST, 500).await?;
    let stats = overview::stats(inbox).await?;
    let events = stats.map_or(Events::Uncounted, |stats| Events::AtMost(stats.of(state)));
    Ok(Plan { events, first, forgotten: 0 })
}

/// The filters that select them.
fn criteria(asked: &Asked) -> Markup {
    let all = [("key", "Key")].into_iter().chain(FILTERS);
    let given = all.filter(|(name, _)| !asked.get(name).is_empty());
    html! { dl { @for (name, label) in given { dt { (label) } dd { (visible(asked.get(name))) } } } }
}

async fn why_none(inbox: &Inbox, key: &str, action: &Action) -> Result<Markup, InboxError> {
    if key.is_empty() {
        return Ok(html! { p { "Nothing matches." } });
    }
    let state = inbox.show(key).await?.map(|entry| entry.state());
    Ok(html! {
        p {
            @match state {
                Some(state) => { "The event is " (state) ". " (action.title) " is for events that are " (action.change.of()) "." }
                None => "No event of this key is known.",
            }
        }
    })
}

/// The link back to where the change was requested.
fn back(asked: &Asked, action: &Action) -> String {
    let asked = asked.clone().with("change", "");
    match asked.get("key") {
        "" => asked.with("state", action.change.of()).link("list"),
        key => Asked::of(asked.get("inbox")).with("key", key).link("event"),
    }
}
