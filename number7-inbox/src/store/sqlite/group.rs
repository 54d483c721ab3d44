//! Events that wait together, to be committed together.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use number7_core::Acceptance;
use tokio::sync::oneshot;

use crate::{model::error::InboxError, store::NewEvent};

/// The most events in a group, and the bytes after which it is full. A group is large enough that the commit itself is the
/// smaller part of its time, but no larger, because others wait for the file.
const MOST_EVENTS: usize = 256;
const MANY_BYTES: usize = 1024 * 1024;

pub(super) type Stored = Result<Acceptance, InboxError>;

/// The events that nobody is storing yet.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    callers: Vec<Caller>,
    has_leader: bool,
}

struct Caller {
    event: NewEvent,
    answer: oneshot::Sender<Stored>,
}

impl Waiting {
    /// Adds an event to those that wait. If there is no leader, the caller becomes it.
    pub(super) fn join(&self, event: NewEvent) -> (oneshot::Receiver<Stored>, Option<Leader>) {
        let (answer, stored) = oneshot::channel();
        let mut state = self.lock();
        state.callers.push(Caller { event, answer });
        let leads = !mem::replace(&mut state.has_leader, true);
        (stored, leads.then(|| Leader { waiting: self.clone(), leads }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores what waits, one group after the other.
pub(super) struct Leader {
    waiting: Waiting,
    leads: bool,
}

impl Leader {
    /// The next group. If there is none, this one is no longer the leader.
    pub(super) fn next(&mut self) -> Option<Group> {
        let mut state = self.waiting.lock();
        // Events whose callers are gone are not stored.
        state.callers.retain(|caller| !caller.answer.is_closed());
        let mut bytes = 0;
        let mut fits = |caller: &&Caller| {
            let fits = bytes < MANY_BYTES;
            bytes += caller.event.json.len();
            fits
        };
        let number = state.callers.iter().take(MOST_EVENTS).take_while(&mut fits).count();
        self.leads = number > 0;
        state.has_leader = self.leads;
        self.leads.then(|| Group(state.callers.drain(..number).collect()))
    }
}

/// If it is dropped in the middle, for example at the end of its runtime, the next caller becomes the leader.
impl Drop for Leader {
    fn drop(&mut self) {
        if self.leads {
            self.waiting.lock().has_leader = false;
        }
    }
}

/// The events that one commit stores.
pub(super) struct Group(Vec<Caller>);

impl Group {
    pub(super) fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.0.iter().map(|caller| &caller.event)
    }

    /// Each event in a group of its own.
    pub(super) fn split(self) -> Vec<Self> {
        self.0.into_iter().map(|caller| Self(vec![caller])).collect()
    }

    /// Whether a caller still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.iter().any(|caller| !caller.answer.is_closed())
    }

    pub(super) fn is_one(&self) -> bool {
        self.0.len() == 1
    }

    /// Tells each caller the result for its event.
    pub(super) fn answer(self, stored: Result<Vec<Acceptance>, InboxError>) {
        for (place, Caller { answer, .. }) in self.0.into_iter().enumerate() {
            _ = answer.send(match &stored {
                Ok(stored) => Ok(stored[place]),
                Err(error) => Err(error.copy()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    /// Adds an event with this many bytes.
    fn join(waiting: &Waiting, bytes: usize) -> (oneshot::Receiver<Stored>, Option<Leader>) {
        let json = vec![b' '; bytes].into();
        waiting.join(NewEvent::new("key".into(), json, None))
    }

    #[test]
    fn a_group_ends_after_so_many_events_or_bytes() {
        let groups = |events: &[usize]| -> Vec<usize> {
            let waiting = Waiting::default();
            let (_callers, leaders): (Vec<_>, Vec<_>) =
                events.iter().map(|bytes| join(&waiting, *bytes)).unzip();
            let [mut leader]: [Leader; 1] =
                leaders.into_iter().flatten().collect::<Vec<_>>().try_into().ok().unwrap();
            iter::from_fn(|| leader.next()).map(|group| group.events().count()).collect()
        };
        let mib = 1 << 20;
        assert_eq!(groups(&[1; 600]), [256, 256, 88]);
        assert_eq!(groups(&[mib / 2, mib / 2, 1]), [2, 1]);
        assert_eq!(groups(&[mib / 2, mib / 2 - 1, 2 * mib, 1]), [3, 1]);
    }

    #[test]
    fn who_goes_away_is_not_stored_and_leaves_the_lead_to_the_next() {
        let waiting = Waiting::default();
        drop(join(&waiting, 1));
        let (_caller, leader) = join(&waiting, 1);
        assert_eq!(leader.unwrap().next().unwrap().events().count(), 1);
    }
}
