//! The rest of the body of a refused request.

use std::{fmt, mem, time::Duration};

use crate::{Verifier, Wait, held::HeldPlace};

/// How much of a refused body is read and discarded: 1 MiB (1,048,576 bytes).
///
/// A server that closes a connection with unread bytes resets it, and the sender may lose the answer. A proxy then answers 502.
/// nginx allows bodies of 1 MiB by default, so each of them gets its answer. Longer ones are not worth the time.
pub const DRAIN_LIMIT: usize = 1024 * 1024;

/// How long to wait for the rest of a refused body: 1 second, or the [body timeout](Verifier::body_timeout) if that is shorter.
///
/// A proxy beside the receiver sends 1 MiB in milliseconds. Over a long distance, with round trips of 100 milliseconds, it
/// takes some seven of them.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The rest of the body of a refused request. It is read and discarded, within narrow limits.
///
/// HTTP/1 can reuse a connection only if the whole body was read, and a sender that is still writing may not see the answer if
/// the connection is closed. So if a sender is refused before the end of its body, an adapter reads on: it
/// [passes over](Self::pass) chunks, and [waits](Self::wait) for more. At the end of the body it answers, and the connection
/// serves the next request. If it reaches a limit first, it answers with `Connection: close`. Log and count the refusal before
/// all that, because the sender may hang up meanwhile.
///
/// At most [`DRAIN_LIMIT`] bytes are read within [`DRAIN_TIMEOUT`], and none of them is kept or hashed. While it waits, it
/// takes one of the [places](Verifier::max_held_bodies) of unverified bodies. A sender without the secret gains nothing by
/// that: with a forged signature in the right format, it can hold a place for longer, and have its bytes kept.
///
/// # Example
///
/// ```
/// use number7_core::{SIGNATURE_HEADER, Secret, Verifier, Wait, adapter::DRAIN_TIMEOUT};
///
/// let verifier = Verifier::new(Secret::new("a long random secret")?);
/// let unsigned = [("content-length", &b"5"[..])];
/// verifier.begin(unsigned).unwrap_err();
///
/// let mut drain = verifier.drain(unsigned).unwrap();
/// assert!(drain.pass(3), "the sender goes on");
/// assert_eq!(drain.wait(), Some(Wait::OneTurn));
/// assert_eq!(drain.wait(), Some(Wait::Timeout(DRAIN_TIMEOUT)));
/// assert!(!drain.pass(2_000_000), "this is too much: close the connection");
///
/// assert!(verifier.drain([("content-length", &b"9999999"[..])]).is_none(), "and so is this");
/// # Ok::<(), number7_core::SecretError>(())
/// ```
pub struct Drain {
    verifier: Verifier,
    left: usize,
    had_its_turn: bool,
    held: Option<HeldPlace>,
}

impl Drain {
    pub(crate) fn new(verifier: Verifier, had_its_turn: bool, held: Option<HeldPlace>) -> Self {
        Self { verifier, left: DRAIN_LIMIT, had_its_turn, held }
    }

    /// Call this for each chunk. If it returns `false`, that was too much: stop reading.
    pub fn pass(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Call this when the next chunk has not arrived: it returns how to wait for it. Stop reading if the timeout ends, or if
    /// this returns `None`, because all places are taken.
    pub fn wait(&mut self) -> Option<Wait> {
        if self.held.is_none() {
            if !mem::replace(&mut self.had_its_turn, true) {
                return Some(Wait::OneTurn);
            }
            self.held = Some(self.verifier.hold_body().ok()?);
        }
        Some(Wait::Timeout(self.verifier.timeout().min(DRAIN_TIMEOUT)))
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RejectionKind, SIGNATURE_HEADER, Secret};

    fn verifier() -> Verifier {
        Verifier::new(Secret::new("secret").unwrap()).max_held_bodies(1)
    }

    #[test]
    fn a_drain_takes_a_place_like_every_body_that_is_waited_for() {
        let verifier = verifier().body_timeout(Duration::from_millis(5));
        let drain = || verifier.drain([]).unwrap();
        let (mut first, mut second) = (drain(), drain());
        assert_eq!(first.wait(), Some(Wait::OneTurn));
        assert_eq!(first.wait(), Some(Wait::Timeout(Duration::from_millis(5))));
        assert_eq!(second.wait(), Some(Wait::OneTurn));
        assert_eq!(second.wait(), None);
        drop(first);
        assert!(second.wait().is_some());
    }

    #[test]
    fn the_drain_of_a_refused_intake_keeps_its_place_and_its_turn() {
        let verifier = verifier().body_limit(10);
        let intake = || verifier.begin([(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap();
        let mut intake_of_one = intake();
        for _ in 0..2 {
            intake_of_one.wait().unwrap();
        }
        let refused = intake_of_one.push("more than ten bytes".into()).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::BodyTooLarge);
        let mut drain = intake_of_one.drain(&refused).unwrap();
        assert_eq!(drain.wait(), Some(Wait::Timeout(DRAIN_TIMEOUT)));
        let mut other = intake();
        other.wait().unwrap();
        let refused = other.wait().unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::TooManyBodies);
        assert_eq!(other.drain(&refused).unwrap().wait(), None);
        assert!(intake().drain(&RejectionKind::BodyTooSlow.into()).is_none());
    }

    #[test]
    fn so_much_is_passed_over_and_no_more() {
        let mut drain = verifier().drain([]).unwrap();
        assert!(drain.pass(DRAIN_LIMIT - 1));
        assert!(drain.pass(1));
        assert!(!drain.pass(1));
    }

    #[test]
    fn nothing_is_read_of_what_is_too_large_or_has_not_been_asked_for() {
        let is_read = |name, value: &str| verifier().drain([(name, value.as_bytes())]).is_some();
        assert!(is_read("Content-Length", "1048576"));
        assert!(!is_read("content-length", "1048577"));
        assert!(!is_read("Expect", "100-continue"));
    }
}
