//! The loop of a worker: it claims as many events as it has room for, starts their attempts, and
//! records how they end.

use std::{collections::HashSet, mem, slice, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::{
        Notify,
        mpsc::{self, error::SendError},
    },
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::{
    InboxError, InboxErrorKind,
    attempt::{Handler, attempt},
    engine::{Claim, End, Engine, Turn, WORKER_PREFIX},
    settings::Settings,
    upkeep::Upkeep,
};

/// How often an idle worker asks for events that another process accepted: every 50 milliseconds,
/// so that an event is started within 100.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many events are claimed, and ends recorded, at once: so few that the answer of the store
/// stays small, and that nobody else waits for long.
const MOST_AT_ONCE: usize = 256;

/// How often attempts get the processor before the ends that are there are recorded: for some ten
/// microseconds, which is little beside the commit that is spared.
const YIELDS: usize = 32;

/// The pauses between tries while the store fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What all attempts of a worker share.
struct Job {
    engine: Arc<dyn Engine>,
    handler: Box<Handler>,
    settings: Settings,
    worker: String,
}

/// Works until it is to stop, and then until nothing is in hand.
pub(crate) async fn work(
    engine: Arc<dyn Engine>,
    handler: Box<Handler>,
    settings: Settings,
    news: Arc<Notify>,
    stop: CancellationToken,
) {
    // A name is used once, so what a store has of an earlier worker never stands in the way.
    let worker = format!("{WORKER_PREFIX}{}", Ulid::generate());
    let job = Arc::new(Job { engine, handler, settings, worker });
    let upkeep = Upkeep::new(&*job.engine, &job.worker, &job.settings);
    select! {
        () = upkeep.register() => {}
        () = stop.cancelled() => return,
    }
    let given_up = select! {
        given_up = Worker::new(Arc::clone(&job), news, stop).run() => given_up,
        () = upkeep.run() => return,
    };
    // What was claimed and not begun is free at once.
    let (engine, worker) = (&job.engine, &job.worker);
    let given_back = async {
        engine.release(worker, &given_up).await?;
        engine.forget(worker).await
    };
    if let Err(error) = given_back.await {
        tracing::warn!(
            target: "number7", worker, lease = ?job.settings.lease,
            "what the worker has claimed is free only when its lease ends: {error}"
        );
    }
}

struct Worker {
    job: Arc<Job>,
    news: Arc<Notify>,
    stop: CancellationToken,
    /// The attempts that are going on, or whose end is not recorded.
    in_hand: HashSet<(String, u32)>,
    /// Which of them is a suspect's.
    suspect: Option<(String, u32)>,
    /// The ends that are not recorded.
    ends: Vec<End>,
    sender: mpsc::UnboundedSender<End>,
    receiver: mpsc::UnboundedReceiver<End>,
    /// Tasks whose end the store will never take. They stay claimed while this worker lives, since
    /// it would begin them again and again.
    given_up: HashSet<String>,
    /// Whether the store may have claimed something for this worker that it does not know of.
    may_have_more: bool,
    failure: Option<Failure>,
}

/// The store has failed, and is asked again after a pause.
struct Failure {
    since: Instant,
    pause: Duration,
}

impl Worker {
    fn new(job: Arc<Job>, news: Arc<Notify>, stop: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            job,
            news,
            stop,
            in_hand: HashSet::new(),
            suspect: None,
            ends: Vec::new(),
            sender,
            receiver,
            given_up: HashSet::new(),
            may_have_more: false,
            failure: None,
        }
    }

    /// Returns the tasks that it had to give up.
    async fn run(mut self) -> Vec<String> {
        let heartbeat = self.job.settings.heartbeat();
        let mut check = interval_at(Instant::now() + heartbeat, heartbeat);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_idle = false;
        while !(self.stop.is_cancelled() && self.in_hand.is_empty()) {
            if is_idle {
                let is_stopping = self.stop.is_cancelled();
                let has_room = !is_stopping && self.room() > 0;
                select! {
                    Some(end) = self.receiver.recv() => self.ends.push(end),
                    () = self.news.notified(), if has_room => {}
                    () = sleep(POLL_INTERVAL), if has_room => {}
                    () = self.stop.cancelled(), if !is_stopping => {}
                    // A statement that arrives late claims when its answer is long given up.
                    _ = check.tick() => self.may_have_more = true,
                }
            }
            self.collect().await;
            match self.turn().await {
                Ok(is_more) => {
                    is_idle = !is_more;
                    if self.failure.take().is_some() {
                        tracing::info!(target: "number7", "the store works again");
                    }
                }
                Err(error) => {
                    is_idle = false;
                    self.rest(&error).await;
                }
            }
        }
        self.given_up.into_iter().collect()
    }

    /// Takes the ends that are there. Attempts that need only a moment may end now, to be recorded
    /// together.
    async fn collect(&mut self) {
        for _ in 0..YIELDS {
            while let Ok(end) = self.receiver.try_recv() {
                self.ends.push(end);
            }
            if self.ends.len() == self.in_hand.len() {
                return;
            }
            yield_now().await;
        }
    }

    fn room(&self) -> usize {
        self.job.settings.concurrency.saturating_sub(self.in_hand.len())
    }

    /// Records ends, and claims as much as there is room for then. Says whether there is more to do
    /// at once.
    async fn turn(&mut self) -> Result<bool, InboxError> {
        let job = Arc::clone(&self.job);
        if self.may_have_more {
            job.engine.release(&job.worker, &self.tasks()).await?;
            self.may_have_more = false;
        }
        let recorded = self.ends.len().min(MOST_AT_ONCE);
        let most = match self.stop.is_cancelled() {
            true => 0,
            false => (self.room() + recorded).min(MOST_AT_ONCE),
        };
        if recorded + most == 0 {
            return Ok(false);
        }
        let turn = Turn {
            worker: &job.worker,
            ends: &self.ends[..recorded],
            most,
            suspect: self.suspect.is_none(),
        };
        let turned = job.engine.turn(turn).await;
        let turned = match turned {
            Err(error) if error.kind() == InboxErrorKind::Unstorable && recorded > 0 => {
                return self.record_one_by_one().await.map(|()| true);
            }
            turned => turned?,
        };
        for end in self.ends.drain(..recorded).collect::<Vec<_>>() {
            self.is_over(&end, turned.ended.contains(&end.task));
        }
        let claimed = turned.claimed.len();
        for claim in turned.claimed {
            self.begin(claim);
        }
        Ok(!self.ends.is_empty() || (claimed == most && self.room() > 0))
    }

    /// Starts an attempt. It goes on although the worker is dropped.
    fn begin(&mut self, claim: Claim) {
        if self.stop.is_cancelled() {
            // It is given back, as what was never begun.
            self.may_have_more = true;
            return;
        }
        let id = (claim.task.clone(), claim.attempt);
        if claim.is_suspect {
            self.suspect = Some(id.clone());
        }
        self.in_hand.insert(id);
        let (job, sender) = (Arc::clone(&self.job), self.sender.clone());
        tokio::spawn(async move {
            let end = attempt(&*job.handler, &job.settings, claim).await;
            // The worker was dropped, and this is left of it.
            if let Err(SendError(end)) = sender.send(end)
                && let Err(error) = job.record(&end).await
            {
                tracing::warn!(
                    target: "number7", task = end.task,
                    "could not record an attempt, it will be repeated: {error}"
                );
            }
        });
    }

    /// The end of an attempt is recorded, or is not to be.
    fn is_over(&mut self, end: &End, counts: bool) {
        if !counts {
            tracing::warn!(
                target: "number7", task = end.task, attempt = end.attempt,
                "the lease of an attempt was lost, and its end does not count"
            );
        }
        let id = (end.task.clone(), end.attempt);
        self.in_hand.remove(&id);
        self.suspect.take_if(|suspect| *suspect == id);
    }

    /// One of the ends is such that the store will never take it. The others must not wait for it.
    async fn record_one_by_one(&mut self) -> Result<(), InboxError> {
        while let Some(end) = self.ends.pop() {
            match self.job.record(&end).await {
                Ok(counts) => self.is_over(&end, counts),
                Err(error) if error.kind() == InboxErrorKind::Unstorable => {
                    tracing::error!(
                        target: "number7", task = end.task, attempt = end.attempt,
                        "the end of an attempt cannot be recorded, and the event is not tried again \
                        before this worker has stopped: {error}"
                    );
                    self.given_up.insert(end.task.clone());
                    self.is_over(&end, true);
                }
                Err(error) => {
                    self.ends.push(end);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Waits after a failure of the store, of which the log has one for each outage.
    async fn rest(&mut self, error: &InboxError) {
        // The answer may have been that it has claimed something.
        self.may_have_more = true;
        let failure = self.failure.get_or_insert_with(|| {
            tracing::warn!(
                target: "number7",
                "the store fails a worker, which tries again until it can go on: {error}"
            );
            Failure { since: Instant::now(), pause: FIRST_PAUSE }
        });
        let pause = failure.pause;
        failure.pause = (pause * 2).min(LONGEST_PAUSE);
        // Nobody waits for a store for longer than for the lease that ends meanwhile.
        let is_long = failure.since.elapsed() > self.job.settings.lease;
        if self.stop.is_cancelled() && is_long {
            for end in mem::take(&mut self.ends) {
                tracing::error!(
                    target: "number7", task = end.task, attempt = end.attempt,
                    "could not record an attempt, it will be repeated: {error}"
                );
                self.is_over(&end, true);
            }
        }
        sleep(pause).await;
    }

    /// The tasks that are not to be given back.
    fn tasks(&self) -> Vec<String> {
        let in_hand = self.in_hand.iter().map(|(task, _)| task);
        in_hand.chain(&self.given_up).cloned().collect()
    }
}

impl Job {
    /// Records one end. False if it does not count.
    async fn record(&self, end: &End) -> Result<bool, InboxError> {
        let ends = slice::from_ref(end);
        let turn = Turn { worker: &self.worker, ends, most: 0, suspect: false };
        Ok(!self.engine.turn(turn).await?.ended.is_empty())
    }
}
