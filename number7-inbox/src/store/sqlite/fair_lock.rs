//! A fair write lock: the order in which processes write to one file.
//!
//! SQLite has one writer at a time, and lets the others ask for its lock again and again, with longer and longer
//! pauses: the process that has just had it gets it the soonest. So our processes queue before that, at a lock of
//! the operating system beside the file. It is a courtesy. What keeps the data whole is SQLite's own lock, even if
//! this one cannot be had.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::Path,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// How long to wait for the others. Then SQLite has to decide, and its error says what is wrong.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct FairLock {
    file: Option<Arc<File>>,
    /// Waits for the lock. On its own thread, because nothing else may be held up by it, not even
    /// the end of the process.
    queue: OnceLock<mpsc::Sender<oneshot::Sender<FairLockGuard>>>,
}

impl FairLock {
    /// The lock beside a file of SQLite's.
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push("-turn");
        let file = File::options().create(true).truncate(false).write(true).open(name).ok();
        Self { file: file.map(Arc::new), queue: OnceLock::new() }
    }

    /// Waits for the lock. `None` if there is no order to keep, or the others take too long.
    pub(super) async fn acquire(&self) -> Option<FairLockGuard> {
        let file = self.file.as_ref()?;
        match file.try_lock() {
            Ok(()) => Some(FairLockGuard(Arc::clone(file))),
            Err(TryLockError::WouldBlock) => {
                let (acquired, waits) = oneshot::channel();
                self.queue.get_or_init(|| queue(Arc::clone(file))).send(acquired).ok()?;
                timeout(PATIENCE, waits).await.ok()?.ok()
            }
            Err(TryLockError::Error(_)) => None,
        }
    }
}

/// The lock, until it is dropped.
pub(super) struct FairLockGuard(Arc<File>);

impl Drop for FairLockGuard {
    fn drop(&mut self) {
        _ = self.0.unlock();
    }
}

fn queue(file: Arc<File>) -> mpsc::Sender<oneshot::Sender<FairLockGuard>> {
    let (queue, waiting) = mpsc::channel::<oneshot::Sender<FairLockGuard>>();
    thread::spawn(move || {
        for waits in waiting {
            if !waits.is_closed() && file.lock().is_ok() {
                // If nobody waits any more, the guard is dropped here, which unlocks the file.
                _ = waits.send(FairLockGuard(Arc::clone(&file)));
            }
        }
    });
    queue
}
