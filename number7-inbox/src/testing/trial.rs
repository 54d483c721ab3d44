//! One event that goes through a worker, with one fault.

use std::{fmt, ops::ControlFlow, pin::pin, time::Duration};

use futures_util::future::LocalBoxFuture;
use number7_core::{Record, Secret, Verifier};
use tokio::{
    join, select,
    sync::{mpsc, oneshot},
};

use super::call::{Called, Ended, call};
use crate::{AcceptedEvent, BoxError, Failure, Inbox, State, Worker};

/// How often an event is tried: once with the fault, once more with a failure, and then it must end.
const ATTEMPTS: u32 = 3;

/// How often the handler may snooze an event before that counts as its end.
const MOST_SNOOZES: usize = 10;

/// What happens to an attempt. It happens once, to the first attempt that it can happen to.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    None,
    /// The process dies at an await point, after this many polls.
    Dies(usize),
    /// The process dies when the handler has returned `Ok`, before the end is recorded.
    DiesAtEnd,
    /// Another attempt runs at the same time.
    Twice,
    /// The lease is lost after this many polls.
    LosesLease(usize),
    /// An operator reruns the event when it is done.
    Rerun,
}

/// What happened to an event.
pub(super) struct Trial {
    pub(super) state: State,
    /// How often its effect has happened.
    pub(super) effects: usize,
    /// How often it had happened when the handler first returned `Ok`.
    pub(super) effects_at_ok: Option<usize>,
    /// Whether the fault has happened.
    pub(super) has_fault: bool,
    /// Whether the last attempt failed for good.
    pub(super) is_permanent: bool,
    pub(super) panic: Option<String>,
    /// A call of the handler did not return.
    pub(super) hangs: bool,
    /// The error of the last attempt.
    pub(super) error: Option<String>,
    pub(super) longest_poll: Duration,
}

/// A handler under test.
pub(super) struct Bench<'a> {
    pub(super) inbox: &'a Inbox,
    pub(super) handler: Box<Handler<'a>>,
    pub(super) effects: Box<Effects<'a>>,
}

type Handler<'a> = dyn Fn(AcceptedEvent) -> LocalBoxFuture<'a, Result<(), Failure>> + 'a;
type Effects<'a> = dyn Fn(AcceptedEvent) -> LocalBoxFuture<'a, usize> + 'a;

/// An attempt that a worker makes, and the channel for its result.
type Attempt = (AcceptedEvent, oneshot::Sender<Result<(), Failure>>);

impl Bench<'_> {
    /// Accepts an event, and handles it until nothing is left to do.
    pub(super) async fn trial(&self, json: String, fault: Fault) -> Result<Trial, BoxError> {
        let key = Record::key_of(json.as_bytes())?;
        self.accept(json.clone()).await?;
        let mut trial = Trial::new();
        let (mut is_rerun, mut snoozes) = (!matches!(fault, Fault::Rerun), 0);
        loop {
            self.work(&mut trial, fault).await;
            if snoozes < MOST_SNOOZES && self.inbox.run_now(&*key).await?.events > 0 {
                snoozes += 1;
            } else if is_rerun || self.inbox.rerun(&*key).await?.events == 0 {
                break;
            } else {
                is_rerun = true;
            }
        }
        let entry = self.inbox.show(&key).await?.ok_or("the inbox has lost an event")?;
        trial.state = entry.state();
        trial.effects = (self.effects)(AcceptedEvent::for_test(json)).await;
        Ok(trial)
    }

    /// Runs a worker, and makes its attempts, until it is idle.
    async fn work(&self, trial: &mut Trial, fault: Fault) {
        let (sender, mut attempts) = mpsc::unbounded_channel();
        let mut worker = pin!(self.worker(sender).run_until_idle());
        loop {
            select! {
                biased;
                Some((accepted, answer)) = attempts.recv() => {
                    let fault = if trial.has_fault { Fault::None } else { fault };
                    // If the worker is gone, the end of the attempt is lost.
                    _ = answer.send(self.attempt(trial, accepted, fault).await);
                }
                _ = &mut worker => return,
            }
        }
    }

    async fn accept(&self, json: String) -> Result<(), BoxError> {
        let secret = Secret::new("a secret for the trials")?;
        let delivery =
            Verifier::new(secret.clone()).verify(secret.sign(&json).to_string(), json)?;
        self.inbox.accept(&delivery).await?;
        Ok(())
    }

    /// A worker that lets the trial make its attempts.
    fn worker(&self, attempts: mpsc::UnboundedSender<Attempt>) -> Worker {
        let handler = move |accepted| {
            let (answer, answered) = oneshot::channel();
            _ = attempts.send((accepted, answer));
            async { answered.await.unwrap_or_else(|_| Err("the trial is over".into())) }
        };
        let worker = self.inbox.worker(handler).attempts(ATTEMPTS).concurrency(1);
        worker.backoff(Duration::ZERO, Duration::ZERO)
    }

    /// Makes an attempt, and returns its result to the worker.
    async fn attempt(
        &self,
        trial: &mut Trial,
        accepted: AcceptedEvent,
        fault: Fault,
    ) -> Result<(), Failure> {
        let lease_lost = accepted.lease_lost().clone();
        let at = |polls| match fault {
            Fault::Dies(point) if point == polls => ControlFlow::Break(()),
            Fault::LosesLease(point) if point == polls => {
                lease_lost.cancel();
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        };
        let called = call((self.handler)(accepted.clone()), at);
        let called = match fault {
            Fault::Twice => {
                let other = call((self.handler)(accepted.clone()), |_| ControlFlow::Continue(()));
                let (one, other) = join!(called, other);
                vec![one, other]
            }
            _ => vec![called.await],
        };
        let is_dropped = called.iter().any(|called| matches!(called.end, Ended::Dropped));
        let handled = trial.note(called);
        trial.has_fault |= match fault {
            Fault::None | Fault::Rerun => false,
            Fault::Dies(_) => is_dropped,
            Fault::LosesLease(_) => lease_lost.is_cancelled(),
            Fault::DiesAtEnd | Fault::Twice => handled.is_ok(),
        };
        if handled.is_ok() && trial.effects_at_ok.is_none() {
            trial.effects_at_ok = Some((self.effects)(accepted).await);
        }
        match fault {
            Fault::DiesAtEnd if handled.is_ok() => {
                Err("the process died before the end was recorded".into())
            }
            _ => handled,
        }
    }
}

impl Trial {
    fn new() -> Self {
        Self {
            state: State::Ready,
            effects: 0,
            effects_at_ok: None,
            has_fault: false,
            is_permanent: false,
            panic: None,
            hangs: false,
            error: None,
            longest_poll: Duration::ZERO,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Records the calls of one attempt. It succeeded if one of them did.
    fn note(&mut self, calls: Vec<Called>) -> Result<(), Failure> {
        let mut handled = Err("the process died".into());
        for Called { end, longest_poll } in calls {
            self.longest_poll = self.longest_poll.max(longest_poll);
            match end {
                Ended::Returned(returned) if handled.is_err() => handled = returned,
                Ended::Panicked(panic) => self.panic = Some(panic),
                Ended::TooSlow => self.hangs = true,
                Ended::Returned(_) | Ended::Dropped => {}
            }
        }
        self.is_permanent = handled.as_ref().is_err_and(Failure::is_permanent);
        self.error = handled.as_ref().err().map(ToString::to_string);
        handled
    }
}

/// What was observed.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, effects, panic, hangs, error, .. } = self;
        match effects {
            0 => f.write_str("no effect")?,
            1 => f.write_str("one effect")?,
            _ => write!(f, "{effects} effects")?,
        }
        write!(f, ", {state}")?;
        if let Some(panic) = panic {
            return write!(f, ", {panic}");
        }
        if *hangs {
            return f.write_str(", a call that did not return");
        }
        match error {
            Some(error) if !self.is_done() => write!(f, ", {error}"),
            _ => Ok(()),
        }
    }
}
