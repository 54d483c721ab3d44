//! Searches for known causes why a signature does not match. It never changes the verdict.
//!
//! The search is a future that nothing wakes: it is pending after each small step, and its caller decides when to continue.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

mod bodies;
mod candidates;
mod diagnosing;
mod finding;
mod from_base64;
mod heuristics;
mod json;
mod limit;
mod pace;
mod search;

pub(crate) use self::finding::Undiagnosed;
pub use self::{
    diagnosing::Diagnosing,
    finding::{Diagnosis, DiagnosisKind},
    limit::DIAGNOSES_PER_SECOND,
};
use self::{limit::Limit, pace::EACH, search::Search};
use crate::{
    Rejection, Secret, Signature, Verifier, byte_order_mark::without_mark, chunks::Chunks,
    named_secret::NamedSecret, refusal::Refusal,
};

/// The hint in the text of a mismatch, if nobody searches for the cause.
pub(crate) const HINT: &str = "; Verifier::diagnose finds out which";

/// The largest body whose mismatch is diagnosed: 16 KiB. An event has some hundred bytes.
const LARGEST_BODY: usize = 16 * 1024;

/// What a sender without a secret signs with: nothing, the string that its language makes of that, or the name of the variable.
const NO_SECRET: [&str; 9] = [
    "",
    "undefined",
    "null",
    "None",
    "\"\"",
    "WEBHOOK_SECRET",
    "$WEBHOOK_SECRET",
    "${WEBHOOK_SECRET}",
    "process.env.WEBHOOK_SECRET",
];

/// The text of a secret: from it, a diagnosis makes the keys that a sender may use by mistake.
#[derive(Clone)]
pub(crate) struct Text(Arc<Zeroizing<Vec<u8>>>);

impl Text {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(secret.to_vec())))
    }
}

/// The limit that all accounts share. The first account that diagnoses sets it.
#[derive(Default)]
pub(crate) struct SharedLimit(OnceLock<Limit>);

/// Whether a verifier diagnoses, and what it recognizes.
#[derive(Clone, Default)]
pub(crate) struct Diagnostics {
    limit: Option<Limit>,
    recognized: Vec<NamedSecret>,
}

impl Diagnostics {
    pub(crate) fn is_on(&self) -> bool {
        self.limit.is_some()
    }

    pub(crate) fn recognized(&self) -> &[NamedSecret] {
        &self.recognized
    }

    pub(crate) fn share(&mut self, shared: &SharedLimit) {
        self.limit = self.limit.take().map(|own| shared.0.get_or_init(|| own).clone());
    }

    /// What a malformed header suggests. Heuristics need no search, so no limit is needed.
    pub(crate) fn of_header(&self, value: &[u8]) -> Option<Diagnosis> {
        self.is_on().then(|| heuristics::header(value)).flatten()
    }
}

impl Verifier {
    /// Searches for the cause if a signature does not match. It is for the receiver's own log: see
    /// [`Rejection::diagnosis`]. Off by default.
    ///
    /// The causes are the kinds of [`DiagnosisKind`]. Most are proven: for example,
    /// the HMAC matches without the final newline of the body, or with a newline after the secret.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_core::{DiagnosisKind, Secret, Verifier};
    ///
    /// let secret = Secret::new("a long random secret")?;
    /// let staging = Secret::new("the secret of another environment")?;
    /// let verifier = Verifier::new(secret.clone())
    ///     .recognize("staging", staging.clone())
    ///     .diagnose();
    ///
    /// assert!(verifier.verify(secret.sign("{}").to_string(), "{}").is_ok());
    ///
    /// let rejection = verifier.verify(secret.sign("{}").to_string(), "{}\n").unwrap_err();
    /// let diagnosis = rejection.diagnosis().unwrap();
    /// assert_eq!(diagnosis.kind(), DiagnosisKind::FinalNewlineAdded);
    /// assert!(diagnosis.is_certain());
    ///
    /// let rejection = verifier.verify(staging.sign("{}").to_string(), "{}").unwrap_err();
    /// assert_eq!(rejection.diagnosis().unwrap().secret(), Some("staging"));
    /// # Ok::<(), number7_core::SecretError>(())
    /// ```
    ///
    /// # What it costs
    ///
    /// Nothing if the signature matches. A mismatch costs some hundred HMACs of the body. The adapters search in
    /// steps of about ten microseconds, and serve other requests in between; [`verify`](Self::verify) and
    /// [`Intake::finish`](crate::Intake::finish) search without a pause. At most [`DIAGNOSES_PER_SECOND`]
    /// mismatches are diagnosed, and none with a body over 16 KiB. So a flood of forged requests takes at most 1.2
    /// times as long as without a diagnosis, and other requests wait for a few steps at most:
    /// `cargo bench -p number7-tests --bench diagnosis` measures both.
    ///
    /// # Why it is not an oracle
    ///
    /// An oracle would tell a sender something about the secret. Every 401 has the same bytes, whatever is found. The time of a
    /// diagnosis depends on the body, on the number of secrets, and on their form (such as hex), but not on what is found: the
    /// search always continues to its end, and each comparison takes constant time. Every key that is tried is a known secret,
    /// derived from one, or public, so a sender would still have to guess a whole secret.
    #[must_use]
    pub fn diagnose(self) -> Self {
        self.with_diagnostics(|diagnostics| diagnostics.limit = Some(Limit::default()))
    }

    /// Names deliveries that were signed with this secret, such as the secret of another environment. They are refused like all
    /// others, but the diagnosis has the name. So this does nothing without [`diagnose`](Self::diagnose).
    ///
    /// # Panics
    ///
    /// If there is already a secret with this name, because nobody could tell the two apart.
    #[must_use]
    #[track_caller]
    pub fn recognize(self, name: impl Into<Arc<str>>, secret: Secret) -> Self {
        let named = NamedSecret::new(self.new_name(name.into()), secret);
        self.with_diagnostics(|diagnostics| named.push_to(&mut diagnostics.recognized))
    }

    /// Searches for the cause of a mismatch, if that is on, and the limit allows it.
    #[cold]
    pub(crate) fn refusal(
        self,
        refused: Rejection,
        signature: Signature,
        chunks: Chunks,
        is_encoded: bool,
    ) -> Refusal {
        let Some(limit) = &self.diagnostics().limit else { return refused.into() };
        if chunks.counted() > LARGEST_BODY {
            return refused.with_source(Undiagnosed::TooLarge).into();
        }
        if !limit.take(self.time()()) {
            return refused.with_source(Undiagnosed::TooMany).into();
        }
        let abandoned = refused.clone().with_source(Undiagnosed::Abandoned);
        let body = chunks.join();
        let search = async move {
            let (over, accepted): (Vec<_>, Vec<_>) =
                self.accepted().partition(|known| known.is_over());
            let recognized = self.diagnostics().recognized.iter().chain(over).collect();
            match of_body(&signature, accepted, recognized, &body, is_encoded).await {
                Ok(diagnosis) => refused.with_source(diagnosis),
                Err(undiagnosed) => refused.with_source(undiagnosed),
            }
        };
        Refusal::Diagnosing(Diagnosing::new(abandoned, search))
    }
}

/// Searches for the reason why none of the accepted secrets made the signature.
async fn of_body(
    signature: &Signature,
    accepted: Vec<&NamedSecret>,
    recognized: Vec<&NamedSecret>,
    body: &[u8],
    is_encoded: bool,
) -> Result<Diagnosis, Undiagnosed> {
    let mut search = Search::new(signature, accepted, recognized);
    search.recognized(body).await;
    bodies::try_simple(&mut search, body).await;
    search.stage();
    search.candidates(body).await;
    for key in NO_SECRET {
        search.foreign_key(key, body, DiagnosisKind::SecretMissing).await;
    }
    for (hashed, kind) in [
        (body, DiagnosisKind::NotKeyed),
        (&[body, b"\n"].concat(), DiagnosisKind::NotKeyed),
        (b"", DiagnosisKind::SignedNothing),
    ] {
        let is_hash = Sha256::digest(hashed).ct_eq(signature.as_bytes());
        search.pace.spend(EACH + hashed.len()).await;
        if is_hash.into() {
            search.note(Diagnosis::certain(kind, None));
        }
    }
    bodies::try_placeholders(&mut search).await;
    search.stage();
    if let Ok(text) = str::from_utf8(without_mark(body)) {
        json::try_rewritings(&mut search, text).await;
    }
    search.pace.spend(body.len()).await;
    // Always, so that the time does not reveal whether something was found.
    let likely = heuristics::body(body, is_encoded);
    let (found, is_complete) = search.finish();
    found.or(likely).ok_or(match is_complete {
        true => Undiagnosed::NoKnownCause,
        false => Undiagnosed::CutShort,
    })
}
