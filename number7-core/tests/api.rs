//! What users of the API see beside deliveries and events: texts, defaults, misuse.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    error::Error,
    panic::{UnwindSafe, catch_unwind},
    time::Duration,
};

use bytes::Bytes;
use number7_core::{
    DEFAULT_BODY_LIMIT, DEFAULT_BODY_TIMEOUT, DEFAULT_MAX_HELD_BODIES, DEFAULT_SECRET_NAME,
    Delivery, Event, FromDelivery, JobId, Rejection, RejectionKind, SIGNATURE_HEADER, Secret,
    Signature, Timestamp, Verifier, adapter,
};

const BODY: &str = r#"{"event":"job.completed","jobId":"job_abc123"}"#;

fn secret() -> Secret {
    Secret::new("a long random secret").unwrap()
}

fn delivery(body: &'static str) -> Delivery {
    let signature = secret().sign(body).to_string();
    Verifier::new(secret()).verify(signature, body).unwrap()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    assert_eq!(SIGNATURE_HEADER, "x-number7ai-signature");
    assert_eq!(DEFAULT_BODY_LIMIT, 65_536);
    assert_eq!(DEFAULT_BODY_TIMEOUT, Duration::from_secs(10));
    assert_eq!(DEFAULT_MAX_HELD_BODIES, 1024);
    assert_eq!(delivery(BODY).signed_by(), DEFAULT_SECRET_NAME);
}

#[test]
fn every_kind_has_its_status_and_only_one_asks_to_come_again() {
    for (kind, status) in [
        (RejectionKind::MissingSignature, 401),
        (RejectionKind::RepeatedSignature, 401),
        (RejectionKind::MalformedSignature, 401),
        (RejectionKind::BodyTooLarge, 413),
        (RejectionKind::TooManyBodies, 503),
        (RejectionKind::BodyTooSlow, 408),
        (RejectionKind::BodyBrokenOff, 400),
        (RejectionKind::SignatureMismatch, 401),
        (RejectionKind::BodyEncoded, 415),
        (RejectionKind::TooOld, 401),
        (RejectionKind::Untypable, 400),
        (RejectionKind::MissingMiddleware, 500),
    ] {
        let rejection = Rejection::from(kind);
        assert_eq!((rejection.kind(), rejection.status_code()), (kind, status));
        let comes_again = (status == 503).then_some(Duration::from_secs(1));
        assert_eq!(rejection.retry_after(), comes_again);
        assert_eq!(rejection.response_text().contains("VerifyNumber7"), status == 500);
        assert_eq!(rejection.response_text().is_empty(), status != 500);
        let text = rejection.to_string();
        assert!(text.len() > 20 && !text.ends_with('.'), "{text}");
        let debug = format!("{rejection:?}");
        assert!(
            debug.starts_with(&format!("Rejection {{ kind: {kind:?}, because: None")),
            "{debug}"
        );
    }
}

#[test]
fn a_rejection_quotes_our_own_reason_and_not_a_users() {
    let rejection = adapter::extract::<Event>(Some(&delivery(BODY))).unwrap_err();
    assert!(rejection.to_string().ends_with("what the handler asks for"), "{rejection}");
    let text = rejection.log_text();
    assert!(text.ends_with("asks for: field `fileStatus` is missing"), "{text}");
    assert_eq!(rejection.source().unwrap().to_string(), "field `fileStatus` is missing");

    #[derive(Debug)]
    struct Quoting;
    impl FromDelivery for Quoting {
        type Error = String;

        fn from_delivery(delivery: &Delivery) -> Result<Self, String> {
            Err(format!("{:?}", delivery.body()))
        }
    }
    let rejection = adapter::extract::<Quoting>(Some(&delivery(BODY))).unwrap_err();
    assert!(!rejection.log_text().contains("job_abc123"), "{}", rejection.log_text());
    assert!(!format!("{rejection:?}").contains("job_abc123"), "{rejection:?}");
    assert!(rejection.source().unwrap().to_string().contains("job_abc123"));
}

#[test]
fn debug_shows_neither_secret_nor_signature_nor_body() {
    assert_eq!(format!("{:?}", secret()), "Secret(..)");
    assert_eq!(format!("{:?}", secret().sign(BODY)), "Signature(..)");
    assert_eq!(
        format!("{:?}", delivery(BODY)),
        r#"Delivery { bytes: 46, signed_by: "primary", .. }"#
    );
    let verifier = Verifier::named("new", secret()).also_accept("old", secret());
    let shown = format!("{verifier:?}");
    assert!(shown.contains(r#"["new", "old"]"#) && !shown.contains("random"), "{shown}");
    let signature = [b'0'; 64];
    let mut intake = verifier.begin([(SIGNATURE_HEADER, &signature[..])]).unwrap();
    intake.push(BODY.into()).unwrap();
    assert_eq!(format!("{intake:?}"), "Intake { bytes: 46, .. }");
    let error = Secret::new("").unwrap_err();
    assert_eq!(format!("{error:?}"), "the secret is empty");
}

#[test]
fn a_wrong_setting_fails_where_it_is_made() {
    #[track_caller]
    fn panics<T>(set: impl FnOnce(Verifier) -> T + UnwindSafe) {
        assert!(catch_unwind(|| set(Verifier::new(secret()))).is_err());
    }
    panics(|verifier| verifier.body_limit(0));
    panics(|verifier| verifier.body_timeout(Duration::ZERO));
    panics(|verifier| verifier.max_held_bodies(0));
    panics(|verifier| verifier.max_age(Duration::ZERO));
    panics(|verifier| verifier.also_accept(DEFAULT_SECRET_NAME, secret()));
    panics(|verifier| verifier.also_accept("old", secret()).also_accept("old", secret()));
}

#[test]
fn the_limit_is_the_last_length_that_is_accepted() {
    let verifier = Verifier::new(secret()).body_limit(BODY.len());
    let signature = secret().sign(BODY).to_string();
    let begin = |length: usize| {
        let length = length.to_string();
        let headers =
            [(SIGNATURE_HEADER, signature.as_bytes()), ("Content-Length", length.as_bytes())];
        verifier.begin(headers).map(drop).map_err(|rejection| rejection.kind())
    };
    assert_eq!(begin(BODY.len()), Ok(()));
    assert_eq!(begin(BODY.len() + 1), Err(RejectionKind::BodyTooLarge));
    assert!(verifier.verify(&signature, BODY).is_ok());
    let rejection = verifier.verify(&signature, format!("{BODY} ")).unwrap_err();
    assert_eq!(rejection.kind(), RejectionKind::BodyTooLarge);
}

#[test]
fn an_encoded_body_is_refused_only_once_it_is_known_to_be_authentic() {
    let verifier = Verifier::new(secret());
    let finish = |signature: Signature| {
        let signature = signature.to_string();
        let headers = [(SIGNATURE_HEADER, signature.as_bytes()), ("content-encoding", b"gzip")];
        let mut intake = verifier.begin(headers).unwrap();
        intake.push(BODY.into()).unwrap();
        intake.finish().unwrap_err().kind()
    };
    assert_eq!(finish(secret().sign(BODY)), RejectionKind::BodyEncoded);
    assert_eq!(finish(secret().sign("{}")), RejectionKind::SignatureMismatch);
}

#[test]
fn parts_of_an_event_compare_and_convert_as_values_do() {
    let key = delivery(BODY).idempotency_key().unwrap();
    assert_eq!((key.event(), key.job_id().as_str()), ("job.completed", "job_abc123"));
    assert_eq!(key.to_string(), "job.completed:job_abc123");

    let id = JobId::from("job_abc123");
    assert_eq!(id.to_string(), "job_abc123");
    assert_eq!((id.as_ref(), format!("{id:?}")), ("job_abc123", r#""job_abc123""#.to_owned()));
    assert_eq!(String::from(id), "job_abc123");
    assert_eq!(Bytes::from_delivery(&delivery(BODY)).unwrap(), BODY);

    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let (one, same, other) =
        ("2026-04-22T10:00:00Z", "2026-04-22T12:00:00+02:00", "2026-04-22T10:00:01Z");
    assert_ne!(at(one), at(other));
    assert_eq!(HashSet::from([at(one), at(same), at(other)]).len(), 2);
    assert_eq!(format!("{:?}", at(same)), format!("{same:?}"));

    let unknown = |json: &str| Event::from_json(json).unwrap();
    assert_ne!(unknown(r#"{"event":"a"}"#), unknown(r#"{"event":"b"}"#));
    assert_ne!(unknown(r#"{"event":"a"}"#), unknown(r#"{"event":"a", "x":1}"#));
    assert_ne!(secret().sign("a"), secret().sign("b"));
}

#[test]
fn every_header_is_looked_at_in_either_case() {
    let signature = secret().sign(BODY).to_string();
    let answer = |more: &[(&str, &str)]| {
        let headers = [("X-Number7AI-Signature", &*signature)];
        let headers = headers.iter().chain(more).map(|(name, value)| (*name, value.as_bytes()));
        let mut intake = Verifier::new(secret()).begin(headers).map_err(|error| error.kind())?;
        intake.push(BODY.into()).map_err(|error| error.kind())?;
        intake.finish().map(drop).map_err(|error| error.kind())
    };
    assert_eq!(answer(&[]), Ok(()));
    let encoded = Err(RejectionKind::BodyEncoded);
    assert_eq!(answer(&[("content-encoding", "gzip"), ("Content-Encoding", "identity")]), encoded);
    assert_eq!(answer(&[("content-encoding", "identity"), ("Content-Encoding", "gzip")]), encoded);
    let large = Err(RejectionKind::BodyTooLarge);
    assert_eq!(answer(&[("content-length", "65537"), ("content-length", "46")]), large);
    assert_eq!(answer(&[("content-length", "46"), ("content-length", "65537")]), large);
    let repeated = Err(RejectionKind::RepeatedSignature);
    assert_eq!(answer(&[(SIGNATURE_HEADER, &signature)]), repeated);
}

#[test]
fn a_signature_is_taken_as_it_is_and_not_trimmed() {
    let signature = secret().sign(BODY).to_string();
    for around in [format!(" {signature}"), format!("{signature} "), format!("{signature}\n")] {
        let rejection = Verifier::new(secret()).verify(around, BODY).unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::MalformedSignature);
    }
}

#[test]
fn each_of_many_secrets_is_tried() {
    let other = |text: &str| Secret::new(text).unwrap();
    let verifier = Verifier::named("1", other("one"))
        .also_accept("2", other("two"))
        .also_accept("3", other("three"));
    for (name, text) in [("1", "one"), ("2", "two"), ("3", "three")] {
        let signature = other(text).sign(BODY).to_string();
        assert_eq!(verifier.verify(signature, BODY).unwrap().signed_by(), name);
    }
    assert!(verifier.verify(other("four").sign(BODY).to_string(), BODY).is_err());
}
