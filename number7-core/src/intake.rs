//! A body that is arriving.

use std::{fmt, mem, sync::Arc, time::Duration};

use bytes::Bytes;
use hmac::Mac;

use crate::{
    Delivery, Rejection, RejectionKind, Signature, Verifier, chunks::Chunks, drain::Drain,
    held::HeldPlace, named_secret::Signer, refusal::Refusal, secret::HmacSha256,
    trace_context::Traced,
};

/// An unverified body that is being read: it is hashed and kept in one pass.
///
/// An adapter for a web framework is a loop around it: [`push`](Self::push) each chunk, [`wait`](Self::wait) if none is there,
/// and [`conclude`](Self::conclude) at the end. If the body breaks off or times out, the adapter drops the intake, and answers
/// with what [`refused`](Self::refused) returns for [`RejectionKind::BodyBrokenOff`] or [`RejectionKind::BodyTooSlow`].
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use number7_core::{RejectionKind, SIGNATURE_HEADER, Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let signature = secret.sign("{}").to_string();
/// let verifier = Verifier::new(secret);
/// let headers = [(SIGNATURE_HEADER, signature.as_bytes())];
///
/// let mut intake = verifier.begin(headers).unwrap();
/// intake.push(Bytes::from("{")).unwrap();
/// intake.push(Bytes::from("}")).unwrap();
/// assert_eq!(intake.finish().unwrap().body(), "{}");
///
/// let mut intake = verifier.begin(headers).unwrap();
/// intake.push(Bytes::from("{")).unwrap();
/// let rejection = intake.finish().unwrap_err();
/// assert_eq!(rejection.kind(), RejectionKind::SignatureMismatch);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
pub struct Intake {
    verifier: Verifier,
    signature: Signature,
    /// The HMAC with the first secret, over all chunks so far.
    mac: HmacSha256,
    chunks: Chunks,
    encoded: bool,
    trace: Traced,
    had_its_turn: bool,
    held: Option<HeldPlace>,
}

/// How to wait for the next chunk of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Yield to the executor once, and then ask for the chunk again. A server hands over a body that has already arrived only
    /// when it is asked. Such a body must not count as waiting.
    OneTurn,
    /// Wait, but no longer than this in total: one timer for the whole body, started when this is first
    /// returned. When it ends, refuse with [`RejectionKind::BodyTooSlow`].
    Timeout(Duration),
}

impl Intake {
    pub(crate) fn new(
        verifier: Verifier,
        signature: Signature,
        encoded: bool,
        trace: Traced,
    ) -> Self {
        Self {
            mac: verifier.secrets().0.secret.keyed(),
            chunks: Chunks::default(),
            had_its_turn: false,
            held: None,
            verifier,
            signature,
            encoded,
            trace,
        }
    }

    /// Takes the next chunk of the body. If it is the only chunk, it is kept without a copy. Memory grows with the bytes that
    /// arrive, never with the declared length.
    ///
    /// # Errors
    ///
    /// The body exceeds the limit. The chunk is not kept, and the intake will not finish.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), Rejection> {
        self.chunks.count(chunk.len());
        self.refuse_large()?;
        self.mac.update(&chunk);
        self.chunks.keep(chunk);
        Ok(())
    }

    /// Call this when the next chunk has not arrived: it returns how to wait for it.
    ///
    /// The second call takes one of the places for waiting bodies, and keeps it until the intake ends.
    /// From then on every call returns the timeout.
    ///
    /// # Errors
    ///
    /// All places are taken.
    pub fn wait(&mut self) -> Result<Wait, Rejection> {
        if self.held.is_none() {
            if !mem::replace(&mut self.had_its_turn, true) {
                return Ok(Wait::OneTurn);
            }
            self.held = Some(self.verifier.hold_body()?);
        }
        Ok(Wait::Timeout(self.verifier.timeout()))
    }

    /// Compares the signature, in constant time, and returns the body if it verifies.
    ///
    /// # Errors
    ///
    /// The body exceeds the limit, no accepted secret signed it, it is encoded, or, with a maximum age, it is too old or has no
    /// readable timestamp. With `Verifier::diagnose`, this also searches for the cause of a mismatch, which takes milliseconds.
    /// On a thread that others need, call [`conclude`](Self::conclude) instead.
    pub fn finish(self) -> Result<Delivery, Rejection> {
        self.conclude().map_err(Refusal::finish)
    }

    /// Like [`finish`](Self::finish), for a thread that serves other requests too. It does not search for the cause of a
    /// mismatch itself, but returns [`Refusal::Diagnosing`]. Call [`Diagnosing::step`](crate::adapter::Diagnosing::step) until
    /// it returns the rejection, and let others have the thread between two calls.
    ///
    /// # Errors
    ///
    /// Those of [`finish`](Self::finish).
    pub fn conclude(self) -> Result<Delivery, Refusal> {
        self.refuse_large()?;
        let Self { verifier, signature, mac, chunks, encoded, trace, .. } = self;
        let Some(signer) = signer(&verifier, &signature, mac, &chunks) else {
            let refused = verifier.refused(verifier.mismatch_kind());
            return Err(verifier.refusal(refused, signature, chunks, encoded));
        };
        if encoded {
            return Err(verifier.refused(RejectionKind::BodyEncoded).into());
        }
        let delivery = Delivery::new(chunks.join(), signer, signature, trace);
        verifier.refuse_authentic(&delivery)?;
        Ok(delivery)
    }

    /// The refusal of a body that broke off or was too slow. It names the account.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn refused(&self, kind: RejectionKind) -> Rejection {
        self.verifier.refused(kind)
    }

    /// The rest of a body that is refused before its end, so that the connection can be used again. It keeps the place of the
    /// body, but nothing that was read. `None` means that nothing should be read: the body was too slow, or broke off.
    #[must_use]
    pub fn drain(self, rejection: &Rejection) -> Option<Drain> {
        let goes_on =
            matches!(rejection.kind(), RejectionKind::BodyTooLarge | RejectionKind::TooManyBodies);
        goes_on.then(|| Drain::new(self.verifier, self.had_its_turn, self.held))
    }

    fn refuse_large(&self) -> Result<(), Rejection> {
        match self.chunks.counted() > self.verifier.limit() {
            true => Err(self.refused(RejectionKind::BodyTooLarge)),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("bytes", &self.chunks.counted()).finish_non_exhaustive()
    }
}

/// The secret that made the signature. The HMAC of the first one was computed with the chunks. The others are tried
/// only if that does not match.
fn signer(
    verifier: &Verifier,
    signature: &Signature,
    first: HmacSha256,
    chunks: &Chunks,
) -> Option<Arc<Signer>> {
    let signed = |mac: HmacSha256| mac.verify_slice(signature.as_bytes()).is_ok();
    let (known, mut further) = verifier.secrets();
    if signed(first) {
        return Some(Arc::clone(&known.signer));
    }
    let known = further.find(|known| {
        let mut mac = known.secret.keyed();
        chunks.iter().for_each(|chunk| mac.update(chunk));
        signed(mac) && !known.is_over()
    })?;
    known.note_signed();
    Some(Arc::clone(&known.signer))
}

#[cfg(test)]
mod tests {
    use crate::{SIGNATURE_HEADER, Secret};

    use super::*;

    fn intake(verifier: &Verifier) -> Intake {
        verifier.begin([(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap()
    }

    #[test]
    fn a_body_gets_one_turn_before_it_counts_as_waited_for() {
        let verifier = Verifier::new(Secret::new("secret").unwrap()).max_held_bodies(1);
        let timeout = Ok(Wait::Timeout(crate::DEFAULT_BODY_TIMEOUT));
        let wait = |intake: &mut Intake| intake.wait().map_err(|rejection| rejection.kind());

        let mut slow = intake(&verifier);
        assert_eq!(wait(&mut slow), Ok(Wait::OneTurn));
        slow.push("a".into()).unwrap();
        assert_eq!(wait(&mut slow), timeout, "a byte in each turn cannot avoid the timer");
        slow.push("b".into()).unwrap();
        assert_eq!(wait(&mut slow), timeout);

        let mut other = intake(&verifier);
        assert_eq!(wait(&mut other), Ok(Wait::OneTurn));
        assert_eq!(wait(&mut other), Err(RejectionKind::TooManyBodies));
        drop(slow);
        assert_eq!(wait(&mut other), timeout);
    }
}
