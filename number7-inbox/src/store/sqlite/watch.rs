//! Notices what other processes write.
//!
//! Each commit is written to the `-wal`, and changes its size and time. Reading these is not a query, and takes
//! some microseconds. But they are not exact: the time has steps of some milliseconds, and a commit can be read
//! only when it is synchronized, some time after it was written. So after each change the workers are woken several
//! times, with longer and longer pauses.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{file::File, inboxes::Inboxes};

/// How often to check the file.
const EVERY: Duration = Duration::from_millis(4);

/// The last wake-up after a change comes at least this much later, because a disk may take this long for a commit.
const LAST_AFTER: Duration = Duration::from_secs(1);

/// Whether the time of a file is right while other processes have it open. On Windows it is not.
pub(super) const CAN_WATCH: bool = cfg!(unix);

/// Starts to wake the workers of all inboxes of a file when something is written to it.
pub(super) fn start(file: &Arc<File>, inboxes: &Arc<Inboxes>) {
    file.driver.runtime().spawn(watch(Arc::downgrade(file), Arc::downgrade(inboxes)));
}

async fn watch(file: Weak<File>, inboxes: Weak<Inboxes>) {
    let (mut seen, mut changed_at) = (None, Instant::now());
    // When to wake the workers again because of the last change.
    let mut again = None::<Duration>;
    while let (Some(file), Some(inboxes)) = (file.upgrade(), inboxes.upgrade()) {
        let found = file.written();
        if found != seen {
            (seen, changed_at, again) = (found, Instant::now(), Some(EVERY));
            inboxes.wake();
        } else if let Some(after) = again.filter(|after| changed_at.elapsed() >= *after) {
            again = (after < LAST_AFTER).then_some(after * 2);
            inboxes.wake();
        }
        drop((file, inboxes));
        sleep(EVERY).await;
    }
}
