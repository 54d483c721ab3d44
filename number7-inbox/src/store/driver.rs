//! What drives the connections of an inbox.

use std::{future::Future, io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::instrument::WithSubscriber;

use crate::model::error::{InboxError, InboxErrorKind};

/// A thread of its own, with a runtime that drives what the clones of an inbox share: connections, the groups of acceptance,
/// and the renewal of leases.
///
/// Otherwise the runtime that uses them first would drive them. If it ended, or if one of its threads were blocked,
/// all others would have to wait.
#[derive(Clone)]
pub(crate) struct Driver(Arc<Thread>);

struct Thread {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Driver {
    pub(crate) fn start() -> Result<Self, InboxError> {
        let failed = |error: io::Error| InboxError::new(InboxErrorKind::Refused, error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (handle, (stop, stopped)) = (runtime.handle().clone(), oneshot::channel::<()>());
        let thread = thread::Builder::new().name("number7-inbox".into());
        let drive = move || _ = runtime.block_on(stopped);
        thread.spawn(drive).map_err(failed)?;
        Ok(Self(Arc::new(Thread { runtime: handle, _stop: stop })))
    }

    /// The runtime of the thread.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    /// Runs an operation there, until it ends or its caller is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, InboxError>> + Send + 'static,
    ) -> Result<T, InboxError> {
        let operation = self.runtime().spawn(operation.with_current_subscriber());
        // It fails only on a panic.
        let answer = AbortOnDropHandle::new(operation).await;
        answer.unwrap_or_else(|error| Err(InboxError::new(InboxErrorKind::Unreachable, error)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    use super::*;

    /// What it waited for is dropped with it.
    #[test]
    fn its_thread_ends_with_the_last_clone() {
        let driver = Driver::start().unwrap();
        let (ends, ended) = mpsc::channel::<()>();
        driver.runtime().spawn(async move {
            let _ends = ends;
            std::future::pending::<()>().await;
        });
        let clone = driver.clone();
        drop(driver);
        assert_eq!(
            ended.recv_timeout(Duration::from_millis(100)),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        drop(clone);
        assert_eq!(
            ended.recv_timeout(Duration::from_secs(60)),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn it_goes_on_while_a_caller_is_blocked_and_after_one_has_ended() {
        let driver = Driver::start().unwrap();
        let call = |driver: &Driver| {
            let caller = Builder::new_current_thread().build().unwrap();
            caller.block_on(driver.run(async { Ok(thread::current().name().map(str::to_owned)) }))
        };
        for _ in 0..2 {
            assert_eq!(call(&driver).unwrap().as_deref(), Some("number7-inbox"));
        }
        let begun = Instant::now();
        let (tick, ticks) = mpsc::channel();
        driver.runtime().spawn(async move { tick.send(begun.elapsed()) });
        assert!(ticks.recv_timeout(Duration::from_secs(60)).is_ok());
    }
}
