use std::time::SystemTime;

use number7_core::Signature;

use crate::model::event::StoredEvent;

/// Another body that was signed for an event: a later delivery had the same key, but other bytes.
///
/// The vendor may have processed the job again. The delivery was answered 200, as
/// [`Acceptance::Conflict`](number7_core::Acceptance::Conflict), and no handler was called for it.
#[derive(Clone, Debug)]
pub struct Conflict {
    pub(crate) stored: StoredEvent,
    pub(crate) signed_by: String,
    pub(crate) signature: Option<Signature>,
    pub(crate) accepted_at: SystemTime,
}

impl Conflict {
    /// The later body. If there were several, the last one.
    #[must_use]
    pub fn stored(&self) -> &StoredEvent {
        &self.stored
    }

    /// The name of the secret that signed it.
    #[must_use]
    pub fn signed_by(&self) -> &str {
        &self.signed_by
    }

    /// Its signature. `None` only if somebody has changed it in the store.
    #[must_use]
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// When it came, by the store's clock.
    #[must_use]
    pub fn accepted_at(&self) -> SystemTime {
        self.accepted_at
    }
}
