//! The table: what a sender sends, and what it is answered.

use bytes::Bytes;
use number7_core::{DEFAULT_BODY_LIMIT, RejectionKind, SIGNATURE_HEADER, Secret};

use crate::{COMPLETED, sign};

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is being shown.
    pub name: &'static str,
    /// Beside those that the framing needs.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body as it is handed over, piece by piece.
    pub chunks: Vec<Bytes>,
    /// How the body's end is told.
    pub framing: Framing,
    /// What becomes of it.
    pub answer: Answer,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length` with the true length.
    Length,
    /// `Transfer-Encoding: chunked`, a chunk for each piece.
    Chunked,
}

/// What a sender is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, and the handler saw an event of this name.
    Accepted(&'static str),
    /// This status with an empty body, for this reason.
    Refused(u16, RejectionKind),
}

/// Every line of the table of answers that one request can show, and no time.
#[must_use]
pub fn table() -> Vec<Case> {
    [accepted(), malformed_headers(), forged(), large(), encoded(), untypable()].concat()
}

fn accepted() -> Vec<Case> {
    let accepted = |name, body: &str| case(name, body, Answer::Accepted("job.completed"));
    let full = COMPLETED.to_owned() + &" ".repeat(DEFAULT_BODY_LIMIT - COMPLETED.len());
    let failed = COMPLETED.replace("completed", "failed").replace('}', r#","error":"blank"}"#);
    vec![
        accepted("the published payload", COMPLETED),
        accepted("upper-case digits", COMPLETED).signature(sign(COMPLETED).to_uppercase()),
        accepted("a header name in mixed case", COMPLETED)
            .without_signature()
            .header("X-Number7AI-Signature", sign(COMPLETED)),
        accepted("any content type", COMPLETED).header("content-type", "text/plain"),
        accepted("a body in chunks", COMPLETED).in_chunks(50),
        accepted("a body chunked a byte at a time", COMPLETED).in_chunks(1),
        accepted("a body of exactly the limit", &full),
        accepted("a body of exactly the limit, in chunks", &full).in_chunks(5000),
        accepted("a content-encoding of identity", COMPLETED)
            .header("content-encoding", "identity"),
        accepted("a document type to come", &COMPLETED.replace("invoice", "visa")),
        accepted("a field to come", &COMPLETED.replace('}', r#","pages":[1,{"a":2}]}"#)),
        case("a failed job", &failed, Answer::Accepted("job.failed")),
        case("an event to come", r#"{"event":"job.archived"}"#, Answer::Accepted("job.archived")),
    ]
}

fn malformed_headers() -> Vec<Case> {
    let signature = sign(COMPLETED);
    let refused = |name, kind| case(name, COMPLETED, Answer::Refused(401, kind));
    let malformed =
        |name, value: &[u8]| refused(name, RejectionKind::MalformedSignature).signature(value);
    vec![
        refused("no signature", RejectionKind::MissingSignature).without_signature(),
        refused("the signature twice", RejectionKind::RepeatedSignature)
            .header(SIGNATURE_HEADER, &*signature),
        refused("a good signature and a bad one", RejectionKind::RepeatedSignature)
            .header(SIGNATURE_HEADER, "f".repeat(64)),
        malformed("an empty signature", b""),
        malformed("63 digits", &signature.as_bytes()[1..]),
        malformed("65 digits", format!("{signature}0").as_bytes()),
        malformed("a prefix 0x", format!("0x{signature}").as_bytes()),
        malformed("a prefix 0x within 64 bytes", format!("0x{}", &signature[2..]).as_bytes()),
        malformed("a prefix sha256=", format!("sha256={signature}").as_bytes()),
        malformed("a sign", format!("+{}", &signature[1..]).as_bytes()),
        malformed(
            "an inner space",
            format!("{} {}", &signature[..32], &signature[33..]).as_bytes(),
        ),
        malformed("a list", format!("{signature},{signature}").as_bytes()),
        malformed("a letter that is no digit", format!("g{}", &signature[1..]).as_bytes()),
        malformed("a byte outside ASCII", &[b"\xe9", &signature.as_bytes()[1..]].concat()),
        malformed("full-width digits", "\u{ff10}".repeat(64).as_bytes()),
        malformed("base64", b"dRB+oOslCfwhEiHM6YS4o3VwtrW3WG0="),
        malformed("a malformed header on a body over the limit", b"x").body(over_the_limit()),
        refused("no header on a body over the limit", RejectionKind::MissingSignature)
            .without_signature()
            .body(over_the_limit()),
    ]
}

fn forged() -> Vec<Case> {
    let refused =
        |name| case(name, COMPLETED, Answer::Refused(401, RejectionKind::SignatureMismatch));
    let foreign = Secret::new("another secret").unwrap();
    vec![
        refused("another secret's signature").signature(foreign.sign(COMPLETED).to_string()),
        refused("another body's signature").signature(sign("{}")),
        refused("a body with one byte more").body(format!("{COMPLETED}\n")),
        refused("a body with one byte less").body(COMPLETED[..COMPLETED.len() - 1].to_owned()),
        refused("a body with one byte changed").body(COMPLETED.replace("job_a", "job_b")),
        refused("the empty body").body(""),
        refused("64 zeros").signature("0".repeat(64)),
        refused("a forged body in chunks").body(COMPLETED.replace("job_a", "job_b")).in_chunks(1),
        refused("a forged body that is encoded")
            .signature(sign("{}"))
            .header("content-encoding", "gzip"),
    ]
}

fn large() -> Vec<Case> {
    let refused =
        |name| case(name, &over_the_limit(), Answer::Refused(413, RejectionKind::BodyTooLarge));
    vec![
        refused("a declared length of one byte over the limit"),
        refused("one byte over the limit, in chunks").in_chunks(5000),
        refused("one byte over the limit, forged").signature("0".repeat(64)),
    ]
}

fn encoded() -> Vec<Case> {
    let refused = |name, coding: &str| {
        case(name, COMPLETED, Answer::Refused(415, RejectionKind::BodyEncoded))
            .header("content-encoding", coding)
    };
    vec![
        refused("an authentic body that claims gzip", "gzip"),
        refused("an authentic body that claims br", "br"),
        refused("an authentic body that claims two codings", "identity, gzip"),
    ]
}

fn untypable() -> Vec<Case> {
    let refused =
        |name, body: &str| case(name, body, Answer::Refused(400, RejectionKind::Untypable));
    vec![
        refused("the empty body, authentic", ""),
        refused("no JSON, authentic", "event=job.completed"),
        refused("no object, authentic", "[]"),
        refused("no event, authentic", "{}"),
        refused("no jobId, authentic", &COMPLETED.replace("jobId", "job")),
        refused("a number as jobId, authentic", &COMPLETED.replace("\"job_abc123\"", "7")),
        refused("the event twice, authentic", &COMPLETED.replace('}', r#","event":"job.failed"}"#)),
        refused("no timestamp at all, authentic", &COMPLETED.replace("2026-", "when-")),
    ]
}

fn over_the_limit() -> String {
    COMPLETED.to_owned() + &" ".repeat(DEFAULT_BODY_LIMIT + 1 - COMPLETED.len())
}

/// A request that is signed as it should be.
#[must_use]
pub fn case(name: &'static str, body: &str, answer: Answer) -> Case {
    Case {
        name,
        headers: vec![(SIGNATURE_HEADER, sign(body).into_bytes())],
        chunks: vec![Bytes::copy_from_slice(body.as_bytes())],
        framing: Framing::Length,
        answer,
    }
}

impl Case {
    /// The body as a whole.
    #[must_use]
    pub fn whole_body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// Replaces the body, and leaves the signature as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.chunks = vec![body.into()];
        self
    }

    /// Hands the body over in chunks of so many bytes.
    #[must_use]
    pub fn in_chunks(mut self, bytes: usize) -> Self {
        self.chunks = self.whole_body().chunks(bytes).map(Bytes::copy_from_slice).collect();
        self.framing = Framing::Chunked;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    fn signature(self, value: impl AsRef<[u8]>) -> Self {
        self.without_signature().header(SIGNATURE_HEADER, value)
    }

    fn without_signature(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != SIGNATURE_HEADER);
        self
    }
}
