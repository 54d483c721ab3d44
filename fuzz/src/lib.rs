//! What must hold for every input of number7-core. Each function is a target of `cargo fuzz`, and
//! panics where a rule is broken; the corpus that the fuzzer has found runs as plain tests.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]
#![allow(clippy::must_use_candidate, reason = "a fuzzer looks only for panics")]

use std::{
    fmt,
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
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What an input is given to. It returns what kind of input it was.
pub type Target = fn(&[u8]) -> &'static str;

/// The targets, by their names, with the kinds of inputs that a corpus must have.
pub const TARGETS: [(&str, Target, &[&str]); 5] = [
    (
        "request",
        request,
        &[
            "accepted",
            "missing_signature",
            "repeated_signature",
            "malformed_signature",
            "signature_mismatch",
            "body_too_large",
            "body_encoded",
        ],
    ),
    (
        "event",
        event,
        &["completed", "failed", "unknown", "refused", "no JSON", "too much for `Value`"],
    ),
    ("key", key, &["the same pair", "two pairs", "two bodies"]),
    ("signature", signature, &["a signature", "no signature"]),
    ("diagnosis", diagnosis, &["verified", "recognized", "diagnosed", "not diagnosed"]),
];

/// The kind of bytes that `arbitrary` rejects.
const NOTHING: &str = "nothing";

/// So small that a fuzzer gets over it.
const BODY_LIMIT: usize = 64;

const KEY: &str = "the secret of the fuzzer";

/// A byte order mark.
const MARK: &[u8] = "\u{feff}".as_bytes();

static SECRET: LazyLock<Secret> = LazyLock::new(|| Secret::new(KEY).unwrap());

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
pub fn request(data: &[u8]) -> &'static str {
    let Ok(request) = Request::arbitrary_take_rest(Unstructured::new(data)) else { return NOTHING };
    let headers = request.headers.iter();
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.text(), value.bytes(request.body))).collect();
    let observed = receive(&headers, &chunks(request.body, &request.cuts));

    let values = |name: &str| {
        let named = headers.iter().filter(|header| header.0.eq_ignore_ascii_case(name));
        named.map(|header| String::from_utf8_lossy(&header.1)).collect::<Vec<_>>()
    };
    let signatures = values(SIGNATURE_HEADER);
    let one = match &signatures[..] {
        [one] => Some(&**one),
        _ => None,
    };
    let is_signed = one.is_some_and(|one| one.to_ascii_lowercase() == hmac(request.body));
    let is_large = |text: &str| {
        let digits = text.trim_start_matches('0');
        text.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.len() > 2 || digits.parse().is_ok_and(|number: usize| number > BODY_LIMIT))
    };
    let fits = request.body.len() <= BODY_LIMIT
        && !values("content-length").iter().any(|value| is_large(value));
    let is_encoded = values("content-encoding").iter().any(|value| {
        let mut codings = value.split(',').map(|coding| coding.trim_ascii());
        let plain = ["", "identity", "utf-8", "utf8"];
        codings.any(|coding| !plain.contains(&&*coding.to_ascii_lowercase()))
    });
    match observed {
        Ok(delivery) => {
            assert!(is_signed && fits && !is_encoded, "it was accepted");
            assert_eq!(delivery.body(), request.body);
            "accepted"
        }
        Err(kind) => {
            let is_right = match kind {
                RejectionKind::MissingSignature => signatures.is_empty(),
                RejectionKind::RepeatedSignature => signatures.len() > 1,
                RejectionKind::MalformedSignature => one.is_some_and(|one| !is_hex(one.as_bytes())),
                RejectionKind::SignatureMismatch => {
                    one.is_some_and(|one| is_hex(one.as_bytes())) && !is_signed
                }
                RejectionKind::BodyTooLarge => !fits,
                RejectionKind::BodyEncoded => is_signed && fits && is_encoded,
                _ => false,
            };
            assert!(is_right, "it was refused as {kind:?}");
            kind.name()
        }
    }
}

/// HMAC-SHA256 by its definition.
fn hmac(body: &[u8]) -> String {
    let mut key = [0; 64];
    key[..KEY.len()].copy_from_slice(KEY.as_bytes());
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(body);
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c));
    let hmac = outer.chain_update(inner.finalize()).finalize();
    hmac.iter().map(|byte| format!("{byte:02x}")).collect()
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
pub fn event(data: &[u8]) -> &'static str {
    let json = data.strip_prefix(MARK).unwrap_or(data);
    let (typed, read) = (Event::from_json(data), serde_json::from_slice::<Value>(json));
    if !json.starts_with(MARK) {
        assert_eq!(typed, Event::from_json(json), "a byte order mark makes a difference");
    }
    if let Ok(event) = &typed {
        assert!(!repeats_a_known_name(json), "a field that is known has two values");
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
            // In skipped fields the core allows more than `Value` can hold.
            let error = error.to_string();
            let passed_over = ["number out of range", "surrogate", "hex escape", "recursion limit"];
            let is_passed_over = passed_over.iter().any(|known| error.contains(known));
            assert!(typed.is_err() || is_passed_over, "it was typed, and is no JSON: {error}");
            return if typed.is_ok() { "too much for `Value`" } else { "no JSON" };
        }
    };
    let text = |field: &str| read[field].as_str();
    match typed {
        Ok(Event::Unknown(event)) => {
            assert_eq!(Some(event.name()), text("event"));
            assert_eq!(serde_json::from_str::<Value>(event.json()).unwrap(), read);
            "unknown"
        }
        Ok(event) => {
            assert_eq!(Some(event.name()), text("event"));
            let written = serde_json::to_value(&event).unwrap();
            for (field, value) in written.as_object().unwrap() {
                assert!(field == "timestamp" || read[field] == *value, "{field}");
            }
            let (timestamp, name) = match &event {
                Event::JobCompleted(job) => (&job.timestamp, "completed"),
                Event::JobFailed(job) => (&job.timestamp, "failed"),
                _ => panic!("{event:?} is new to the fuzzer"),
            };
            if let Some(millis) = text("timestamp").and_then(millis) {
                let since = timestamp.to_system_time().duration_since(SystemTime::UNIX_EPOCH);
                assert_eq!(since.unwrap().as_millis(), u128::from(millis));
            }
            name
        }
        Err(error) => {
            let needs = match text("event") {
                Some("job.completed") => &["jobId", "fileStatus", "documentType", "timestamp"][..],
                Some("job.failed") => {
                    &["jobId", "fileStatus", "documentType", "timestamp", "error"]
                }
                Some(_) => &[],
                None => return "no event",
            };
            let is_event = needs.iter().all(|field| text(field).is_some());
            let is_right = match error.kind() {
                EventErrorKind::RepeatedField => repeats_a_known_name(json),
                EventErrorKind::InvalidTimestamp => text("timestamp").and_then(millis).is_none(),
                _ => !is_event,
            };
            assert!(is_right, "it was refused: {error}");
            "refused"
        }
    }
}

/// Milliseconds since 1970 of a time as the vendor writes it, `2026-04-22T10:00:00.000Z`, or with more
/// digits, read naively.
fn millis(text: &str) -> Option<u64> {
    let digits = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let last = text.len().checked_sub(1)?;
    let mut marks =
        [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "."), (last, "Z")].into_iter();
    let is_fraction = text.len() >= 24 && text.as_bytes()[20..last].iter().all(u8::is_ascii_digit);
    if !is_fraction || !marks.all(|(at, mark)| text.get(at..at + 1) == Some(mark)) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let is_day = year >= 1970 && (1..=12).contains(&month) && (1..=28).contains(&day);
    if !is_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let years = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum::<u64>();
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = years + months.iter().take(month as usize - 1).sum::<u64>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + digits(20, 23)?)
}

/// Whether an object has one name that is known twice at its top level.
fn repeats_a_known_name(json: &[u8]) -> bool {
    const KNOWN: [&str; 6] = ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"];

    struct Names(Vec<String>);

    impl<'de> Visitor<'de> for Names {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
            while let Some((name, _)) = map.next_entry::<String, Value>()? {
                self.0.push(name);
            }
            Ok(self)
        }
    }

    let mut json = serde_json::Deserializer::from_slice(json);
    let names = json.deserialize_map(Names(Vec::new()));
    names.is_ok_and(|Names(names)| {
        KNOWN.iter().any(|known| names.iter().filter(|name| name == known).count() > 1)
    })
}

#[derive(Arbitrary)]
enum Bodies<'a> {
    Same(&'a str, &'a str),
    Pairs([(&'a str, &'a str); 2]),
    Odd([(Odd<'a>, Odd<'a>); 2]),
}

/// A field that is written in an odd way, or is odd.
#[derive(Arbitrary)]
enum Odd<'a> {
    Text(&'a str),
    Escaped(&'a str),
    Twice(&'a str, &'a str),
    Number(i16),
    Null,
    Raw(&'a str),
}

impl Odd<'_> {
    fn member(&self, name: &str) -> String {
        let text = |text: &str| Value::from(text).to_string();
        let value = match self {
            Self::Text(value) => text(value),
            Self::Escaped(value) => escaped(value),
            Self::Twice(one, other) => format!(r#"{},"{name}":{}"#, text(one), text(other)),
            Self::Number(number) => number.to_string(),
            Self::Null => "null".to_owned(),
            Self::Raw(raw) => (*raw).to_owned(),
        };
        format!(r#""{name}":{value}"#)
    }
}

/// Two events share a key exactly if they have the same name and the same job, in whatever way they are
/// written; or the same bytes, if one of the two is missing.
pub fn key(data: &[u8]) -> &'static str {
    match Bodies::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Bodies::Same(event, job)) => keys_of_pairs([(event, job); 2]),
        Ok(Bodies::Pairs(pairs)) => keys_of_pairs(pairs),
        Ok(Bodies::Odd(odd)) => {
            keys_of_bodies(odd.map(|(event, job)| {
                format!("{{{},{}}}", event.member("event"), job.member("jobId"))
            }))
        }
        Err(_) => NOTHING,
    }
}

fn keys_of_bodies(bodies: [String; 2]) -> &'static str {
    let [Ok(one), Ok(other)] = bodies.each_ref().map(|json| Record::key_of(json.as_bytes())) else {
        return "no event";
    };
    let [Ok(first), Ok(second)] = bodies.each_ref().map(|json| serde_json::from_str::<Value>(json))
    else {
        return "no value";
    };
    let is_same = ["event", "jobId"].iter().all(|field| first[field] == second[field]);
    assert!(one != other || is_same || bodies[0] == bodies[1], "{one}");
    "two bodies"
}

fn keys_of_pairs(pairs: [(&str, &str); 2]) -> &'static str {
    let [(event, job), (other_event, other_job)] = pairs;
    let one = json!({ "event": event, "jobId": job, "n": 1 }).to_string();
    let (other_event, other_job) = (escaped(other_event), escaped(other_job));
    let other = format!("{{\n \"jobId\" : {other_job},\t\"n\":2,\"event\":{other_event}}}");
    let marked = [MARK, other.as_bytes()].concat();
    let [one, other] = [one, other].map(|json| Record::key_of(json.as_bytes()).unwrap());
    assert_eq!(Record::key_of(&marked).as_ref(), Ok(&other), "a byte order mark is in the key");
    let is_same = pairs[0] == pairs[1] && !event.is_empty() && !job.is_empty();
    assert_eq!(one == other, is_same, "{one} and {other}");
    if is_same { "the same pair" } else { "two pairs" }
}

/// A text of JSON in which every character is escaped.
fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

/// A header value, against a naive reading of hex.
pub fn signature(data: &[u8]) -> &'static str {
    match Signature::parse(data) {
        Ok(signature) => {
            assert!(is_hex(data));
            for (byte, digits) in signature.as_bytes().iter().zip(data.chunks(2)) {
                let digits = std::str::from_utf8(digits).unwrap();
                assert_eq!(u8::from_str_radix(digits, 16), Ok(*byte));
            }
            assert_eq!(signature.to_string().as_bytes(), data.to_ascii_lowercase());
            "a signature"
        }
        Err(_) => {
            assert!(!is_hex(data));
            "no signature"
        }
    }
}

/// The form of a signature.
fn is_hex(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)
}

#[derive(Arbitrary)]
struct Mismatch<'a> {
    body: &'a [u8],
    signed: Option<&'a [u8]>,
    header: &'a [u8],
    by_other: bool,
}

/// A diagnosis changes no verdict, and recognizes the secret of another environment on every body.
pub fn diagnosis(data: &[u8]) -> &'static str {
    static OTHER: LazyLock<Secret> = LazyLock::new(|| Secret::new("of staging").unwrap());
    static DIAGNOSING: LazyLock<Verifier> = LazyLock::new(|| {
        let seconds = AtomicU64::new(0);
        // Each diagnosis has a second of its own, so that none is one too many.
        let clock = move || {
            let seconds = seconds.fetch_add(1, Ordering::Relaxed);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Verifier::new(SECRET.clone()).recognize("staging", OTHER.clone()).clock(clock).diagnose()
    });
    static PLAIN: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(SECRET.clone()));
    let Ok(mismatch) = Mismatch::arbitrary_take_rest(Unstructured::new(data)) else {
        return NOTHING;
    };
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
            "verified"
        }
        (Err(plain), Err(diagnosing)) => {
            assert_eq!(plain.kind(), diagnosing.kind());
            assert!(plain.diagnosis().is_none());
            let diagnosis = diagnosing.diagnosis();
            if mismatch.by_other && mismatch.signed == Some(mismatch.body) {
                assert_eq!(diagnosis.and_then(|found| found.secret()), Some("staging"));
                return "recognized";
            }
            if diagnosis.is_some() { "diagnosed" } else { "not diagnosed" }
        }
        (plain, diagnosing) => panic!("{plain:?}, but diagnosed {diagnosing:?}"),
    }
}
