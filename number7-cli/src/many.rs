//! Many deliveries, and their results.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use ureq::http::{StatusCode, Uri};

use crate::{
    client::{Attempt, Client, Message},
    output::{BAD, GOOD, styled},
};

/// How many deliveries, and how fast.
pub(crate) struct Load {
    pub(crate) count: u64,
    /// The shortest pause before the next one.
    pub(crate) pause: Option<Duration>,
    pub(crate) concurrency: u64,
    pub(crate) retries: u32,
}

/// The answers to all attempts.
#[derive(Default)]
pub(crate) struct Summary {
    deliveries: u64,
    accepted: u64,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<String, u64>,
    times: Vec<Duration>,
    taken: Duration,
}

impl Summary {
    pub(crate) fn add(&mut self, attempt: &Attempt) {
        match &attempt.answer {
            Ok(status) => *self.statuses.entry(status.as_u16()).or_default() += 1,
            Err(error) => *self.failures.entry(error.clone()).or_default() += 1,
        }
        self.times.push(attempt.taken);
    }

    pub(crate) fn end(&mut self, is_accepted: bool) {
        self.deliveries += 1;
        self.accepted += u64::from(is_accepted);
    }

    pub(crate) fn end_all(&mut self, taken: Duration) {
        self.taken = taken;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries == 0
    }

    pub(crate) fn is_good(&self) -> bool {
        self.accepted == self.deliveries
    }

    fn percentile(&self, hundredths: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (times.len() * hundredths).div_ceil(100).saturating_sub(1);
        times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    pub(crate) fn text(&self) -> String {
        let Self { deliveries, accepted, taken, .. } = self;
        let style = if self.is_good() { GOOD } else { BAD };
        let rate = *deliveries as f64 / taken.as_secs_f64();
        let head = format!("{accepted} of {deliveries} delivered");
        let mut lines = vec![format!("{} in {taken:.1?}, {rate:.0} a second", styled(style, head))];
        for (status, number) in &self.statuses {
            let reason = StatusCode::from_u16(*status).ok();
            let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
            lines.push(format!("{number:>8}  {status} {reason}"));
        }
        lines.extend(self.failures.iter().map(|(error, number)| format!("{number:>8}  {error}")));
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|at| self.percentile(at));
        lines.push(format!(
            "latency  p50 {p50:.1} ms  p90 {p90:.1} ms  p99 {p99:.1} ms  max {max:.1} ms"
        ));
        lines.join("\n")
    }

    pub(crate) fn json(&self) -> Value {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|at| self.percentile(at));
        json!({
            "deliveries": self.deliveries,
            "accepted": self.accepted,
            "answers": self.statuses,
            "failures": self.failures,
            "seconds": self.taken.as_secs_f64(),
            "latency_ms": { "p50": p50, "p90": p90, "p99": p99, "max": max },
        })
    }
}

/// A progress bar, which is drawn only on a terminal.
pub(crate) fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    match ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Delivers all of them, this many at a time.
pub(crate) fn deliver(
    client: &Client,
    url: &Uri,
    load: &Load,
    message: impl Fn(u64) -> Message + Sync,
) -> Summary {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let (summary, due) = (Mutex::new(Summary::default()), Mutex::new(begun));
    let lock = || summary.lock().unwrap_or_else(PoisonError::into_inner);
    let bar = bar(load.count);
    scope(|threads| {
        for _ in 0..load.concurrency.min(load.count) {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= load.count {
                        return;
                    }
                    if let Some(pause) = load.pause {
                        let mine = {
                            let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
                            let mine = (*due).max(Instant::now());
                            *due = mine + pause;
                            mine
                        };
                        sleep(mine.saturating_duration_since(Instant::now()));
                    }
                    let observed = |attempt: &Attempt| lock().add(attempt);
                    let accepted = client.deliver(url, &message(number), load.retries, observed);
                    lock().end(accepted);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.end_all(begun.elapsed());
    summary
}
