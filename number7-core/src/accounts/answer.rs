//! What a lookup said, and for how long that counts.

use std::time::SystemTime;

use super::{LONGEST_TTL, LOOKUP_RETRY_INTERVAL, Settings};
use crate::Verifier;

/// The answer of a lookup. It is fresh between two times, so a clock that is set ends that, whether it is set forward or back.
pub(super) struct Answer {
    pub(super) verifier: Verifier,
    since: SystemTime,
    until: SystemTime,
    /// Until when it may be used if a new lookup fails.
    usable_until: SystemTime,
    /// Whether the last lookup failed.
    pub(super) is_failing: bool,
}

impl Answer {
    pub(super) fn new(verifier: Verifier, begun: SystemTime, settings: &Settings) -> Self {
        let until = begun + settings.ttl.min(LONGEST_TTL);
        let usable_until = until + settings.stale_if_error.min(LONGEST_TTL);
        Self { verifier, since: begun, until, usable_until, is_failing: false }
    }

    /// That there is no such account. It is never used longer than that.
    pub(super) fn unknown(verifier: Verifier, begun: SystemTime, settings: &Settings) -> Self {
        let until = begun + settings.unknown_ttl.min(LONGEST_TTL);
        Self { verifier, since: begun, until, usable_until: until, is_failing: false }
    }

    /// The same after a lookup has failed.
    pub(super) fn failing(&self, now: SystemTime, settings: &Settings) -> Self {
        // After the clock was set back, the time counts from now on.
        let usable_until = self.usable_until.min(now + settings.stale_if_error.min(LONGEST_TTL));
        let until = usable_until.min(now + LOOKUP_RETRY_INTERVAL);
        Self { verifier: self.verifier.clone(), since: now, until, usable_until, is_failing: true }
    }

    #[inline]
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        self.since <= now && now < self.until
    }

    pub(super) fn is_usable(&self, now: SystemTime) -> bool {
        now < self.usable_until
    }
}
