//! Why a signature does not match: a search for known causes. It changes no verdict.
//!
//! It is a future that nothing wakes: it is pending after each small step, and its caller decides when
//! to go on.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

mod bodies;
mod finding;
mod heuristics;
mod json;
mod limit;
mod pace;
mod percent;
mod search;

pub(crate) use self::{finding::Undiagnosed, heuristics::header as of_header, limit::Limit};
pub use self::{
    finding::{Diagnosis, DiagnosisKind},
    limit::DIAGNOSES_PER_SECOND,
};
use self::{pace::EACH, search::Search};
use crate::{Signature, named_secret::NamedSecret};

/// The largest body whose mismatch is diagnosed: 64 KiB, the default body limit.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// What a sender without a secret signs with: nothing, the text that its language makes of that, or
/// the name of the variable that should have it.
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

/// Finds out why none of the accepted secrets made the signature.
pub(crate) async fn of_body(
    signature: &Signature,
    accepted: Vec<&NamedSecret>,
    recognized: Vec<&NamedSecret>,
    body: &[u8],
    is_encoded: bool,
) -> Result<Diagnosis, Undiagnosed> {
    if body.len() > LARGEST_BODY {
        return Err(Undiagnosed::TooLarge);
    }
    let mut search = Search::new(signature, accepted, recognized);
    search.recognized(body).await;
    bodies::try_simple(&mut search, body).await;
    search.stage();
    search.candidates(body).await;
    for key in NO_SECRET {
        search.foreign_key(key, body, DiagnosisKind::SecretMissing).await;
    }
    let hashes = [
        (Cow::from(body), DiagnosisKind::NotKeyed),
        ([body, b"\n"].concat().into(), DiagnosisKind::NotKeyed),
        (Cow::from(&b""[..]), DiagnosisKind::SignedNothing),
    ];
    for (hashed, kind) in hashes {
        let mut hash = Sha256::new();
        for piece in hashed.chunks(search::AT_ONCE) {
            hash.update(piece);
            search.pace.spend(piece.len()).await;
        }
        search.pace.spend(EACH).await;
        if hash.finalize().ct_eq(signature.as_bytes()).into() {
            search.note(Diagnosis::certain(kind, None));
        }
    }
    bodies::try_others(&mut search, body).await;
    search.pace.spend(body.len()).await;
    // Always, so that the time does not tell whether something was found.
    let likely = heuristics::body(body, is_encoded);
    let (found, is_complete) = search.finish();
    found.or(likely).ok_or(match is_complete {
        true => Undiagnosed::NoKnownCause,
        false => Undiagnosed::CutShort,
    })
}
