use hmac::Mac;

use super::{
    Diagnosis, DiagnosisKind,
    candidates::candidates,
    pace::{EACH, Pace},
};
use crate::{
    Signature,
    named_secret::NamedSecret,
    secret::{HmacSha256, keyed},
};

/// The most bytes that one stage of a search hashes. For an event of some hundred bytes, every stage needs less
/// than half of that.
const MOST_BYTES: usize = 1024 * 1024;

/// How many bytes are hashed at once.
pub(super) const AT_ONCE: usize = 8 * 1024;

/// A search for the key and the text that made a signature. It has stages, so that no stage uses up the budget of another, and
/// small steps, so that it does not keep a thread from others.
///
/// It does not stop when something is found, so its time depends on the body and the number of secrets,
/// not on what is found.
pub(super) struct Search<'a> {
    signature: &'a Signature,
    /// First the accepted secrets, then the recognized ones.
    known: Vec<&'a NamedSecret>,
    accepted: usize,
    /// The remaining bytes of this stage.
    left: usize,
    was_cut_short: bool,
    found: Option<Diagnosis>,
    pub(super) pace: Pace,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        signature: &'a Signature,
        accepted: Vec<&'a NamedSecret>,
        recognized: Vec<&'a NamedSecret>,
    ) -> Self {
        let (accepted, mut known) = (accepted.len(), accepted);
        known.extend(recognized);
        let (left, pace) = (MOST_BYTES, Pace::new());
        Self { signature, known, accepted, left, was_cut_short: false, found: None, pace }
    }

    /// Begins the next stage.
    pub(super) fn stage(&mut self) {
        self.left = MOST_BYTES;
    }

    /// Tries the body with the secrets that are only recognized.
    pub(super) async fn recognized(&mut self, body: &[u8]) {
        for number in self.accepted..self.known.len() {
            let mac = self.known[number].secret.keyed();
            self.attempt(mac, body, Some(number), DiagnosisKind::RecognizedSecret, None).await;
        }
    }

    /// Tries the body with the keys that senders derive from the secrets by mistake.
    pub(super) async fn candidates(&mut self, body: &[u8]) {
        for number in 0..self.known.len() {
            for (kind, key) in candidates(self.known[number].secret.text()) {
                self.attempt(keyed(&key), body, Some(number), kind, None).await;
            }
        }
    }

    /// Tries the body with a key that is not derived from a secret.
    pub(super) async fn foreign_key(&mut self, key: &str, body: &[u8], kind: DiagnosisKind) {
        self.attempt(keyed(key.as_bytes()), body, None, kind, None).await;
    }

    /// Tries another text than the body, with every known secret.
    pub(super) async fn text(&mut self, text: &[u8], kind: DiagnosisKind) {
        self.form(text, kind, None).await;
    }

    /// Tries another form of the JSON, with every known secret.
    pub(super) async fn reserialized(&mut self, text: &[u8], form: &str) {
        self.form(text, DiagnosisKind::Reserialized, Some(form)).await;
    }

    async fn form(&mut self, text: &[u8], kind: DiagnosisKind, form: Option<&str>) {
        for number in 0..self.known.len() {
            let mac = self.known[number].secret.keyed();
            self.attempt(mac, text, Some(number), kind, form).await;
        }
    }

    /// The finding, and whether everything was tried.
    pub(super) fn finish(self) -> (Option<Diagnosis>, bool) {
        (self.found, !self.was_cut_short)
    }

    /// Adds a finding that needed no HMAC.
    pub(super) fn note(&mut self, finding: Diagnosis) {
        self.found.get_or_insert(finding);
    }

    /// Remembers that not everything is tried.
    pub(super) fn cut_short(&mut self) {
        self.was_cut_short = true;
    }

    /// Whether this stage has used up its budget.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    async fn attempt(
        &mut self,
        mut mac: HmacSha256,
        text: &[u8],
        number: Option<usize>,
        kind: DiagnosisKind,
        form: Option<&str>,
    ) {
        if self.left < text.len() {
            self.left = 0;
            self.was_cut_short = true;
            return;
        }
        // Even a short text costs one block of the hash.
        self.left = self.left.saturating_sub(text.len().max(64));
        for piece in text.chunks(AT_ONCE) {
            mac.update(piece);
            self.pace.spend(piece.len()).await;
        }
        self.pace.spend(EACH).await;
        if mac.verify_slice(self.signature.as_bytes()).is_ok() && self.found.is_none() {
            let finding = Diagnosis::certain(kind, form.map(|form| form.to_owned().into()));
            self.found = Some(match number {
                Some(number) => {
                    let name = self.known[number].signer.name.clone();
                    finding.with_secret(name, number < self.accepted)
                }
                None => finding,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::Secret;

    /// The result of a search, and the number of its steps.
    fn run<T>(search: impl Future<Output = T>) -> (T, usize) {
        let (mut search, mut steps) = (pin!(search), 1);
        loop {
            match search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                std::task::Poll::Ready(value) => return (value, steps),
                std::task::Poll::Pending => steps += 1,
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn a_stage_hashes_so_much_and_no_more() {
        let secret = Secret::new("secret").unwrap();
        let signed = vec![b'x'; MOST_BYTES / 2];
        let signature = secret.sign(&signed);
        let known = NamedSecret::new("primary".into(), secret);
        let search = async |others: usize| {
            let mut search = Search::new(&signature, vec![&known], Vec::new());
            for _ in 0..others {
                search.text(&vec![b'y'; MOST_BYTES / 2], DiagnosisKind::CutOff).await;
            }
            search.text(&signed, DiagnosisKind::CutOff).await;
            let was_spent = search.is_spent();
            search.stage();
            search.text(b"", DiagnosisKind::CutOff).await;
            let (found, is_complete) = search.finish();
            (found.is_some(), was_spent, is_complete)
        };
        let (found, steps) = run(search(0));
        assert_eq!(found, (true, false, true));
        assert!(steps > MOST_BYTES / 2 / (16 * 1024), "{steps}");
        assert_eq!(run(search(1)).0, (true, true, true));
        assert_eq!(run(search(2)).0, (false, true, false));
    }
}
