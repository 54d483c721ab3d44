use std::time::Duration;

use futures_util::FutureExt;
use number7_core::probe::Sample;
use ulid::Ulid;

use super::{
    report::{Finding, Report},
    rules,
    trial::{Bench, Fault, Trial},
};
use crate::{AcceptedEvent, BoxError, Failure, Inbox};

/// The most await points of a handler at which a process dies or a lease is lost. If a handler has more, only the
/// first ones are tried.
const MOST_POINTS: usize = 100;

/// Runs a handler through what happens in production, and panics if its effects do not happen exactly once.
///
/// A worker calls a handler *at least* once for each event. This shows whether the handler copes with that:
///
/// - the process dies at each await point of the handler in turn, or after the handler returned, and the event is
///   handled again;
/// - two attempts run at once;
/// - the lease is lost at each await point in turn;
/// - an operator reruns the event when it is done, which may repeat the effect;
/// - an event cannot be typed, has another name, or has an unknown name.
///
/// `effects` returns how often the effect of an event has happened. Each trial has its own job, so count by
/// [`AcceptedEvent::key`] or [`AcceptedEvent::job_id`]. A fake of another service that your handler calls must accept any job.
///
/// The handler is called about 15 times, and three times for each of its await points. If it waits only for timers and channels
/// of tokio, `#[tokio::test(start_paused = true)]` skips its waits. With a database, use the real clock.
///
/// # Panics
///
/// A rule is broken: the message names it, and says what to fix. Or the inbox of the trials fails.
///
/// # Example
///
/// ```
/// use std::{collections::HashSet, sync::{Arc, Mutex}};
///
/// use number7_inbox::{AcceptedEvent, Event, Failure, assert_worker, testing::Trials};
///
/// /// With a unique key, as a table of a database would have it.
/// #[derive(Clone, Default)]
/// struct Invoices(Arc<Mutex<HashSet<String>>>);
///
/// async fn handle(accepted: AcceptedEvent, invoices: Invoices) -> Result<(), Failure> {
///     if let Event::JobCompleted(_) = accepted.event()? {
///         invoices.0.lock().unwrap().insert(accepted.key().to_owned());
///     }
///     Ok(())
/// }
///
/// # // What a user writes as `#[tokio::test(start_paused = true)]`.
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let invoices = Invoices::default();
/// let effects = async |event: &AcceptedEvent| {
///     usize::from(invoices.0.lock().unwrap().contains(event.key()))
/// };
/// assert_worker(|event| handle(event, invoices.clone()), effects, &Trials::default()).await;
/// # }
/// ```
pub async fn assert_worker<H, F, E>(
    handler: H,
    effects: impl AsyncFn(&AcceptedEvent) -> usize,
    trials: &Trials,
) where
    H: Fn(AcceptedEvent) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    let report = trials.run(handler, effects).await;
    assert!(report.is_good(), "{report}");
}

/// The settings of [`assert_worker`], configured by value.
///
/// The default is an inbox in memory, and `job.completed` of an `invoice` as the event that has an effect.
#[derive(Clone, Debug)]
#[must_use = "trials do nothing unless they are run"]
pub struct Trials {
    inbox: Inbox,
    sample: Sample,
}

impl Default for Trials {
    fn default() -> Self {
        Self::on(Inbox::memory())
    }
}

impl Trials {
    /// Uses an inbox of yours. Handlers that end in a transaction, by [`AcceptedEvent::finish_in`], need an `Inbox::sqlite_of`
    /// or `Inbox::postgres_of` their pool. Nothing else may use this inbox meanwhile.
    pub fn on(inbox: Inbox) -> Self {
        Self { inbox, sample: Sample::completed("") }
    }

    /// An event that has exactly one effect in the handler. Its job is replaced.
    pub fn sample(self, sample: Sample) -> Self {
        Self { sample, ..self }
    }

    /// Like [`assert_worker`], but returns what was observed.
    ///
    /// # Panics
    ///
    /// The inbox fails.
    pub async fn run<H, F, E>(
        &self,
        handler: H,
        effects: impl AsyncFn(&AcceptedEvent) -> usize,
    ) -> Report
    where
        H: Fn(AcceptedEvent) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Failure>,
    {
        let (handler, effects) = (&handler, &effects);
        let bench = Bench {
            inbox: &self.inbox,
            handler: Box::new(|event| {
                async { handler(event).await.map_err(Into::into) }.boxed_local()
            }),
            effects: Box::new(|event| async move { effects(&event).await }.boxed_local()),
        };
        let findings = self.findings(bench).await;
        Report { findings: findings.expect("the inbox of the trials works") }
    }

    async fn findings<'a>(&'a self, bench: Bench<'a>) -> Result<Vec<Finding>, BoxError> {
        let mut trials = Trying { of: self, bench, longest_polls: Vec::new() };
        let mut findings = vec![trials.effect("the effect happens", Fault::None).await?];
        if findings[0].fix.is_none() {
            let rule = "the effect happens once if the process dies in the handler";
            findings.push(trials.at_each_point(rule, 1, Fault::Dies).await?);
            let rule = "the effect happens once if the process dies before the end is recorded";
            let in_turn = trials.effect(rule, Fault::DiesAtEnd).await?;
            let rule = "the effect happens once if two attempts run at once";
            let mut at_once = trials.effect(rule, Fault::Twice).await?;
            let mut rerun = rules::rerun(&trials.trial(&self.sample, Fault::Rerun).await?);
            rules::common(&in_turn, &mut at_once);
            rules::common(&in_turn, &mut rerun);
            findings.extend([in_turn, at_once, rerun]);
            let rule = "the effect happens once if the lease is lost";
            findings.push(trials.at_each_point(rule, 0, Fault::LosesLease).await?);
        }
        findings.push(rules::untypable(&trials.untypable().await?));
        let [completed, failed] = [Sample::completed(""), Sample::failed("", "page 2 is blank")];
        for (rule, sample) in [
            ("a job.completed ends", completed),
            ("a job.failed ends", failed),
            ("an event of an unknown name ends", Sample::unknown("")),
        ] {
            if sample.event() != self.sample.event() {
                findings.push(rules::other(rule, &trials.trial(&sample, Fault::None).await?));
            }
        }
        findings.push(rules::blocks(trials.longest_polls.into_iter()));
        Ok(findings)
    }
}

/// The running trials.
struct Trying<'a> {
    of: &'a Trials,
    bench: Bench<'a>,
    /// One for each trial in which the effect should happen.
    longest_polls: Vec<Duration>,
}

impl Trying<'_> {
    /// An event that must have its effect once.
    async fn effect(&mut self, rule: &'static str, fault: Fault) -> Result<Finding, BoxError> {
        self.effect_and_fault(rule, fault).await.map(|(finding, _)| finding)
    }

    /// The same with the fault at each await point, until the handler returns before it, or breaks the rule.
    async fn at_each_point(
        &mut self,
        rule: &'static str,
        first: usize,
        fault: impl Fn(usize) -> Fault,
    ) -> Result<Finding, BoxError> {
        let mut point = first;
        loop {
            let (finding, has_fault) = self.effect_and_fault(rule, fault(point)).await?;
            if finding.fix.is_some() || !has_fault || point == MOST_POINTS {
                return Ok(finding);
            }
            point += 1;
        }
    }

    async fn effect_and_fault(
        &mut self,
        rule: &'static str,
        fault: Fault,
    ) -> Result<(Finding, bool), BoxError> {
        let trial = self.trial(&self.of.sample, fault).await?;
        self.longest_polls.push(trial.longest_poll);
        Ok((rules::effect(rule, fault, &trial), trial.has_fault))
    }

    async fn untypable(&self) -> Result<Trial, BoxError> {
        let (event, job) = (self.of.sample.event(), new_job());
        let json = format!(r#"{{"event":"{event}","jobId":"{job}"}}"#);
        self.bench.trial(json, Fault::None).await
    }

    async fn trial(&self, sample: &Sample, fault: Fault) -> Result<Trial, BoxError> {
        self.bench.trial(sample.clone().job(new_job()).json(), fault).await
    }
}

/// The id of a job that no store knows.
fn new_job() -> String {
    format!("job_{}", Ulid::generate())
}
