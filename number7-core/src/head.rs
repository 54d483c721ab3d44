//! What the headers of a request say about its body.

use crate::{Rejection, RejectionKind, SIGNATURE_HEADER, Signature, trace_context::Headers};

#[derive(Default)]
pub(crate) struct Head<'h> {
    signature: Option<&'h [u8]>,
    repeated: bool,
    pub(crate) declared_length: u64,
    pub(crate) encoded: bool,
    /// The sender waits until it is asked for the body.
    pub(crate) expects: bool,
    pub(crate) trace: Headers<'h>,
}

impl<'h> Head<'h> {
    pub(crate) fn read(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            if is(name, SIGNATURE_HEADER) {
                head.repeated |= head.signature.replace(value).is_some();
            } else if is(name, "content-length") {
                head.declared_length = head.declared_length.max(declared_length(value));
            } else if is(name, "content-encoding") {
                head.encoded |= is_encoded(value);
            } else if is(name, "expect") {
                head.expects = true;
            } else {
                head.trace.read(name, value);
            }
        }
        head
    }

    pub(crate) fn signature_value(&self) -> Option<&'h [u8]> {
        self.signature
    }

    pub(crate) fn signature(&self) -> Result<Signature, Rejection> {
        let value = self.signature.ok_or(RejectionKind::MissingSignature)?;
        if self.repeated {
            return Err(RejectionKind::RepeatedSignature.into());
        }
        Signature::parse(value).map_err(|_| RejectionKind::MalformedSignature.into())
    }
}

/// Whether this is the given name, which is in lower case. Most servers write names so, and that is quicker to compare.
#[inline(always)]
fn is(name: &str, known: &str) -> bool {
    name == known || name.eq_ignore_ascii_case(known)
}

/// The number in a `Content-Length`. A value that is not a number declares nothing, because framing is the server's job. A
/// number that does not fit into 64 bits exceeds every limit.
fn declared_length(value: &[u8]) -> u64 {
    let length = value.iter().try_fold(0, |length: u64, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(length.saturating_mul(10).saturating_add(digit))
    });
    length.unwrap_or(0)
}

/// The values of `Content-Encoding` for a body that is not encoded. The last two are not codings, but some senders put the
/// character set of JSON there.
const NOT_ENCODED: [&[u8]; 4] = [b"", b"identity", b"utf-8", b"utf8"];

/// Whether a `Content-Encoding` says that the body is encoded.
fn is_encoded(value: &[u8]) -> bool {
    let is_plain =
        |coding: &[u8]| NOT_ENCODED.iter().any(|plain| coding.eq_ignore_ascii_case(plain));
    !value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_length_is_read_like_a_number_and_saturates() {
        assert_eq!(declared_length(b"65537"), 65_537);
        assert_eq!(declared_length(b"99999999999999999999999"), u64::MAX);
        assert_eq!(declared_length(b"+5"), 0);
        assert_eq!(declared_length(b""), 0);
    }

    #[test]
    fn only_identity_and_the_character_set_of_json_are_no_encoding() {
        for value in ["", "identity", "Identity , identity", "UTF-8", "utf8"] {
            assert!(!is_encoded(value.as_bytes()), "{value}");
        }
        for value in ["gzip", "identity, br", "x-identity", "utf-8, gzip", "utf-16", "aes128gcm"] {
            assert!(is_encoded(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn three_signature_headers_are_as_repeated_as_two() {
        let headers = [(SIGNATURE_HEADER, &b"a"[..]); 3];
        let error = Head::read(headers).signature().unwrap_err();
        assert_eq!(error.kind(), RejectionKind::RepeatedSignature);
    }
}
