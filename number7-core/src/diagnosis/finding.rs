use std::{borrow::Cow, error::Error, fmt, sync::Arc};

/// The likely or proven cause of a signature that does not match.
///
/// Its text is one sentence: what happened, and what to do. It contains nothing of a body, a signature or a secret except the
/// name that you gave the secret, so it may be logged. The sender never gets it.
///
/// [`Verifier::diagnose`](crate::Verifier::diagnose) turns the search on, and has an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Diagnosis {
    kind: DiagnosisKind,
    certain: bool,
    detail: Option<Cow<'static, str>>,
    /// The name of the secret, and whether it is accepted.
    secret: Option<(Arc<str>, bool)>,
}

impl Diagnosis {
    /// A cause that an HMAC or a hash has proven.
    pub(super) fn certain(kind: DiagnosisKind, detail: Option<Cow<'static, str>>) -> Self {
        Self { kind, certain: true, detail, secret: None }
    }

    /// A cause that the request suggests.
    pub(super) fn likely(kind: DiagnosisKind) -> Self {
        Self { kind, certain: false, detail: None, secret: None }
    }

    pub(super) fn with_detail(self, detail: &'static str) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    pub(super) fn with_secret(self, name: Arc<str>, is_accepted: bool) -> Self {
        Self { secret: Some((name, is_accepted)), ..self }
    }

    /// The kind of the cause.
    #[must_use]
    pub fn kind(&self) -> DiagnosisKind {
        self.kind
    }

    /// Whether the signature proves the cause. Otherwise the request only suggests it.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.certain
    }

    /// The name of the secret that the sender used, whether it is accepted or only
    /// [recognized](crate::Verifier::recognize). `None` if that is not known.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_ref().map(|(name, _)| &**name)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.certain {
            f.write_str("probably ")?;
        }
        f.write_str(self.kind.cause())?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        match &self.secret {
            Some((name, false)) if self.kind != DiagnosisKind::RecognizedSecret => {
                write!(f, " [secret {name:?}, which is not accepted here]")?;
            }
            Some((name, _)) => write!(f, " [secret {name:?}]")?,
            None => {}
        }
        write!(f, ": {}", self.kind.remedy())
    }
}

/// As [`Display`](fmt::Display), with the kind.
impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Diagnosis({:?}: {self})", self.kind)
    }
}

impl Error for Diagnosis {}

/// Why a mismatch has no [`Diagnosis`] although diagnosis is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undiagnosed {
    NoKnownCause,
    CutShort,
    TooMany,
    TooLarge,
    Abandoned,
}

impl fmt::Display for Undiagnosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKnownCause => {
                "no known cause was found, so compare the secrets of both sides, and then the bytes \
                 that were signed with those that came"
            }
            Self::CutShort => "no known cause was found, and the body was too large to try them all",
            Self::TooMany => "no cause was sought, because five others were diagnosed in that second",
            Self::TooLarge => "no cause was sought, because the body is larger than 16 KiB",
            Self::Abandoned => "the request was given up while the cause was sought",
        })
    }
}

impl Error for Undiagnosed {}

/// The kinds of [`Diagnosis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagnosisKind {
    /// Signed with a secret that is only [recognized](crate::Verifier::recognize), such as that of
    /// another environment.
    RecognizedSecret,
    /// The sender's copy of the secret has a newline at its end, or in front.
    SecretNewline,
    /// The sender's copy of the secret has white space, or an invisible character, around it.
    SecretWhiteSpace,
    /// The sender's copy of the secret is the whole line that sets it: `WEBHOOK_SECRET=…`.
    SecretAssignment,
    /// The sender's copy of the secret has quotes around it.
    SecretQuoted,
    /// The receiver's copy of the secret has quotes around it.
    SecretUnquoted,
    /// The sender decoded the secret from hex or base64, but the receiver uses it as a string.
    SecretDecoded,
    /// The sender signed with the hex or base64 of the receiver's secret.
    SecretEncoded,
    /// The sender has no secret: it signed with an empty one, with `undefined`, `null` or `None`, or
    /// with the name of its variable.
    SecretMissing,
    /// The signature is a plain SHA-256 of the body, without any secret.
    NotKeyed,
    /// The body has a newline, or other white space, at its end, but was signed without it.
    FinalNewlineAdded,
    /// The body lacks a newline at its end, but was signed with it.
    FinalNewlineLost,
    /// The body has white space in front of it, but was signed without it.
    OuterWhiteSpace,
    /// The line endings of the body were changed between CR LF and LF.
    LineEndings,
    /// A byte order mark was added or removed.
    ByteOrderMark,
    /// The JSON was parsed and serialized again.
    Reserialized,
    /// The text was converted to or from another encoding, such as Latin-1, Windows-1252 or UTF-16.
    TextEncoding,
    /// The body was sent as a form.
    FormEncoded,
    /// No body arrived.
    EmptyBody,
    /// The sender signed an empty string or a placeholder, such as `{}` or `undefined`.
    SignedNothing,
    /// The body was compressed after it was signed.
    Compressed,
    /// The body is not compressed, but its `Content-Encoding` says it is.
    Decompressed,
    /// The body ends in the middle of its JSON.
    CutOff,
    /// The header has a prefix in front of the digits, such as `sha256=`.
    SignaturePrefix,
    /// The header is base64, not hex.
    SignatureBase64,
    /// The header has the length of another hash, such as SHA-1 or SHA-512.
    SignatureOtherHash,
    /// The header is a list.
    SignatureList,
    /// The header has quotes around the digits.
    SignatureQuoted,
    /// The header has white space in it.
    SignatureWhiteSpace,
}

impl DiagnosisKind {
    /// What happened.
    fn cause(self) -> &'static str {
        match self {
            Self::RecognizedSecret => "signed with a secret that is not accepted here",
            Self::SecretNewline => {
                "signed with the secret and a newline, or a literal \\n, around it"
            }
            Self::SecretWhiteSpace => {
                "signed with the secret and white space or an invisible character around it"
            }
            Self::SecretAssignment => "signed with the line that sets the secret",
            Self::SecretQuoted => "signed with the secret and quotes around it",
            Self::SecretUnquoted => "signed with the secret without the quotes that it has here",
            Self::SecretDecoded => "signed with the bytes that the secret decodes to",
            Self::SecretEncoded => "signed with the hex or the base64 of the secret",
            Self::SecretMissing => "signed without a secret",
            Self::NotKeyed => "the signature is a plain SHA-256 of the body",
            Self::FinalNewlineAdded => {
                "the body has a newline or white space at its end that was not signed"
            }
            Self::FinalNewlineLost => "the body lost the newline at its end after it was signed",
            Self::OuterWhiteSpace => "the body has white space in front that was not signed",
            Self::LineEndings => "the line endings of the body are not those that were signed",
            Self::ByteOrderMark => "a byte order mark was added or removed after the signing",
            Self::Reserialized => "the JSON was parsed and serialized again after the signing",
            Self::TextEncoding => {
                "the body and the signed text are in different encodings, such as UTF-8 and Latin-1"
            }
            Self::FormEncoded => "the body was sent as a form",
            Self::EmptyBody => "the body got lost on its way: none arrived",
            Self::SignedNothing => {
                "the sender signed an empty text, or one like {} or [object Object], instead of the body"
            }
            Self::Compressed => "the body was compressed after it was signed",
            Self::Decompressed => "the body was decompressed on its way",
            Self::CutOff => "the body was cut off",
            Self::SignaturePrefix => "the header has a prefix in front of the digits",
            Self::SignatureBase64 => "the header is base64",
            Self::SignatureOtherHash => "the header has the length of another hash",
            Self::SignatureList => "the header is a list",
            Self::SignatureQuoted => "the header has quotes around the digits",
            Self::SignatureWhiteSpace => "the header has white space in it",
        }
    }

    /// What to do.
    fn remedy(self) -> &'static str {
        match self {
            Self::RecognizedSecret => {
                "give the sender the URL of its own environment, or this receiver that secret"
            }
            Self::SecretNewline
            | Self::SecretWhiteSpace
            | Self::SecretAssignment
            | Self::SecretQuoted => "set the sender's secret again, and nothing but the secret",
            Self::SecretUnquoted => "take the quotes off the receiver's secret",
            Self::SecretDecoded | Self::SecretEncoded => {
                "both sides have to take the secret as the text that Number7 AI shows"
            }
            Self::SecretMissing => "the sender's variable is not set where it runs",
            Self::NotKeyed => "the sender has to make an HMAC-SHA256 with the secret as its key",
            Self::FinalNewlineAdded | Self::FinalNewlineLost | Self::OuterWhiteSpace => {
                "sign and send the same bytes; curl needs --data-binary, and echo needs -n"
            }
            Self::LineEndings => "sign and send the same bytes, and open files in binary mode",
            Self::ByteOrderMark => "sign and send the same bytes; save files without the mark",
            Self::Reserialized => {
                "sign and send the same bytes, and let nothing on the way parse the body; curl -d takes \
                 line breaks out, --data-binary does not"
            }
            Self::TextEncoding => "encode the text as UTF-8 once, then sign and send those bytes",
            Self::FormEncoded => {
                "send the JSON itself with content-type application/json, and let nothing in front \
                parse it"
            }
            Self::EmptyBody => "look for a layer or a proxy in front that reads the body",
            Self::SignedNothing => "sign the bytes that are sent, once they are there",
            Self::Compressed => "let nothing compress the request after it is signed",
            Self::Decompressed => {
                "turn off decompression in front of the receiver, in a proxy or in a layer"
            }
            Self::CutOff => "look for a proxy's body limit, or a wrong content-length",
            Self::SignaturePrefix
            | Self::SignatureBase64
            | Self::SignatureList
            | Self::SignatureQuoted
            | Self::SignatureWhiteSpace => "send exactly 64 hex digits",
            Self::SignatureOtherHash => "send the 64 hex digits of an HMAC-SHA256",
        }
    }
}
