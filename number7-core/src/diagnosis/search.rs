use std::borrow::Cow;

use hmac::Mac;

use super::{Diagnosis, DiagnosisKind};
use crate::{Signature, named_secret::NamedSecret, secret::HmacSha256};

/// How many bytes one stage of a search hashes at most. An event of some hundred bytes needs less
/// than half of it in every stage.
const MOST_BYTES: usize = 1024 * 1024;

/// A search for the key and the text that a signature is of. It goes in stages, so that none uses up
/// what another needs.
///
/// It does not stop when something is found, so its time depends on the body and the number of secrets,
/// not on what is found.
pub(super) struct Search<'a> {
    signature: &'a Signature,
    accepted: Vec<&'a NamedSecret>,
    recognized: &'a [NamedSecret],
    /// How many bytes are left in this stage.
    left: usize,
    was_cut_short: bool,
    found: Option<Diagnosis>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        signature: &'a Signature,
        accepted: Vec<&'a NamedSecret>,
        recognized: &'a [NamedSecret],
    ) -> Self {
        let left = MOST_BYTES;
        Self { signature, accepted, recognized, left, was_cut_short: false, found: None }
    }

    /// Begins the next stage.
    pub(super) fn stage(&mut self) {
        self.left = MOST_BYTES;
    }

    /// Tries the body under the secrets that are only recognized.
    pub(super) fn recognized(&mut self, body: &[u8]) {
        for known in self.recognized {
            self.attempt(known.secret.keyed(), body, Some(known), || {
                Diagnosis::certain(DiagnosisKind::RecognizedSecret, None)
            });
        }
    }

    /// Tries the body under what senders make of the secrets.
    pub(super) fn variants(&mut self, body: &[u8]) {
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

    /// What was found, and whether everything was tried.
    pub(super) fn finish(self) -> (Option<Diagnosis>, bool) {
        (self.found, !self.was_cut_short)
    }

    /// Notes a finding that needed no HMAC.
    pub(super) fn note(&mut self, finding: Diagnosis) {
        self.found.get_or_insert(finding);
    }

    /// Whether this stage has used up what it may use.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    fn known(&self) -> Vec<&'a NamedSecret> {
        self.accepted.iter().copied().chain(self.recognized).collect()
    }

    fn is_accepted(&self, secret: &NamedSecret) -> bool {
        self.accepted.iter().any(|known| known.name == secret.name)
    }

    fn attempt(
        &mut self,
        mut mac: HmacSha256,
        text: &[u8],
        secret: Option<&NamedSecret>,
        finding: impl FnOnce() -> Diagnosis,
    ) {
        if self.left < text.len() {
            self.left = 0;
            self.was_cut_short = true;
            return;
        }
        // Even a short text costs one block of the hash.
        self.left = self.left.saturating_sub(text.len().max(64));
        mac.update(text);
        if mac.verify_slice(self.signature.as_bytes()).is_ok() && self.found.is_none() {
            let finding = finding();
            self.found = Some(match secret {
                Some(known) => finding.with_secret(known.name.clone(), self.is_accepted(known)),
                None => finding,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn a_stage_hashes_so_much_and_no_more() {
        let secret = Secret::new("secret").unwrap();
        let signed = vec![b'x'; MOST_BYTES / 2];
        let signature = secret.sign(&signed);
        let known = NamedSecret { name: "primary".into(), secret };
        let search = |others: usize| {
            let mut search = Search::new(&signature, vec![&known], &[]);
            let mut text = |text: &[u8]| search.text(text, DiagnosisKind::CutOff, || None);
            (0..others).for_each(|_| text(&vec![b'y'; MOST_BYTES / 2]));
            text(&signed);
            let was_spent = search.is_spent();
            search.stage();
            search.text(b"", DiagnosisKind::CutOff, || None);
            let (found, is_complete) = search.finish();
            (found.is_some(), was_spent, is_complete)
        };
        assert_eq!(search(0), (true, false, true));
        assert_eq!(search(1), (true, true, true));
        assert_eq!(search(2), (false, true, false));
    }
}
