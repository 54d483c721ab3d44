//! What must hold for every input of number7-core. Each function is a target of `cargo fuzz`, and
//! panics where a rule is broken; the corpus that the fuzzer has found runs as plain tests.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use number7_core::{
    Delivery, Event, EventErrorKind, Record, Rejection, RejectionKind, SIGNATURE_HEADER, Secret,
    Signature, Verifier,
};
use serde_json::{Value, json};

/// The targets, by their names.
pub const TARGETS: [(&str, Target); 5] = [
    ("request", request),
    ("event", event),
    ("key", key),
    ("signature", signature),
    ("diagnosis", diagnosis),
];

/// What an input is given to.
pub type Target = fn(&[u8]);

/// So small that a fuzzer gets over it.
const BODY_LIMIT: usize = 64;

static SECRET: LazyLock<Secret> =
    LazyLock::new(|| Secret::new("the secret of the fuzzer").unwrap());

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(SECRET.clone()).body_limit(BODY_LIMIT));

#[derive(Arbitrary)]
struct Request<'a> {
    headers: Vec<(Name<'a>, Text<'a>)>,
    body: &'a [u8],
    cuts: Vec<u8>,
}

#[derive(Arbitrary)]
enum Name<'a> {
    Signature { is_upper: bool },
    ContentLength,
    ContentEncoding,
    Other(&'a str),
}

#[derive(Arbitrary)]
enum Text<'a> {
    Signed { is_upper: bool },
    SignedOf(&'a [u8]),
    Number(u64),
    Coding(u8),
    Bytes(&'a [u8]),
}

impl Name<'_> {
    fn text(&self) -> String {
        match self {
            Self::Signature { is_upper: true } => SIGNATURE_HEADER.to_uppercase(),
            Self::Signature { is_upper: false } => SIGNATURE_HEADER.to_owned(),
            Self::ContentLength => "Content-Length".to_owned(),
            Self::ContentEncoding => "content-encoding".to_owned(),
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

impl Text<'_> {
    fn bytes(&self, body: &[u8]) -> Vec<u8> {
        let sign = |body: &[u8]| SECRET.sign(body).to_string();
        match self {
            Self::Signed { is_upper: true } => sign(body).to_uppercase().into(),
            Self::Signed { is_upper: false } => sign(body).into(),
            Self::SignedOf(other) => sign(other).into(),
            Self::Number(number) => number.to_string().into(),
            Self::Coding(coding) => {
                let codings = ["gzip", "identity", "Identity, identity", "identity,br", "", ","];
                codings[usize::from(*coding) % codings.len()].into()
            }
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// Headers and chunks, against the rules as one would write them down: exactly one signature header,
/// which is the HMAC of the body in hex; nothing larger than the limit, in words or in deeds; and no
/// encoding.
pub fn request(data: &[u8]) {
    let Ok(request) = Request::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let headers = request.headers.iter();
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.text(), value.bytes(request.body))).collect();
    let seen = receive(&headers, &chunks(request.body, &request.cuts));

    let values = |name: &str| {
        let named = headers.iter().filter(|header| header.0.eq_ignore_ascii_case(name));
        named.map(|header| String::from_utf8_lossy(&header.1)).collect::<Vec<_>>()
    };
    let hmac = SECRET.sign(request.body).to_string();
    let is_signed =
        matches!(&values(SIGNATURE_HEADER)[..], [one] if one.to_ascii_lowercase() == hmac);
    let is_large = |text: &str| {
        let digits = text.trim_start_matches('0');
        text.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() > 2 || digits.parse().is_ok_and(|number: usize| number > BODY_LIMIT))
    };
    let fits = request.body.len() <= BODY_LIMIT
        && !values("content-length").iter().any(|value| is_large(value));
    let is_encoded = values("content-encoding").iter().any(|value| {
        let mut codings = value.split(',').map(|coding| coding.trim_ascii());
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
    });
    match seen {
        Ok(delivery) => {
            assert!(is_signed && fits && !is_encoded, "it was accepted");
            assert_eq!(delivery.body(), request.body);
        }
        Err(kind) => {
            assert!(!(is_signed && fits && !is_encoded), "it was refused as {kind:?}");
            match kind {
                RejectionKind::BodyTooLarge => assert!(!fits),
                RejectionKind::BodyEncoded => assert!(is_signed),
                _ => assert!(!is_signed, "{kind:?}"),
            }
        }
    }
}

fn receive(headers: &[(String, Vec<u8>)], chunks: &[Bytes]) -> Result<Delivery, RejectionKind> {
    let kind = |rejection: Rejection| rejection.kind();
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    let mut intake = VERIFIER.begin(headers).map_err(kind)?;
    for chunk in chunks {
        intake.push(chunk.clone()).map_err(kind)?;
    }
    intake.finish().map_err(kind)
}

fn chunks(body: &[u8], cuts: &[u8]) -> Vec<Bytes> {
    let mut rest = body;
    let mut chunks = Vec::new();
    for cut in cuts {
        let (chunk, others) = rest.split_at(usize::from(*cut).min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = others;
    }
    chunks.push(Bytes::copy_from_slice(rest));
    chunks
}

/// What is typed is what [`Value`] reads, and what [`Value`] reads as an event is typed.
pub fn event(data: &[u8]) {
    let (typed, read) = (Event::from_json(data), serde_json::from_slice::<Value>(data));
    if let Ok(event) = &typed {
        let written = serde_json::to_string(event).unwrap();
        assert_eq!(
            Event::from_json(written).as_ref(),
            Ok(event),
            "it is not written as it was read"
        );
    }
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            // Of what is not asked for, more is passed over than `Value` can hold.
            let error = error.to_string();
            let passed_over = ["number out of range", "surrogate", "hex escape", "recursion limit"];
            let is_passed_over = passed_over.iter().any(|known| error.contains(known));
            assert!(typed.is_err() || is_passed_over, "it was typed, and is no JSON: {error}");
            return;
        }
    };
    let text = |field: &str| read[field].as_str();
    match typed {
        Ok(Event::Unknown(event)) => {
            assert_eq!(Some(event.name()), text("event"));
            assert_eq!(serde_json::from_str::<Value>(event.json()).unwrap(), read);
        }
        Ok(event) => {
            assert_eq!(Some(event.name()), text("event"));
            let written = serde_json::to_value(&event).unwrap();
            for (field, value) in written.as_object().unwrap() {
                // A time is written as it is, but may be in another form than it was.
                assert!(field == "timestamp" || read[field] == *value, "{field}");
            }
        }
        Err(error) => {
            let needs = match text("event") {
                Some("job.completed") => &["jobId", "fileStatus", "documentType", "timestamp"][..],
                Some("job.failed") => {
                    &["jobId", "fileStatus", "documentType", "timestamp", "error"]
                }
                Some(_) => &[],
                None => return,
            };
            let is_event = needs.iter().all(|field| text(field).is_some());
            let expected = [EventErrorKind::RepeatedField, EventErrorKind::InvalidTimestamp];
            assert!(!is_event || expected.contains(&error.kind()), "it was refused: {error}");
        }
    }
}

#[derive(Arbitrary)]
enum Bodies<'a> {
    Pairs([(&'a str, &'a str); 2]),
    Raw([&'a [u8]; 2]),
}

/// Two events share a key exactly if they have the same name and the same job, or the same bytes.
pub fn key(data: &[u8]) {
    let Ok(bodies) = Bodies::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match bodies {
        Bodies::Pairs(pairs) => {
            let [one, other] = pairs.map(|(event, job)| {
                let json = json!({ "event": event, "jobId": job, "n": 1 }).to_string();
                Record::key_of(json.as_bytes()).unwrap()
            });
            assert_eq!(one == other, pairs[0] == pairs[1], "{one} and {other}");
        }
        Bodies::Raw(bodies) => {
            let [Ok(one), Ok(other)] = bodies.map(Record::key_of) else { return };
            let [first, second] = bodies.map(|body| serde_json::from_slice::<Value>(body).ok());
            let (Some(first), Some(second)) = (first, second) else { return };
            let is_same = ["event", "jobId"].iter().all(|field| first[field] == second[field]);
            assert!(one != other || is_same || bodies[0] == bodies[1], "{one}");
        }
    }
}

/// A header value, against a naive reading of hex.
pub fn signature(data: &[u8]) {
    let is_hex = data.len() == 64 && data.iter().all(u8::is_ascii_hexdigit);
    match Signature::parse(data) {
        Ok(signature) => {
            assert!(is_hex);
            for (byte, digits) in signature.as_bytes().iter().zip(data.chunks(2)) {
                let digits = std::str::from_utf8(digits).unwrap();
                assert_eq!(u8::from_str_radix(digits, 16), Ok(*byte));
            }
            assert_eq!(signature.to_string().as_bytes(), data.to_ascii_lowercase());
        }
        Err(_) => assert!(!is_hex),
    }
}

#[derive(Arbitrary)]
struct Mismatch<'a> {
    body: &'a [u8],
    signed: Option<&'a [u8]>,
    header: &'a [u8],
    by_other: bool,
}

/// A diagnosis changes no verdict, and every mismatch is looked into.
pub fn diagnosis(data: &[u8]) {
    static OTHER: LazyLock<Secret> = LazyLock::new(|| Secret::new("of staging").unwrap());
    static DIAGNOSING: LazyLock<Verifier> = LazyLock::new(|| {
        let seconds = AtomicU64::new(0);
        // Each diagnosis has a second of its own, so that none is one too many.
        let clock = move || {
            let seconds = seconds.fetch_add(1, Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Verifier::new(SECRET.clone()).recognize("staging", OTHER.clone()).diagnose(clock)
    });
    static PLAIN: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(SECRET.clone()));
    let Ok(mismatch) = Mismatch::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let secret = if mismatch.by_other { &*OTHER } else { &*SECRET };
    let header = match mismatch.signed {
        Some(body) => secret.sign(body).to_string().into_bytes(),
        None => mismatch.header.to_vec(),
    };
    let body = Bytes::copy_from_slice(mismatch.body);
    let [plain, diagnosing] =
        [&PLAIN, &DIAGNOSING].map(|verifier| verifier.verify(&header, body.clone()));
    match (plain, diagnosing) {
        (Ok(plain), Ok(diagnosing)) => {
            assert_eq!((plain.body(), diagnosing.body()), (&body, &body));
        }
        (Err(plain), Err(diagnosing)) => {
            assert_eq!(plain.kind(), diagnosing.kind());
            assert!(plain.diagnosis().is_none());
        }
        (plain, diagnosing) => panic!("{plain:?}, but diagnosed {diagnosing:?}"),
    }
}
