//! Keeps within the vendor's rate limit before the vendor has to say so.
//!
//! A crate such as `governor` allows a steady rate and a burst. With a burst of a whole plan, it would send
//! nearly twice the plan in the first minute; without one, two requests would have to be two seconds apart.
//! Here no minute has more requests than the plan, whenever it begins, and what the vendor says of other
//! users of the same key counts as well.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

const MINUTE: Duration = Duration::from_secs(60);

/// What an answer says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) remaining: u32,
    /// When the vendor begins to count anew.
    pub(crate) reset: Duration,
}

/// The requests of the clients that share a key in this process.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_minute: usize,
    /// Callers stand in line for this, in the order of their coming.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the requests of the last minute began.
    sent: VecDeque<Instant>,
    /// Those of them that have no answer yet.
    unanswered: u32,
    /// What the vendor allows until when, as far as it is known.
    window: Option<(u32, Instant)>,
}

/// The right to send one request.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Limiter);

impl Limiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: usize::try_from(per_minute).unwrap_or(usize::MAX),
            line: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Waits for its turn.
    ///
    /// The error is how long it would have to wait, which is beyond the deadline.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<Permit<'_>, Duration> {
        let ahead = Waiting::behind(&self.waiting);
        self.refuse_beyond(deadline, ahead.1)?;
        let Ok(_turn) = timeout_at(deadline, self.line.lock()).await else {
            return Err(self.time_of(ahead.1).saturating_duration_since(Instant::now()));
        };
        loop {
            // What the vendor says in the meantime may change it.
            let at = self.refuse_beyond(deadline, 0)?;
            let now = Instant::now();
            if at <= now {
                self.state().begin(now);
                return Ok(Permit(self));
            }
            sleep_until(at).await;
        }
    }

    fn refuse_beyond(&self, deadline: Instant, ahead: usize) -> Result<Instant, Duration> {
        let at = self.time_of(ahead);
        match at <= deadline {
            true => Ok(at),
            false => Err(at.saturating_duration_since(Instant::now())),
        }
    }

    /// When a request can be sent that has so many others ahead of it.
    fn time_of(&self, ahead: usize) -> Instant {
        let (now, mut state) = (Instant::now(), self.state());
        state.forget_old(now);
        let minutes = |count: usize| MINUTE * u32::try_from(count).unwrap_or(u32::MAX);
        let place = state.sent.len() + ahead;
        let by_plan = match place.checked_sub(self.per_minute) {
            None => now,
            // A minute after the one that it takes the place of, or after one that is not yet sent.
            Some(place) => {
                let first = place % self.per_minute;
                let begun = state.sent.get(first).copied().unwrap_or(now);
                begun + minutes(1 + place / self.per_minute)
            }
        };
        match state.window {
            Some((left, reset)) if usize::try_from(left).unwrap_or(usize::MAX) <= ahead => {
                let beyond = ahead - usize::try_from(left).unwrap_or(ahead);
                by_plan.max(reset + minutes(beyond / self.per_minute))
            }
            _ => by_plan,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_old(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| *sent + MINUTE <= now) {
            self.sent.pop_front();
        }
        self.window = self.window.filter(|(_, reset)| *reset > now);
    }

    fn begin(&mut self, now: Instant) {
        self.sent.push_back(now);
        self.unanswered += 1;
        if let Some((left, _)) = &mut self.window {
            *left = left.saturating_sub(1);
        }
    }
}

impl Permit<'_> {
    /// Learns what the vendor says of the limit.
    pub(crate) fn answered(self, quota: Option<Quota>) {
        let Some(Quota { remaining, reset }) = quota else { return };
        let mut state = self.0.state();
        // Requests that are on their way may not have been counted.
        let others = state.unanswered.saturating_sub(1);
        let reset = Instant::now() + reset;
        state.window = Some((remaining.saturating_sub(others), reset));
    }

    /// The vendor has refused: nobody sends anything before this time is over.
    pub(crate) fn refused(self, rest: Duration) {
        self.0.state().window = Some((0, Instant::now() + rest));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unanswered = state.unanswered.saturating_sub(1);
    }
}

/// Counts a caller while it waits, and knows how many came before it.
struct Waiting<'a>(&'a AtomicUsize, usize);

impl<'a> Waiting<'a> {
    fn behind(waiting: &'a AtomicUsize) -> Self {
        Self(waiting, waiting.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn in_seconds(seconds: u64) -> Instant {
        Instant::now() + SECOND * u32::try_from(seconds).unwrap()
    }

    /// In whole seconds, how long it took to send so many.
    async fn send(limiter: &Limiter, requests: usize) -> Vec<u64> {
        let begun = Instant::now();
        let mut seconds = Vec::new();
        for _ in 0..requests {
            drop(limiter.acquire(in_seconds(1_000)).await.unwrap());
            seconds.push(begun.elapsed().as_secs());
        }
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_than_the_plan() {
        let limiter = Limiter::new(3);
        assert_eq!(send(&limiter, 2).await, [0, 0]);
        tokio::time::sleep(SECOND * 50).await;
        assert_eq!(send(&limiter, 5).await, [0, 10, 10, 60, 70]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_at_once() {
        let limiter = Arc::new(Limiter::new(2));
        send(&limiter, 2).await;
        tokio::time::sleep(SECOND * 20).await;
        let begun = Instant::now();
        assert_eq!(limiter.acquire(in_seconds(39)).await.unwrap_err(), SECOND * 40);
        // Two may wait for the two places, and a third would have to wait for another minute.
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { limiter.acquire(in_seconds(40)).await.is_ok() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(limiter.acquire(in_seconds(99)).await.unwrap_err(), SECOND * 100);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_no_gap_and_the_others_keep_their_order() {
        let limiter = Arc::new(Limiter::new(1));
        send(&limiter, 1).await;
        let begun = Instant::now();
        let [mut first, mut second, mut third] =
            [0; 3].map(|_| Box::pin(limiter.acquire(in_seconds(500))));
        for _ in 0..2 {
            assert!((&mut first).now_or_never().is_none());
            assert!((&mut second).now_or_never().is_none());
            assert!((&mut third).now_or_never().is_none());
        }
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(begun.elapsed(), MINUTE);
        drop(second);
        third.await.unwrap();
        assert_eq!(begun.elapsed(), MINUTE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_use_of_the_key_counts() {
        let limiter = Limiter::new(30);
        let permit = limiter.acquire(in_seconds(1)).await.unwrap();
        let other = limiter.acquire(in_seconds(1)).await.unwrap();
        permit.answered(Some(Quota { remaining: 3, reset: SECOND * 12 }));
        drop(other);
        // Two are left, because the other request may not have been counted.
        assert_eq!(send(&limiter, 3).await, [0, 0, 12]);
        limiter.acquire(in_seconds(1)).await.unwrap().refused(SECOND * 5);
        assert_eq!(limiter.acquire(in_seconds(4)).await.unwrap_err(), SECOND * 5);
        assert_eq!(send(&limiter, 1).await, [5]);
    }
}
