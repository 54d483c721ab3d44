//! How soon an overdue job is fetched.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    rules::Life,
    store::{Broken, Node, World},
};
use crate::{
    BoxError, DEFAULT_FETCH_BACKOFF, Event, Fetched, Inbox, JobId, Worker,
    model::options::{Options, Polling},
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// The inboxes of this many processes on one store that works. Each falls asleep when it may.
fn inboxes(processes: usize, sleep_after: Option<Duration>) -> (World, Vec<Inbox>) {
    let world = World::new(0, processes, Broken::Nothing);
    world.seen().is_faulty = false;
    world.seen().lives.fill(Life::new(1, false));
    let polling = Polling { sleep_after, ..Polling::default() };
    let options = Options { polling, ..Options::default() };
    let inbox = |number| Inbox::on(Arc::new(Node::new(&world, number, 1)), &options);
    let inboxes = (0..processes).map(inbox).collect();
    (world, inboxes)
}

/// The jobs that were fetched.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// A worker that fetches.
    fn worker(&self, inbox: &Inbox) -> Worker {
        let asked = self.clone();
        let fetch = move |job: JobId| {
            asked.0.lock().unwrap().push(job.as_str().to_owned());
            async move {
                match job.as_str() {
                    "runs" => Ok::<_, BoxError>(Fetched::StillRunning),
                    "is_answered_late" => {
                        sleep(29 * SECOND).await;
                        Ok(Fetched::StillRunning)
                    }
                    job => {
                        let json = format!(r#"{{"event":"job.completed","jobId":"{job}"}}"#);
                        Ok(Fetched::Finished(Event::from_json(json)?))
                    }
                }
            }
        };
        inbox.worker(async |_| Ok::<_, BoxError>(())).reconcile(fetch).fetch_backoff(HOUR, HOUR)
    }

    /// Waits for a job, and returns how long that took.
    async fn of(&self, job: &str) -> Duration {
        let begun = Instant::now();
        let asked = async {
            while !self.0.lock().unwrap().iter().any(|asked| asked == job) {
                sleep(SECOND / 100).await;
            }
        };
        timeout(2 * HOUR, asked).await.unwrap();
        begun.elapsed()
    }
}

/// The store knows that the job is overdue, or which worker fetches, but the worker does not.
#[tokio::test(start_paused = true)]
async fn an_overdue_job_whose_answer_was_lost_is_fetched_before_the_worker_would_look_by_itself() {
    for lost in ["look_up", "lead"] {
        let (world, inboxes) = inboxes(1, None);
        let asked = Asked::default();
        let fetched = async {
            // It has to renew its lead.
            sleep(6 * SECOND).await;
            world.seen().loses = Some(lost);
            inboxes[0].expect_job("job", Duration::ZERO).await.unwrap();
            let took = asked.of("job").await;
            assert!(world.seen().loses.is_none() && took < DEFAULT_FETCH_BACKOFF / 2, "{took:?}");
        };
        asked.worker(&inboxes[0]).run_until(fetched).await;
    }
}

/// The worker that fetches also sleeps, and knows only about another job.
#[tokio::test(start_paused = true)]
async fn a_worker_that_sleeps_fetches_what_it_finds_overdue_although_another_one_fetched_last() {
    let (_world, inboxes) = inboxes(2, Some(SECOND));
    let [first, second] = &*inboxes else { panic!("two") };
    let asked = Asked::default();
    tokio::spawn(asked.worker(first).run_until(pending()));
    first.expect_job("is_answered_late", Duration::ZERO).await.unwrap();
    asked.of("is_answered_late").await;
    // It waits until the lead of the first one ends, and falls asleep meanwhile.
    tokio::spawn(asked.worker(second).run_until(pending()));
    sleep(100 * SECOND).await;
    first.expect_job("runs", SECOND).await.unwrap();
    assert!(asked.of("runs").await < 2 * SECOND);
    // The first one no longer looks, and is not notified of this job. Its lead has not ended.
    sleep(8 * SECOND).await;
    second.expect_job("job", SECOND).await.unwrap();
    // When the lead of the first has ended.
    let took = asked.of("job").await;
    assert!(took < 30 * SECOND, "{took:?}");
}
