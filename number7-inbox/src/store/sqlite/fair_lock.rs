//! A fair write lock: the order in which processes write to one file.
//!
//! SQLite has one writer at a time. Waiting writers ask for its lock again and again, with longer and longer pauses, so the
//! process that has just had it often gets it again. Therefore our processes first queue at a lock of the operating system
//! beside the file. This only makes the order fair: SQLite's own lock protects the data, even if this one is not available.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    path::Path,
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// How long to wait for other processes. After that SQLite decides, and its error says what is wrong.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct FairLock {
    file: Option<Arc<File>>,
    /// Waits for the lock on a thread of its own, because nothing else may have to wait for it, not even the end of
    /// the process.
    queue: OnceLock<mpsc::Sender<oneshot::Sender<FairLockGuard>>>,
}

impl FairLock {
    /// The lock beside an SQLite file.
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push("-turn");
        let file = File::options().create(true).truncate(false).write(true).open(name).ok();
        Self { file: file.map(Arc::new), queue: OnceLock::new() }
    }

    /// Waits for the lock. `None` if it is not available, or if the others take too long.
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
                // If nobody waits anymore, the guard is dropped here, which unlocks the file.
                _ = waits.send(FairLockGuard(Arc::clone(&file)));
            }
        }
    });
    queue
}
