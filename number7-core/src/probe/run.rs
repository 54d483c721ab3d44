use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use super::{Observed, Probe, Probes, Report, Step};

impl Probes {
    /// Sends all probes to a receiver. `send` sends one and returns what it observed, or `None` if it cannot send that kind.
    /// Slow probes are sent concurrently, after the others. If `send` panics, for example in a handler in the same process, the
    /// connection counts as closed.
    pub async fn run(&self, send: impl AsyncFn(&Probe) -> Option<Observed>) -> Report {
        let is_slow = |probe: &Probe| {
            let steps = probe.request().body_steps();
            steps.iter().any(|step| matches!(step, Step::Pause(_) | Step::Stall))
        };
        let (slow, quick): (Vec<_>, Vec<_>) = self.table().into_iter().partition(is_slow);
        let mut report = Report::default();
        for probe in quick {
            if let Some(observed) = caught(send(&probe)).await {
                report.add(probe, observed);
            }
        }
        let observed = all(slow.iter().map(|probe| caught(send(probe))).collect()).await;
        for (probe, observed) in slow.into_iter().zip(observed) {
            if let Some(observed) = observed {
                report.add(probe, observed);
            }
        }
        report
    }
}

async fn caught(sending: impl Future<Output = Option<Observed>>) -> Option<Observed> {
    let mut sending = pin!(sending);
    let polled = poll_fn(|cx| {
        let poll = AssertUnwindSafe(|| sending.as_mut().poll(cx));
        catch_unwind(poll).unwrap_or(Poll::Ready(Some(Observed::Closed)))
    });
    polled.await
}

/// Waits for all futures at the same time.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *output = Some(ready);
            }
        }
        match outputs.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
