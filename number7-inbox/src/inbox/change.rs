//! What an operator does to events: requeue, rerun, run now, discard.

use std::{collections::HashSet, fmt, future::IntoFuture, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::Inbox;
use crate::{
    model::{
        change::Change,
        entry::{Entry, State},
        error::InboxError,
        page::Filter,
    },
    store::STEP,
};

/// How many of the changed events are returned: 10.
const FIRST: usize = 10;

/// The most steps into which the events of a second are divided, so that a [rate](ChangeEvents::rate) is spread out.
const STEPS_PER_SECOND: u32 = 10;

impl Inbox {
    /// Makes dead letters ready again. Their attempts are counted from 0 again.
    ///
    /// Takes the [key](Entry::key) of one dead letter, or a [`Filter`] for many. An event that becomes a dead letter again
    /// during this call is not requeued twice. See [`ChangeEvents`].
    ///
    /// # Errors
    ///
    /// The store failed. What was changed before that stays changed.
    pub fn requeue(&self, which: impl Into<Filter>) -> ChangeEvents<'_> {
        ChangeEvents::new(self, Change::Requeue, which.into())
    }

    /// Makes done events ready again. Use it if a handler was wrong but returned `Ok`. Their attempts are counted from 0 again,
    /// and their history gets a note. [`AcceptedEvent::runs`](crate::AcceptedEvent::runs) says how often an event was run.
    ///
    /// An event whose payload is [forgotten](crate::Worker::payload_retention) cannot be rerun. You can call this while workers
    /// run: an event that a worker is still finishing is not done yet, so it is not rerun, and an event that is done again
    /// during this call is not rerun twice. See [`ChangeEvents`].
    ///
    /// # Errors
    ///
    /// The store failed. What was changed before that stays changed.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use number7_inbox::{Filter, Inbox, InboxError};
    ///
    /// /// A handler that was deployed this morning lost totals.
    /// async fn undo(inbox: &Inbox, from: SystemTime, to: SystemTime) -> Result<(), InboxError> {
    ///     let morning = Filter::new().event("job.completed").since_after(from).since_before(to);
    ///     let planned = inbox.rerun(morning.clone()).dry_run().await?;
    ///     println!("{} events, such as {:?}", planned.events, planned.first);
    ///     let rerun = inbox.rerun(morning).rate(50).await?;
    ///     println!("{} are ready again, {} have no payload", rerun.events, rerun.forgotten);
    ///     Ok(())
    /// }
    /// # _ = undo;
    /// ```
    pub fn rerun(&self, which: impl Into<Filter>) -> ChangeEvents<'_> {
        ChangeEvents::new(self, Change::Rerun, which.into())
    }

    /// Makes scheduled events ready now: they do not wait for their backoff or the end of a snooze. See
    /// [`ChangeEvents`].
    ///
    /// # Errors
    ///
    /// The store failed. What was changed before that stays changed.
    pub fn run_now(&self, which: impl Into<Filter>) -> ChangeEvents<'_> {
        ChangeEvents::new(self, Change::RunNow, which.into())
    }

    /// Gives up dead letters for good. From now on they count as done, so their keys stay known for the retention.
    /// See [`ChangeEvents`].
    ///
    /// # Errors
    ///
    /// The store failed. What was changed before that stays changed.
    pub fn discard(&self, which: impl Into<Filter>) -> ChangeEvents<'_> {
        ChangeEvents::new(self, Change::Discard, which.into())
    }
}

/// A change of all events that a filter matches, the oldest first. [`Inbox::requeue`], [`rerun`](Inbox::rerun),
/// [`run_now`](Inbox::run_now) and [`discard`](Inbox::discard) return it. Await it to make the change.
///
/// If it is interrupted, what was changed stays changed. Call it again with the same filter to continue. For a
/// [`rerun`](Inbox::rerun), first set [`since_before`](Filter::since_before) to a time before the first call. Otherwise the
/// second call also reruns the events that are done again by then.
#[must_use = "nothing is changed unless it is awaited"]
pub struct ChangeEvents<'a> {
    inbox: &'a Inbox,
    change: Change,
    filter: Filter,
    limit: u64,
    rate: Option<u32>,
    is_dry: bool,
}

/// What a [change](ChangeEvents) did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Changed {
    /// How many events were changed, or would be, in a [dry run](ChangeEvents::dry_run).
    pub events: u64,
    /// How many could not be rerun, because their payload is forgotten.
    pub forgotten: u64,
    /// The first ten events, as they were before.
    pub first: Vec<Entry>,
}

impl<'a> ChangeEvents<'a> {
    fn new(inbox: &'a Inbox, change: Change, filter: Filter) -> Self {
        Self { inbox, change, filter, limit: u64::MAX, rate: None, is_dry: false }
    }

    /// Changes at most this many events; all of them unless it is set.
    pub fn limit(mut self, events: u64) -> Self {
        self.limit = events;
        self
    }

    /// Changes at most this many events a second, so that new events do not wait behind them. Unless it is set, it
    /// is as fast as the store allows.
    ///
    /// # Panics
    ///
    /// It is zero.
    pub fn rate(mut self, per_second: u32) -> Self {
        assert!(per_second > 0, "with a rate of 0 nothing is ever changed");
        self.rate = Some(per_second);
        self
    }

    /// Changes nothing, and returns what would be changed.
    pub fn dry_run(mut self) -> Self {
        self.is_dry = true;
        self
    }

    async fn run(self) -> Result<Changed, InboxError> {
        let store = &self.inbox.store;
        let (state, begun) = (self.change.of(), store.now().await?);
        let (mut changed, mut seen) = (Changed::default(), HashSet::new());
        let mut after = self.filter.begins_at().map(|time| store.place_of(time));
        loop {
            let (entries, next) = match self.filter.one_key() {
                Some(key) => (store.show(key).await?.into_iter().collect(), None),
                None => store.list(state, after.as_deref(), STEP).await?,
            };
            // Events that have come into the state meanwhile, for example by a rerun, come after all others.
            let is_new = |entry: &Entry| state != State::Scheduled && entry.since() > begun;
            let is_over = |entry| is_new(entry) || self.filter.ends_before(entry);
            let is_over = entries.last().is_some_and(is_over);
            let mut meant: Vec<Entry> = entries
                .into_iter()
                .filter(|entry| entry.state() == state && !is_new(entry))
                .filter(|entry| self.filter.takes(entry))
                .filter(|entry| seen.insert(entry.key().to_owned()))
                .collect();
            if self.change == Change::Rerun {
                let all = meant.len();
                meant.retain(|entry| entry.stored().is_some());
                changed.forgotten += (all - meant.len()) as u64;
            }
            let left = self.limit.saturating_sub(changed.events);
            meant.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            // A damaged event cannot be shown, but it can be changed.
            let keys = match self.filter.only_key().filter(|_| !self.is_dry && self.limit > 0) {
                Some(key) => vec![key.to_owned()],
                None => meant.iter().map(|entry| entry.key().to_owned()).collect(),
            };
            let room = FIRST.saturating_sub(changed.first.len());
            changed.first.extend(meant.into_iter().take(room));
            changed.events += self.change(keys).await?;
            after = next;
            if after.is_none() || is_over || changed.events >= self.limit {
                return Ok(changed);
            }
        }
    }

    /// Changes the events with these keys, at the rate. Returns how many.
    async fn change(&self, keys: Vec<String>) -> Result<u64, InboxError> {
        if self.is_dry {
            return Ok(keys.len() as u64);
        }
        let mut changed = 0;
        let at_once = self.rate.map_or(STEP, |rate| rate.div_ceil(STEPS_PER_SECOND).min(STEP));
        for keys in keys.chunks(at_once as usize) {
            changed += self.inbox.store.change(keys, self.change).await?;
            self.inbox.store.announce();
            if let Some(rate) = self.rate {
                sleep(Duration::from_secs(1) * at_once / rate).await;
            }
        }
        Ok(changed)
    }
}

impl<'a> IntoFuture for ChangeEvents<'a> {
    type Output = Result<Changed, InboxError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ChangeEvents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeEvents")
            .field("change", &self.change)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
