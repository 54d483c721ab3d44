use std::borrow::Cow;

use hmac::Mac;

use super::{Diagnosis, DiagnosisKind};
use crate::{Signature, named_secret::NamedSecret, secret::HmacSha256};

/// How many HMACs one diagnosis makes at most.
const MOST_HMACS: usize = 8_192;

/// How many bytes it hashes at most.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A search for the key and the text that a signature is of.
///
/// It goes on to its end when something is found, so that the time that it takes depends on the body
/// alone.
pub(super) struct Search<'a> {
    signature: &'a Signature,
    accepted: Vec<&'a NamedSecret>,
    recognized: &'a [NamedSecret],
    hmacs: usize,
    bytes: usize,
    found: Option<Diagnosis>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        signature: &'a Signature,
        accepted: Vec<&'a NamedSecret>,
        recognized: &'a [NamedSecret],
    ) -> Self {
        Self { signature, accepted, recognized, hmacs: 0, bytes: 0, found: None }
    }

    /// Tries the body that arrived under other keys than those that are accepted.
    pub(super) fn keys(&mut self, body: &[u8]) {
        for known in self.recognized {
            let kind = DiagnosisKind::RecognizedSecret;
            self.attempt(known.secret.keyed(), body, Some(known), || {
                Diagnosis::certain(kind, None)
            });
        }
        for known in self.known() {
            for (kind, keyed) in known.secret.variants() {
                let finding = || Diagnosis::certain(*kind, None);
                self.attempt(keyed.clone(), body, Some(known), finding);
            }
        }
    }

    /// Tries the body under a key that is nobody's.
    pub(super) fn foreign_key(&mut self, keyed: HmacSha256, body: &[u8], kind: DiagnosisKind) {
        self.attempt(keyed, body, None, || Diagnosis::certain(kind, None));
    }

    /// Tries another text than the body, under every known secret.
    pub(super) fn text(
        &mut self,
        text: &[u8],
        kind: DiagnosisKind,
        detail: impl Fn() -> Option<Cow<'static, str>>,
    ) {
        for known in self.known() {
            let finding = || Diagnosis::certain(kind, detail());
            self.attempt(known.secret.keyed(), text, Some(known), finding);
        }
    }

    pub(super) fn finish(self) -> Option<Diagnosis> {
        self.found
    }

    /// Notes a finding that needed no HMAC.
    pub(super) fn note(&mut self, finding: Diagnosis) {
        self.found.get_or_insert(finding);
    }

    /// Whether the search has used up what it may use.
    pub(super) fn is_spent(&self) -> bool {
        self.hmacs >= MOST_HMACS || self.bytes >= MOST_BYTES
    }

    fn known(&self) -> Vec<&'a NamedSecret> {
        self.accepted.iter().copied().chain(self.recognized).collect()
    }

    fn attempt(
        &mut self,
        mut mac: HmacSha256,
        text: &[u8],
        secret: Option<&NamedSecret>,
        finding: impl FnOnce() -> Diagnosis,
    ) {
        if self.is_spent() {
            return;
        }
        self.hmacs += 1;
        self.bytes += text.len();
        mac.update(text);
        if mac.verify_slice(self.signature.as_bytes()).is_ok() && self.found.is_none() {
            let finding = finding();
            self.found = Some(match secret {
                Some(known) => finding.with_secret(known.name.clone()),
                None => finding,
            });
        }
    }
}
