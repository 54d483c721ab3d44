//! Why a signature does not match: a search for known causes. It changes no verdict.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

mod bodies;
mod finding;
mod json;
mod limit;
mod looks;
mod percent;
mod search;

use self::search::Search;
pub(crate) use self::{finding::Undiagnosed, limit::Limit, looks::header as of_header};
pub use self::{
    finding::{Diagnosis, DiagnosisKind},
    limit::DIAGNOSES_PER_SECOND,
};
use crate::{Signature, named_secret::NamedSecret, secret::keyed};

/// The largest body whose mismatch is diagnosed: 64 KiB, the default body limit.
const LARGEST_BODY: usize = 64 * 1024;

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
pub(crate) fn of_body(
    signature: &Signature,
    accepted: Vec<&NamedSecret>,
    recognized: &[NamedSecret],
    body: &[u8],
    is_encoded: bool,
) -> Result<Diagnosis, Undiagnosed> {
    if body.len() > LARGEST_BODY {
        return Err(Undiagnosed::TooLarge);
    }
    let mut search = Search::new(signature, accepted, recognized);
    search.keys(body);
    for key in NO_SECRET {
        search.foreign_key(keyed(key.as_bytes()), body, DiagnosisKind::SecretMissing);
    }
    for hashed in [body, &[body, b"\n"].concat(), b""] {
        if Sha256::digest(hashed).ct_eq(signature.as_bytes()).into() {
            search.note(Diagnosis::certain(DiagnosisKind::NotKeyed, None));
        }
    }
    bodies::try_all(&mut search, body);
    let found = search.finish().or_else(|| looks::body(body, is_encoded));
    found.ok_or(Undiagnosed::NoKnownCause)
}
