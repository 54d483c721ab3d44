//! The order in which processes write to one file.
//!
//! SQLite has one writer at a time, and lets the others ask for the lock again and again, with
//! longer and longer pauses: whoever has just had it gets it the soonest. So our processes queue
//! before that, at a lock of the operating system beside the file. It is a courtesy. What keeps the
//! data whole is SQLite's own lock, even if this one cannot be had.

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

pub(super) struct Turnstile {
    file: Option<Arc<File>>,
    /// Waits for the lock. On its own thread, because nothing else may be held up by it, not even
    /// the end of the process.
    queue: OnceLock<mpsc::Sender<oneshot::Sender<Turn>>>,
}

impl Turnstile {
    /// Stands beside a file of SQLite's.
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = OsString::from(path);
        name.push("-turn");
        let file = File::options().create(true).truncate(false).write(true).open(name).ok();
        Self { file: file.map(Arc::new), queue: OnceLock::new() }
    }

    /// Waits for its turn. `None` if there is no order to keep, or the others take too long.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let file = self.file.as_ref()?;
        match file.try_lock() {
            Ok(()) => Some(Turn(Arc::clone(file))),
            Err(TryLockError::WouldBlock) => {
                let (turn, waits) = oneshot::channel();
                self.queue.get_or_init(|| queue(Arc::clone(file))).send(turn).ok()?;
                timeout(PATIENCE, waits).await.ok()?.ok()
            }
            Err(TryLockError::Error(_)) => None,
        }
    }
}

/// The right to write, until it is dropped.
pub(super) struct Turn(Arc<File>);

impl Drop for Turn {
    fn drop(&mut self) {
        _ = self.0.unlock();
    }
}

fn queue(file: Arc<File>) -> mpsc::Sender<oneshot::Sender<Turn>> {
    let (queue, waiting) = mpsc::channel::<oneshot::Sender<Turn>>();
    thread::spawn(move || {
        for turn in waiting {
            if !turn.is_closed() && file.lock().is_ok() {
                // Whoever does not wait any more gives it back by dropping it.
                _ = turn.send(Turn(Arc::clone(&file)));
            }
        }
    });
    queue
}
