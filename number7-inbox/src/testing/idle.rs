use std::future::pending;

use crate::{Worker, testing::RunSummary};

impl Worker {
    /// For tests: works until nothing is left that it could begin, and returns what it did.
    ///
    /// It is the same worker as that of [`run_until`](Self::run_until). It returns as soon as no event is ready, quarantined or
    /// running, without waiting for a poll interval. An event that is [scheduled](crate::State::Scheduled), because it failed
    /// or was snoozed, stays scheduled: move the clock by [`Inbox::advance`](crate::Inbox::advance), and run a worker again. If
    /// the inbox or the worker is paused, ready events stay as well.
    ///
    /// It does not wait for jobs that are to be [fetched](Self::reconcile).
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_inbox::{Accept, AcceptedEvent, BoxError, Inbox, Secret, Verifier, probe::Sample};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), BoxError> {
    ///     if accepted.attempt() == 1 { Err("the database is away".into()) } else { Ok(()) }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let (inbox, secret) = (Inbox::memory(), Secret::new("a secret for the test")?);
    /// let body = Sample::completed("job_1").json();
    /// inbox.accept(&Verifier::new(secret.clone()).verify(secret.sign(&body).to_string(), body)?).await?;
    ///
    /// assert_eq!(inbox.worker(handle).run_until_idle().await.retried, 1);
    /// inbox.advance(Duration::from_secs(2)); // the backoff, with the quarter that may be added
    /// assert_eq!(inbox.worker(handle).run_until_idle().await.done, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_until_idle(mut self) -> RunSummary {
        self.job.stops_when_idle = true;
        self.run_to_summary(pending()).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use number7_core::{Secret, Verifier, probe::Sample};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{AcceptedEvent, Failure, Inbox};

    const DAY: Duration = Duration::from_hours(24);

    async fn accept(inbox: &Inbox, sample: &Sample) {
        let (secret, body) = (Secret::new("secret").unwrap(), sample.json());
        let delivery = Verifier::new(secret.clone()).verify(secret.sign(&body).to_string(), body);
        inbox.accept(&delivery.unwrap()).await.unwrap();
    }

    async fn inbox_with(events: usize) -> Inbox {
        let inbox = Inbox::memory();
        for event in 0..events {
            accept(&inbox, &Sample::completed(format!("job_{event}"))).await;
        }
        inbox
    }

    /// What a worker did: done, retried, snoozed, dead.
    fn of(summary: RunSummary) -> [u64; 4] {
        let RunSummary { done, retried, snoozed, dead } = summary;
        [done, retried, snoozed, dead]
    }

    async fn by_job(accepted: AcceptedEvent) -> Result<(), Failure> {
        match accepted.job_id().unwrap().as_str() {
            "job_0" => Ok(()),
            "job_1" => Err("the database is away".into()),
            "job_2" => Err(Failure::snooze(DAY, "at night")),
            _ => Err(Failure::permanent("no such account")),
        }
    }

    async fn succeed(_: AcceptedEvent) -> Result<(), Failure> {
        Ok(())
    }

    async fn a_worker_says_what_it_did() {
        let inbox = inbox_with(5).await;
        assert_eq!(of(inbox.worker(by_job).run_until_idle().await), [1, 1, 1, 2]);
        assert_eq!(of(inbox.worker(by_job).run_until_idle().await), [0; 4], "the rest waits");
        inbox.advance(Duration::from_secs(2));
        assert_eq!(
            of(inbox.worker(by_job).run_until_idle().await),
            [0, 1, 0, 0],
            "one only failed"
        );
        inbox.advance(DAY);
        assert_eq!(of(inbox.worker(succeed).run_until_idle().await), [2, 0, 0, 0]);
        assert_eq!(inbox.stats().await.unwrap().scheduled, 0);
    }

    #[tokio::test]
    async fn a_worker_runs_until_it_is_idle_on_the_runtime_of_tokio() {
        a_worker_says_what_it_did().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_worker_runs_until_it_is_idle_on_several_threads() {
        a_worker_says_what_it_did().await;
    }

    #[actix_web::test]
    async fn a_worker_runs_until_it_is_idle_on_the_runtime_of_actix() {
        a_worker_says_what_it_did().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_idle_returns_without_any_wait() {
        let begun = Instant::now();
        a_worker_says_what_it_did().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_sleeps_is_waited_for() {
        let inbox = inbox_with(3).await;
        let begun = Instant::now();
        let worker = inbox.worker(|_| async {
            sleep(DAY).await;
            Ok::<_, Failure>(())
        });
        assert_eq!(of(worker.concurrency(1).run_until_idle().await), [3, 0, 0, 0]);
        assert!(begun.elapsed() < 3 * DAY + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_accepts_is_handled_too() {
        let inbox = inbox_with(1).await;
        let clone = inbox.clone();
        let worker = inbox.worker(move |accepted: AcceptedEvent| {
            let inbox = clone.clone();
            async move {
                accept(&inbox, &Sample::failed(accepted.job_id().unwrap().as_str(), "again")).await;
                Ok::<_, Failure>(())
            }
        });
        assert_eq!(of(worker.run_until_idle().await), [2, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_what_another_worker_runs() {
        let inbox = inbox_with(1).await;
        let other = inbox.worker(|_| async {
            sleep(Duration::from_secs(5)).await;
            Err::<(), _>(Failure::permanent("no"))
        });
        let other = tokio::spawn(other.run_until_idle());
        while inbox.stats().await.unwrap().running == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(of(inbox.worker(succeed).run_until_idle().await), [0; 4]);
        assert_eq!(inbox.stats().await.unwrap().dead, 1);
        assert_eq!(of(other.await.unwrap()), [0, 0, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_leaves_what_is_ready() {
        let (inbox, hour) = (inbox_with(3).await, Duration::from_secs(3_600));
        inbox.pause("test", "test", Some(hour)).await.unwrap();
        assert_eq!(of(inbox.worker(succeed).run_until_idle().await), [0; 4]);
        inbox.advance(hour);
        let pauses = |_| async { Err::<(), _>(Failure::pause_worker(DAY, "too many requests")) };
        let ran = inbox.worker(pauses).concurrency(1).run_until_idle().await;
        assert_eq!(of(ran), [0, 0, 1, 0]);
        let worker = inbox.worker(succeed);
        worker.pause().pause();
        assert_eq!(of(worker.run_until_idle().await), [0; 4]);
        assert_eq!(of(inbox.worker(succeed).run_until_idle().await), [2, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_hook_for_dead_letters_has_been_called() {
        let (inbox, calls) = (inbox_with(4).await, Arc::<AtomicU32>::default());
        let count = Arc::clone(&calls);
        let worker = inbox.worker(by_job).on_dead_letter(move |_| {
            let count = Arc::clone(&count);
            async move {
                sleep(DAY).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        worker.run_until_idle().await;
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_runs_notices_that_the_clock_was_moved() {
        let inbox = inbox_with(3).await;
        let running = tokio::spawn(inbox.worker(by_job).run_until(pending()));
        // By now it looks only every two seconds.
        sleep(DAY / 2).await;
        let scheduled = async || inbox.show("job.completed:job_2").await.unwrap().unwrap().since();
        let (begun, before) = (Instant::now(), scheduled().await);
        inbox.advance(DAY);
        while scheduled().await == before {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        running.abort();
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    #[should_panic(expected = "only the clock of an inbox in memory can be moved")]
    async fn only_an_inbox_in_memory_has_a_clock_that_moves() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::sqlite(folder.path().join("inbox.db")).await.unwrap();
        accept(&inbox, &Sample::completed("job_0")).await;
        assert_eq!(of(inbox.worker(succeed).run_until_idle().await), [1, 0, 0, 0]);
        assert_eq!(inbox.stats().await.unwrap().done, 1);
        inbox.advance(DAY);
    }
}
