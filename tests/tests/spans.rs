//! What a handler logs says which attempt it is. One test, since a process has one subscriber.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use number7_inbox::{AcceptedEvent, BoxError};
use number7_tests::{
    running::{PATIENCE, accept},
    store::Store,
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_has_a_span() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.failed", "job_1").await;
    let worker = inbox.worker(async |event: AcceptedEvent| -> Result<(), BoxError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tracing::info!("working");
        if event.attempt() == 1 { Err("the first time".into()) } else { Ok(()) }
    });
    let worker = worker.backoff(Duration::ZERO, Duration::ZERO);
    worker.run_until(store.settled(PATIENCE)).await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for (attempt, text) in [(1, "working"), (1, "the first time"), (2, "working")] {
        let span = format!(
            "attempt{{key=\"job.failed:job_1\" attempt={attempt} event=\"job.failed\" job=\"job_1\"}}"
        );
        let found = log.lines().any(|line| line.contains(&span) && line.contains(text));
        assert!(found, "{span} {text} is not in\n{log}");
    }
}
