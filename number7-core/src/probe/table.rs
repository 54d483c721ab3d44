//! The table: requests, the right answers, and what it means if an answer differs.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Request, Sample, gzip::gzip, request::Ending};
use crate::{
    DEFAULT_BODY_LIMIT, DEFAULT_BODY_TIMEOUT, Rejection, RejectionKind as Kind, SIGNATURE_HEADER,
    Secret, secret::keyed,
};

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Probe {
    name: &'static str,
    /// The path, if it is not that of the receiver.
    path: Option<String>,
    request: Request,
    answer: Answer,
    leaves: Leaves,
    /// Another status that is also right.
    also: Option<u16>,
    otherwise: &'static str,
}

/// The answer of a receiver that obeys the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// 200: the event with this name is accepted. Any other 2xx is right, too.
    Accepted(&'static str),
    /// The status of this [`RejectionKind`](Kind), and an empty body.
    Refused(Kind),
}

/// The event that a receiver may have to handle after a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leaves {
    /// Nothing: the body is not authentic, or is not an event.
    Nothing,
    /// An ordinary event with this name.
    Event(&'static str),
    /// An authentic event that cannot be parsed. A durable receiver accepts it, and fails to handle it.
    BrokenEvent,
}

impl Probe {
    /// Its name, which says what it shows.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where to send it, if not to the [path](Probes::path) of all others.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// What to send.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The right answer.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// The event that the receiver may have to handle.
    #[must_use]
    pub fn leaves(&self) -> Leaves {
        self.leaves
    }

    /// Whether its body never becomes complete. A proxy that buffers bodies, as nginx does by default, waits for the whole
    /// body, and does not pass on such a request. So nobody can see through the proxy what the receiver does.
    #[must_use]
    pub fn needs_unbuffered_body(&self) -> bool {
        let is_broken = matches!(self.answer, Answer::Refused(Kind::BodyBrokenOff));
        is_broken || matches!(self.request.ending(), Ending::Stalled(_))
    }

    pub(super) fn also(&self) -> Option<u16> {
        self.also
    }

    fn or(self, status: u16) -> Self {
        Self { also: Some(status), ..self }
    }

    /// What another answer means, and what to fix.
    #[must_use]
    pub fn otherwise(&self) -> &'static str {
        self.otherwise
    }

    fn request_with(self, change: impl FnOnce(Request) -> Request) -> Self {
        Self { request: change(self.request), ..self }
    }

    fn header(self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.request_with(|request| request.header(name, value))
    }

    fn signature(self, value: impl AsRef<[u8]>) -> Self {
        self.unsigned().header(SIGNATURE_HEADER, value)
    }

    fn content_type(self, value: Option<&str>) -> Self {
        let probe = self.request_with(|request| request.without("content-type"));
        match value {
            Some(value) => probe.header("content-type", value),
            None => probe,
        }
    }

    fn unsigned(self) -> Self {
        self.request_with(|request| request.without(SIGNATURE_HEADER))
    }

    fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.request_with(|request| request.with_body(body.into()))
    }

    fn in_chunks(self, bytes: usize) -> Self {
        self.request_with(|request| request.in_chunks(bytes))
    }
}

impl Answer {
    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Accepted(_) => 200,
            Self::Refused(kind) => Rejection::from(kind).status_code(),
        }
    }
}

/// The probes for a receiver that accepts what this secret signed.
///
/// See the [module](super) for an example.
#[derive(Clone, Debug)]
pub struct Probes {
    secret: Secret,
    path: String,
    sample: Sample,
    body_limit: usize,
    body_timeout: Duration,
    unknown_account: Option<String>,
    other_secret: Option<Secret>,
    failing_lookup: Option<String>,
}

impl Probes {
    /// Probes for a receiver with the default limits, at `/webhook`. The event that should be accepted is the
    /// published payload.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            path: "/webhook".into(),
            sample: Sample::completed("job_abc123"),
            body_limit: DEFAULT_BODY_LIMIT,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            unknown_account: None,
            other_secret: None,
            failing_lookup: None,
        }
    }

    /// The path of the receiver.
    ///
    /// # Panics
    ///
    /// It is not the path of a URL: it does not begin with `/`, or has white space or characters that are not ASCII.
    #[must_use]
    #[track_caller]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: checked(path.into()), ..self }
    }

    /// For a receiver with several [accounts](crate::Accounts): the path of an account that does not exist. It must answer as
    /// for a forged signature.
    ///
    /// # Panics
    ///
    /// It is not the path of a URL.
    #[must_use]
    #[track_caller]
    pub fn unknown_account(self, path: impl Into<String>) -> Self {
        Self { unknown_account: Some(checked(path.into())), ..self }
    }

    /// For a receiver with several accounts: the secret of an account that is not at the [path](Self::at).
    #[must_use]
    pub fn other_account(self, secret: Secret) -> Self {
        Self { other_secret: Some(secret), ..self }
    }

    /// For a receiver with several accounts: the path of an account whose lookup fails, as in a test. It must answer 503.
    ///
    /// # Panics
    ///
    /// It is not the path of a URL.
    #[must_use]
    #[track_caller]
    pub fn failing_lookup(self, path: impl Into<String>) -> Self {
        Self { failing_lookup: Some(checked(path.into())), ..self }
    }

    /// The event that should be accepted. If the receiver sets a
    /// [maximum age](crate::Verifier::max_age), give it a current timestamp.
    #[must_use]
    pub fn sample(self, sample: Sample) -> Self {
        Self { sample, ..self }
    }

    /// The [limit](crate::Verifier::body_limit) that the receiver sets for bodies.
    ///
    /// # Panics
    ///
    /// It is less than a kilobyte, because the probes need that much themselves.
    #[must_use]
    #[track_caller]
    pub fn body_limit(self, bytes: usize) -> Self {
        assert!(bytes >= 1024, "the probes need a kilobyte");
        Self { body_limit: bytes, ..self }
    }

    /// The [timeout](crate::Verifier::body_timeout) that the receiver sets for bodies.
    #[must_use]
    pub fn body_timeout(self, timeout: Duration) -> Self {
        Self { body_timeout: timeout, ..self }
    }

    /// The path of the receiver.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How long to wait for an answer: as long as a body may take, and five seconds more.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.body_timeout.saturating_add(Duration::from_secs(5))
    }

    /// All probes, in the order of the checks that they test.
    #[must_use]
    pub fn table(&self) -> Vec<Probe> {
        let rows = [
            self.accepted(),
            self.bad_headers(),
            self.forged(),
            self.large(),
            self.slow(),
            self.broken_off(),
            self.encoded(),
            self.untypable(),
            self.accounts(),
        ];
        rows.concat()
    }

    fn accounts(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let at = |path: &String, probe| Probe { path: Some(path.clone()), ..probe };
        let unknown = self.unknown_account.iter().map(|path| {
            let otherwise =
                "an account that does not exist is not answered like a forged signature";
            at(path, self.refused("an unknown account", &json, Kind::UnknownAccount, otherwise))
        });
        let other = self.other_secret.iter().map(|secret| {
            let otherwise = "the secret of one account signs for another: look up the secret of the account that the \
                             request names, and accept no other";
            self.refused("the secret of another account", &json, Kind::SignatureMismatch, otherwise)
                .signature(secret.sign(&json).to_string())
        });
        let failing = self.failing_lookup.iter().map(|path| {
            let otherwise = "a lookup that fails is not answered 503: the event may be authentic, and the vendor \
                             sends it again only if the answer says so";
            at(path, self.refused("a lookup that fails", &json, Kind::LookupFailed, otherwise))
        });
        unknown.chain(other).chain(failing).collect()
    }

    fn accepted(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let event = self.sample.event();
        let accepted = |name, body: &str, otherwise| {
            self.probe(name, body, Answer::Accepted(event), Leaves::Event(event), otherwise)
        };
        let full = self.filled(self.body_limit);
        let spaced = json.replace("\":", "\" : ").replace(",\"", " ,\n\t\"");
        let python = json.replace("\":", "\": ").replace(",\"", ", \"");
        let sorted = self.sample.sorted();
        let escaped = json.replacen("job", r"\u006aob", 1);
        let document = self.sample.clone().document("visa").json();
        let more = json[..json.len() - 1].to_owned() + r#","pages":[1,{"a":2.50}]}"#;
        let failed = self.sample.failure().json();
        let archived = self.sample.unheard_of().json();
        let repeated = json[..json.len() - 1].to_owned() + r#","page":1,"page":2}"#;
        let precise = self.sample.clone().timestamp("2026-04-22T10:00:00.123456789012Z").json();
        let note = json[..json.len() - 1].to_owned() + r#","note":"Straße – 火 🦀"}"#;
        let other = |name, body: &str, event, otherwise| {
            self.probe(name, body, Answer::Accepted(event), Leaves::Event(event), otherwise)
        };
        vec![
            accepted(
                "the published payload",
                &json,
                "an authentic event is refused: the receiver has another secret, a layer in front \
                 changes the body, or the event is too old for its maximum age",
            ),
            accepted(
                "a string in UTF-8",
                &note,
                "the receiver converts the body to a string and back before it verifies: it has to \
                 verify the bytes that came",
            ),
            accepted("white space in the JSON", &spaced, RESERIALIZES),
            accepted("escapes in the JSON", &escaped, RESERIALIZES),
            accepted("a repeated field to come", &repeated, FIELDS),
            accepted(
                "a timestamp of twelve digits",
                &precise,
                "the receiver reads times with few digits only: RFC 3339 allows any number of them",
            ),
            accepted("white space as Python writes it", &python, RESERIALIZES),
            accepted("fields sorted by name", &sorted, RESERIALIZES),
            accepted(
                "upper-case digits",
                &json,
                "the digits of the signature are compared as text: decode them first",
            )
            .signature(self.sign(&json).to_uppercase()),
            accepted(
                "a header name in mixed case",
                &json,
                "the header name is compared with its case, which HTTP ignores",
            )
            .unsigned()
            .header("X-Number7AI-Signature", self.sign(&json)),
            accepted("another content type", &json, CONTENT_TYPE).content_type(Some("text/plain")),
            accepted("no content type", &json, CONTENT_TYPE).content_type(None),
            accepted("a body in chunks", &json, "a chunked body is not taken, or not put together")
                .in_chunks(50),
            accepted(
                "a body chunked a byte at a time",
                &json,
                "a body that comes in pieces is not put together",
            )
            .in_chunks(1),
            accepted("a body of exactly the limit", &full, LARGE),
            accepted("a body of exactly the limit, in chunks", &full, LARGE).in_chunks(5000),
            accepted(
                "a body that comes in parts",
                &json,
                "the receiver does not wait for the rest of the body",
            )
            .request_with(|request| request.cut(50).pausing(Duration::from_millis(100))),
            accepted(
                "a content-encoding of identity",
                &json,
                "a content-encoding of identity is not an encoding",
            )
            .header("content-encoding", "identity"),
            accepted(
                "a document type to come",
                &document,
                "the receiver knows a fixed list of document types: the vendor will add some",
            ),
            accepted("a field to come", &more, FIELDS),
            other(
                "a failed job",
                &failed,
                "job.failed",
                "the receiver takes no job.failed, and the vendor will retry it in vain",
            ),
            other(
                "an event to come",
                &archived,
                "job.archived",
                "the receiver refuses events that it does not know: the vendor will add some",
            ),
        ]
    }

    fn bad_headers(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let signature = self.sign(&json);
        let refused = |name, kind, otherwise| self.refused(name, &json, kind, otherwise);
        let missing = "an unsigned request is accepted: the route is not behind VerifyNumber7";
        let repeated = "of several signatures one is picked: a proxy may pick another";
        let malformed = |name, value: &[u8]| {
            let otherwise = "a signature that is not exactly 64 hex digits is accepted: check the \
                             length and every digit";
            refused(name, Kind::MalformedSignature, otherwise).signature(value)
        };
        vec![
            refused("no signature", Kind::MissingSignature, missing).unsigned(),
            refused(
                "no signature, and no JSON",
                Kind::MissingSignature,
                "the body is parsed before its signature is looked at",
            )
            .unsigned()
            .body("no JSON"),
            refused("no signature, and no body", Kind::MissingSignature, missing)
                .unsigned()
                .body(""),
            refused("no signature, and a body that never comes", Kind::MissingSignature, missing)
                .unsigned()
                .request_with(|request| {
                    request.with_body("").ending_by(Ending::Stalled(json.len() as u64))
                }),
            refused("the signature twice", Kind::RepeatedSignature, repeated)
                .header(SIGNATURE_HEADER, &*signature),
            refused("a good signature and a bad one", Kind::RepeatedSignature, repeated)
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
                format!("{} {}", &signature[..1], &signature[2..]).as_bytes(),
            ),
            malformed("a list", format!("{signature},{signature}").as_bytes()),
            malformed("a letter that is not a digit", format!("g{}", &signature[1..]).as_bytes()),
            malformed("a byte outside ASCII", &[b"\xe9", &signature.as_bytes()[1..]].concat()),
            malformed("full-width digits", "\u{ff10}".repeat(64).as_bytes()),
            malformed("base64", b"dRB+oOslCfwhEiHM6YS4o3VwtrW3WG0="),
            malformed("a malformed header on a body over the limit", b"x")
                .body(self.over_limit())
                .or(413),
            refused(
                "no header on a body over the limit",
                Kind::MissingSignature,
                "the body of an unsigned request is read: refuse it by its headers",
            )
            .unsigned()
            .body(self.over_limit())
            .or(413),
            self.refused(
                "a signature in a trailer",
                "",
                Kind::MissingSignature,
                "a signature in a trailer is taken for a header, or the receiver fails on it",
            )
            .unsigned()
            .header("transfer-encoding", "chunked")
            .header("trailer", SIGNATURE_HEADER)
            .request_with(|request| {
                let rest =
                    format!("2\r\n{{}}\r\n0\r\n{SIGNATURE_HEADER}: {}\r\n\r\n", self.sign("{}"));
                request.with_body(rest).ending_by(Ending::Raw)
            }),
        ]
    }

    fn forged(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let signature = self.sign(&json);
        let refused =
            |name, otherwise| self.refused(name, &json, Kind::SignatureMismatch, otherwise);
        let flip = |digit: &str| if digit == "0" { "1" } else { "0" };
        let accepts = ACCEPTS_ALL;
        let rewritten = "a changed body is accepted: the receiver verifies something else than the \
                         bytes that came";
        let changed = changed(&json);
        let foreign = Secret::new("number7 probes sign with this").map(|secret| secret.sign(&json));
        let foreign = foreign.map_or_else(|_| "0".repeat(64), |signature| signature.to_string());
        vec![
            // A receiver that keeps the last valid signature has this one now.
            self.probe(
                "the published payload again",
                &json,
                Answer::Accepted(self.sample.event()),
                Leaves::Event(self.sample.event()),
                "a repeated event is not accepted: the vendor retries it in vain",
            ),
            refused("a body with one byte changed", accepts).body(&*changed),
            refused("another secret's signature", accepts).signature(foreign),
            refused(
                "a plain SHA-256 of the body",
                "anybody can sign: no secret is in the signature",
            )
            .signature(sha256(&json)),
            refused("the signature of an empty secret", EMPTY_SECRET)
                .signature(unkeyed(b"", &json)),
            refused("the signature of the secret `undefined`", EMPTY_SECRET)
                .signature(unkeyed(b"undefined", &json)),
            refused("another body's signature", accepts).signature(self.sign("{}")),
            refused(
                "the empty body's signature",
                "the receiver verifies an empty body: something in front has consumed it",
            )
            .signature(self.sign("")),
            refused("a wrong first digit", PREFIX)
                .signature(flip(&signature[..1]).to_owned() + &signature[1..]),
            refused("a wrong last digit", PREFIX)
                .signature(signature[..63].to_owned() + flip(&signature[63..])),
            refused("a body with one byte more", rewritten).body(format!("{json}\n")),
            refused("a body with one byte less", rewritten).body(&json[..json.len() - 1]),
            refused("a body with white space added", rewritten)
                .body(json.replace("\":", "\": ").replace(",\"", ", \"")),
            refused("the empty body", "an empty body is accepted, whatever its signature").body(""),
            refused(
                "no JSON",
                "the body is parsed before its signature is verified: verify the raw bytes first",
            )
            .body("no JSON"),
            refused("64 zeros", accepts).signature("0".repeat(64)),
            refused("a forged body in chunks", accepts).body(&*changed).in_chunks(1),
            refused("a forged body that is encoded", accepts)
                .signature(self.sign("{}"))
                .header("content-encoding", "gzip"),
            refused("a body compressed after it was signed", INFLATES)
                .header("content-encoding", "gzip")
                .body(gzip(json.as_bytes())),
            refused("a length that is less than the body", "more than the declared length is read")
                .header("content-length", (json.len() - 1).to_string())
                .request_with(|request| request.ending_by(Ending::Raw))
                // The server may read the surplus byte as a second request, which is malformed.
                .or(400),
        ]
    }

    fn large(&self) -> Vec<Probe> {
        let refused = |name| {
            let otherwise = "a body over the limit is not refused: set a limit, or tell the probes \
                             which it is";
            self.refused(name, &self.over_limit(), Kind::BodyTooLarge, otherwise)
        };
        let declared = |name, length| {
            let otherwise = "a body that is declared too large is waited for, or is read";
            let probe = self.refused(name, "", Kind::BodyTooLarge, otherwise);
            probe.request_with(|request| request.ending_by(Ending::Stalled(length)))
        };
        vec![
            refused("a declared length of one byte over the limit"),
            refused("one byte over the limit, in chunks").in_chunks(5000),
            refused("one byte over the limit, forged").signature("0".repeat(64)),
            declared("a body over the limit that never comes", self.body_limit as u64 + 1),
            declared("a declared length of 10 GB", 10_000_000_000),
            declared("a declared length of many exabytes", u64::MAX / 4),
        ]
    }

    fn slow(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let length = json.len() as u64;
        let slow = |name| {
            let otherwise = "a body that does not come is waited for too long: set a timeout, tell \
                             the probes which it is, or let nothing in front of VerifyNumber7 read \
                             the body";
            self.refused(name, &json, Kind::BodyTooSlow, otherwise)
        };
        // It has enough bytes for sixteen timeouts.
        let drip = self.body_timeout / 8;
        vec![
            slow("a body that never begins")
                .request_with(|request| request.with_body("").ending_by(Ending::Stalled(length))),
            slow("a body that stalls half-way").request_with(|request| {
                request.with_body(half(&json)).ending_by(Ending::Stalled(length))
            }),
            slow("a body that drips").request_with(|request| {
                request.cut(1).pausing(drip).ending_by(Ending::Stalled(length))
            }),
            slow("a length that is more than the body")
                .request_with(|request| request.ending_by(Ending::Stalled(length + 1))),
        ]
    }

    fn broken_off(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let otherwise = "a part of a body is taken for the whole";
        let broken = |name| self.refused(name, &json, Kind::BodyBrokenOff, otherwise);
        let chunks = |name, chunks: &'static str| {
            let probe = broken(name).signature(self.sign("{}"));
            let probe = probe.header("transfer-encoding", "chunked");
            probe.request_with(|request| request.with_body(chunks).ending_by(Ending::Raw))
        };
        vec![
            broken("a body that breaks off half-way").request_with(|request| {
                request.with_body(half(&json)).ending_by(Ending::BrokenOff(json.len() as u64))
            }),
            broken("a signed body that breaks off before its declared length").request_with(
                |request| request.ending_by(Ending::BrokenOff(json.len() as u64 + 1)),
            ),
            chunks("a chunk without a size", "zz\r\n{}\r\n0\r\n\r\n"),
            chunks("a chunk that is longer than its size", "2\r\n{}{}\r\n0\r\n\r\n"),
            chunks("a chunk with a negative size", "-2\r\n{}\r\n0\r\n\r\n"),
        ]
    }

    fn encoded(&self) -> Vec<Probe> {
        let json = self.sample.json();
        let refused = |name, coding: &str| {
            let otherwise = "a body with a content-encoding is taken: nothing should ever be \
                             decompressed";
            let probe = self.refused(name, &json, Kind::BodyEncoded, otherwise);
            probe.header("content-encoding", coding)
        };
        let zipped = gzip(json.as_bytes());
        vec![
            // A receiver that ignores the coding, and uses the bytes as they are, does no harm.
            refused("an authentic body that claims gzip", "gzip").or(200),
            refused("an authentic body that claims br", "br").or(200),
            refused("an authentic body that claims two codings", "identity, gzip").or(200),
            refused("an authentic body that is gzip", "gzip")
                .signature(self.secret.sign(&zipped).to_string())
                .body(zipped),
        ]
    }

    fn untypable(&self) -> Vec<Probe> {
        // An unknown event may be about anything.
        let sample = Sample::completed("job_abc123");
        let json = sample.json();
        let otherwise = "an authentic body that is not an event makes the receiver fail";
        let refused = |name, body: &str| self.refused(name, body, Kind::Untypable, otherwise);
        let broken =
            |name, body: &str| Probe { leaves: Leaves::BrokenEvent, ..refused(name, body) };
        let more = |field: &str| json[..json.len() - 1].to_owned() + field;
        vec![
            refused("the empty body, authentic", ""),
            refused("no JSON, authentic", "event=job.completed"),
            refused("no object, authentic", "[]"),
            refused("no event, authentic", "{}"),
            broken("no jobId, authentic", r#"{"event":"job.completed"}"#),
            broken(
                "a number as jobId, authentic",
                &more(r#","jobId":7}"#).replacen(r#""jobId""#, r#""job""#, 1),
            ),
            broken("the event twice, authentic", &more(r#","event":"job.failed"}"#)),
            broken("an unreadable timestamp, authentic", &sample.timestamp("when").json()),
        ]
    }

    fn over_limit(&self) -> String {
        self.filled(self.body_limit + 1)
    }

    /// An event of this many bytes, with an unknown field that fills it.
    fn filled(&self, bytes: usize) -> String {
        let json = self.sample.json();
        let (start, end) = (json[..json.len() - 1].to_owned() + r#","pages":""#, r#""}"#);
        let filling = bytes.saturating_sub(start.len() + end.len());
        start + &"x".repeat(filling) + end
    }

    fn refused(
        &self,
        name: &'static str,
        body: &str,
        kind: Kind,
        otherwise: &'static str,
    ) -> Probe {
        self.probe(name, body, Answer::Refused(kind), Leaves::Nothing, otherwise)
    }

    /// A request with a valid signature.
    fn probe(
        &self,
        name: &'static str,
        body: &str,
        answer: Answer,
        leaves: Leaves,
        otherwise: &'static str,
    ) -> Probe {
        let headers = vec![
            ("content-type", b"application/json".to_vec()),
            (SIGNATURE_HEADER, self.sign(body).into_bytes()),
        ];
        let request = Request::new(headers, body.as_bytes().to_vec());
        Probe { name, path: None, request, answer, leaves, also: None, otherwise }
    }

    fn sign(&self, body: &str) -> String {
        self.secret.sign(body).to_string()
    }
}

#[track_caller]
fn checked(path: String) -> String {
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_path, "{path:?} is not a path of a URL");
    path
}

pub(super) const ACCEPTS_ALL: &str = "a forged event is accepted: the route is not behind VerifyNumber7, \
                                      and nothing verifies the signature";

const LARGE: &str = "a large body is cut on its way, or fields that are not known are refused";

pub(super) const RESERIALIZES: &str = "the receiver verifies a serialization of the parsed body: \
                                       it has to verify the bytes that came";

const CONTENT_TYPE: &str = "the body is only read if its content-type is application/json: take the raw \
                            body of every request";

const FIELDS: &str = "the receiver refuses fields that it does not know: the vendor will add some";

pub(super) const INFLATES: &str = "something inflates bodies before they are verified: the HMAC is over \
                                   the bytes that came, and a small body can become a huge one";

const EMPTY_SECRET: &str = "the receiver runs without its secret, so anybody can sign: its \
                            environment variable is not set where it runs";

pub(super) const BUFFERED: &str = "a body that does not come is waited for: by a proxy that buffers bodies, as nginx \
                                   does by default, or by the receiver. If there is such a proxy, `number7 doctor \
                                   --proxied` checks what can be seen through it. If not, set a timeout, and let \
                                   nothing in front of VerifyNumber7 read the body";

pub(super) const UNSEEN: &str = "a proxy that buffers bodies does not pass this on, so nobody can see what the \
                                 receiver does";

const PREFIX: &str = "only a part of the signature is compared";

/// The same with one byte changed.
fn changed(json: &str) -> String {
    let at = json.rfind(|c: char| c.is_ascii_alphanumeric()).unwrap_or_default();
    let other = if json[at..].starts_with('x') { "y" } else { "x" };
    [&json[..at], other, &json[at + 1..]].concat()
}

fn half(json: &str) -> Vec<u8> {
    json.as_bytes()[..json.len() / 2].to_vec()
}

fn sha256(body: &str) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unkeyed(key: &[u8], body: &str) -> String {
    use hmac::Mac;
    let mut mac = keyed(key);
    mac.update(body.as_bytes());
    crate::Signature::from_bytes(mac.finalize().into_bytes().into()).to_string()
}
