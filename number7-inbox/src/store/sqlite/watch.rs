//! Notices what other processes write.
//!
//! Each commit is written to the `-wal`, which a look at its size and time tells. That is not a query, and costs some
//! microseconds. Neither is exact: the time has steps of some milliseconds, and a commit can be read only when it
//! is synchronised, some time after it was written. So after each change the workers are woken several times, with
//! longer and longer pauses.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{file::File, inboxes::Inboxes};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(4);

/// How long after a change the workers are woken for the last time, at least: a disk may take so long for a commit.
const LAST_AFTER: Duration = Duration::from_secs(1);

/// Whether the time of a file is right while others have it open. It is not on Windows.
pub(super) const CAN_WATCH: bool = cfg!(unix);

/// Starts to wake the workers of all inboxes of a file when it was written to.
pub(super) fn start(file: &Arc<File>, inboxes: &Arc<Inboxes>) {
    file.driver.runtime().spawn(watch(Arc::downgrade(file), Arc::downgrade(inboxes)));
}

async fn watch(file: Weak<File>, inboxes: Weak<Inboxes>) {
    let (mut seen, mut changed_at) = (None, Instant::now());
    // When the workers are woken again because of the last change.
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
