//! Keeps requests within the vendor's rate limit, so that the vendor need not refuse any.
//!
//! A crate such as `governor` allows a steady rate and a burst. If the burst were the whole plan, it would send nearly twice
//! the plan in the first minute. Without a burst, two requests would have to be two seconds apart. Here no period of a minute
//! has more requests than the plan, and other users of the same key count as well, as far as the vendor reports them.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

const MINUTE: Duration = Duration::from_secs(60);

/// How much two times of the same reset may differ, because the vendor's clock and its resets have whole seconds.
const ROUNDING: Duration = Duration::from_secs(2);

/// What an answer says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How many more requests the vendor allows, if it reports that.
    pub(crate) remaining: Option<u32>,
    /// How long until the vendor begins to count anew.
    pub(crate) reset: Duration,
}

/// The requests of the clients that share a key in this process.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_minute: usize,
    /// Callers queue for this, in the order of their arrival.
    line: tokio::sync::Mutex<()>,
    /// The first in the queue waits for this if too many requests are on their way.
    answered: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many callers are in the queue.
    waiting: usize,
    /// When the requests of the last minute began.
    sent: VecDeque<Instant>,
    /// How many of them have no answer yet.
    unanswered: u32,
    /// The next reset, as the vendor reported it.
    window: Option<Window>,
    /// The vendor has refused a request, and allows no other until then.
    refused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    /// The fewest remaining requests that were reported.
    remaining: u32,
    reset: Instant,
}

impl Limiter {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: usize::try_from(per_minute).unwrap_or(usize::MAX),
            line: tokio::sync::Mutex::default(),
            answered: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Waits for its turn.
    ///
    /// The error is the time that it would have to wait, which is longer than the deadline allows.
    pub(crate) async fn acquire(&self, deadline: Instant) -> Result<Permit<'_>, Duration> {
        let waiting = {
            let mut state = self.state();
            let ahead = state.waiting;
            self.time_of(&mut state, Instant::now(), ahead, deadline)?;
            state.waiting += 1;
            Waiting(self)
        };
        let Ok(_turn) = timeout_at(deadline, self.line.lock()).await else {
            // Those ahead in the queue have waited all this time.
            return Err(MINUTE);
        };
        loop {
            // An answer of the vendor may change this meanwhile.
            let (at, is_crowded) = {
                let (now, mut state) = (Instant::now(), self.state());
                let at = self.time_of(&mut state, now, 0, deadline)?;
                let is_crowded = state.is_crowded();
                if at <= now && !is_crowded {
                    drop(state);
                    return Ok(waiting.begin(now));
                }
                (at, is_crowded)
            };
            let wait = async {
                match is_crowded {
                    true => self.answered.notified().await,
                    false => sleep_until(at).await,
                }
            };
            if timeout_at(deadline, wait).await.is_err() {
                return Err(MINUTE);
            }
        }
    }

    /// When a request can be sent if this many others are ahead of it.
    fn time_of(
        &self,
        state: &mut State,
        now: Instant,
        ahead: usize,
        deadline: Instant,
    ) -> Result<Instant, Duration> {
        state.forget_old(now);
        let minutes = |count: usize| MINUTE * u32::try_from(count).unwrap_or(u32::MAX);
        let place = state.sent.len() + ahead;
        let by_plan = match place.checked_sub(self.per_minute) {
            None => now,
            // A minute after the request that it replaces, or after one that is not yet sent.
            Some(place) => {
                let first = place % self.per_minute;
                let begun = state.sent.get(first).copied().unwrap_or(now);
                begun + minutes(1 + place / self.per_minute)
            }
        };
        let by_window = state.window.and_then(|Window { remaining, reset }| {
            let beyond = ahead.checked_sub(usize::try_from(remaining).ok()?)?;
            Some(reset + minutes(beyond / self.per_minute))
        });
        let at = by_plan.max(by_window.unwrap_or(now)).max(state.refused_until.unwrap_or(now));
        if at <= deadline { Ok(at) } else { Err(at - now) }
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
        self.window = self.window.filter(|window| window.reset > now);
        self.refused_until = self.refused_until.filter(|until| *until > now);
    }

    /// If the vendor allows only a few more requests, other processes may have as many on their way as this one, and perhaps
    /// none of them has been counted.
    fn is_crowded(&self) -> bool {
        let on_their_way = 2 * self.unanswered;
        on_their_way > 0 && self.window.is_some_and(|window| window.remaining <= on_their_way)
    }
}

/// A caller in the queue.
struct Waiting<'a>(&'a Limiter);

impl<'a> Waiting<'a> {
    fn begin(self, now: Instant) -> Permit<'a> {
        let limiter = self.0;
        mem::forget(self);
        let mut state = limiter.state();
        // Both at once, so that it never counts twice.
        state.waiting -= 1;
        state.sent.push_back(now);
        state.unanswered += 1;
        Permit { limiter, begun: now }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// The right to send one request.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    limiter: &'a Limiter,
    begun: Instant,
}

impl Permit<'_> {
    /// Takes over the limit that the vendor reports. Answers arrive in any order, so the fewest remaining requests count.
    pub(crate) fn answered(self, quota: Option<Quota>) {
        let Some(Quota { remaining: Some(remaining), reset }) = quota else { return };
        let (mut state, reset) = (self.limiter.state(), Instant::now() + reset);
        match &mut state.window {
            // It is about a window that is over.
            Some(window) if reset + ROUNDING < window.reset => {}
            Some(window) if reset <= window.reset + ROUNDING => {
                window.remaining = window.remaining.min(remaining);
            }
            window => *window = Some(Window { remaining, reset }),
        }
    }

    /// The vendor has refused: no request is sent before this time is over.
    pub(crate) fn refused(self, rest: Duration) {
        let mut state = self.limiter.state();
        state.refused_until = state.refused_until.max(Some(Instant::now() + rest));
    }

    /// There was no connection, so the vendor has counted nothing.
    pub(crate) fn not_sent(self) {
        let mut state = self.limiter.state();
        if let Some(place) = state.sent.iter().rposition(|sent| *sent == self.begun) {
            state.sent.remove(place);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        state.unanswered = state.unanswered.saturating_sub(1);
        drop(state);
        self.limiter.answered.notify_one();
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

    /// Sends this many requests, and returns when each was sent, in whole seconds.
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
    async fn a_caller_that_would_wait_too_long_fails_at_once() {
        let limiter = Arc::new(Limiter::new(2));
        send(&limiter, 2).await;
        tokio::time::sleep(SECOND * 20).await;
        let begun = Instant::now();
        assert_eq!(limiter.acquire(in_seconds(39)).await.unwrap_err(), SECOND * 40);
        // Two may wait for the two places, but a third one would have to wait for another minute.
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
    async fn a_caller_that_stops_waiting_leaves_no_gap_and_the_others_keep_their_order() {
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
        permit.answered(Some(Quota { remaining: Some(3), reset: SECOND * 12 }));
        let first = limiter.acquire(in_seconds(9)).await.unwrap();
        let second = limiter.acquire(in_seconds(9)).now_or_never().unwrap().unwrap();
        // Of the three remaining requests, two are on their way, and another process may have as many.
        let mut third = Box::pin(limiter.acquire(in_seconds(9)));
        assert!((&mut third).now_or_never().is_none(), "it waits for an answer");
        first.answered(Some(Quota { remaining: Some(1), reset: SECOND * 12 }));
        assert!((&mut third).now_or_never().is_none(), "another is on its way");
        drop(second);
        third.await.unwrap().answered(Some(Quota { remaining: Some(0), reset: SECOND * 12 }));
        assert_eq!(limiter.acquire(in_seconds(9)).await.unwrap_err(), SECOND * 12);
        assert_eq!(send(&limiter, 1).await, [12]);
        limiter.acquire(in_seconds(1)).await.unwrap().refused(SECOND * 5);
        assert_eq!(limiter.acquire(in_seconds(4)).await.unwrap_err(), SECOND * 5);
        assert_eq!(send(&limiter, 1).await, [5]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_answer_undoes_no_newer_one() {
        let limiter = Limiter::new(30);
        let [older, newer] = [
            limiter.acquire(in_seconds(1)).await.unwrap(),
            limiter.acquire(in_seconds(1)).await.unwrap(),
        ];
        newer.refused(SECOND * 40);
        older.answered(Some(Quota { remaining: Some(20), reset: SECOND * 30 }));
        assert_eq!(limiter.acquire(in_seconds(9)).await.unwrap_err(), SECOND * 40);
        // An answer without headers does not, either.
        tokio::time::sleep(SECOND * 40).await;
        let [older, newer] = [
            limiter.acquire(in_seconds(1)).await.unwrap(),
            limiter.acquire(in_seconds(1)).await.unwrap(),
        ];
        newer.refused(SECOND * 40);
        older.refused(SECOND);
        assert_eq!(limiter.acquire(in_seconds(9)).await.unwrap_err(), SECOND * 40);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_sent_does_not_count() {
        let limiter = Limiter::new(2);
        for _ in 0..9 {
            limiter.acquire(in_seconds(1)).await.unwrap().not_sent();
        }
        assert_eq!(send(&limiter, 3).await, [0, 0, 60]);
    }

    /// No matter how they interleave, on several threads.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_request_within_the_plan_is_refused() {
        for _ in 0..300 {
            let limiter = Arc::new(Limiter::new(30));
            let requests = (0..30).map(|_| {
                let limiter = Arc::clone(&limiter);
                tokio::spawn(async move { limiter.acquire(in_seconds(15)).await.is_ok() })
            });
            for request in requests.collect::<Vec<_>>() {
                assert!(request.await.unwrap());
            }
        }
    }
}
