//! What becomes of the vendor's JSON, and of JSON that comes near it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use number7_core::{
    DocumentType, Event, EventErrorKind, FileStatus, JobCompleted, RejectionKind, Secret, Subject,
    Timestamp, Verifier,
};

const COMPLETED: &str = r#"{"event":"job.completed","jobId":"job_abc123","fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#;
const FAILED: &str = r#"{"event":"job.failed","jobId":"job_abc123","fileStatus":"failed","documentType":"pan_card","timestamp":"2026-04-22T10:00:00.000Z","error":"page 2 is \"blank\""}"#;

#[track_caller]
fn completed(json: &str) -> JobCompleted {
    match Event::from_json(json) {
        Ok(Event::JobCompleted(job)) => job,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(json: impl AsRef<[u8]>) -> (EventErrorKind, Option<&'static str>) {
    let error = Event::from_json(json).unwrap_err();
    (error.kind(), error.field())
}

#[test]
fn the_published_payload_is_typed() {
    let job = completed(COMPLETED);
    assert_eq!(job.job_id.as_str(), "job_abc123");
    assert_eq!(job.file_status, FileStatus::Done);
    assert_eq!(job.document_type, DocumentType::Invoice);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_776_852_000);
    assert_eq!(job.timestamp.to_system_time(), at);
}

#[test]
fn a_failed_job_tells_its_reason() {
    let Ok(Event::JobFailed(job)) = Event::from_json(FAILED) else { panic!("another event") };
    assert_eq!(job.error, r#"page 2 is "blank""#);
    assert_eq!(job.file_status, FileStatus::Failed);
}

#[test]
fn serialization_writes_what_was_sent() {
    let unknown = r#"{"event":"job.archived","x":[1.50,  {"a":1e400}]}"#;
    let offset = COMPLETED.replace("10:00:00.000Z", "15:30:00+05:30");
    let others = COMPLETED.replace("invoice", "visa").replace("done", "archived");
    for json in [COMPLETED, FAILED, unknown, &offset, &others] {
        let event: Event = serde_json::from_str(json).unwrap();
        assert_eq!(event, Event::from_json(json).unwrap());
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }
}

#[test]
fn an_event_can_be_read_from_every_source_of_serde_json() {
    let event = Event::from_json(COMPLETED).unwrap();
    let value: serde_json::Value = serde_json::from_str(COMPLETED).unwrap();
    assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    assert_eq!(serde_json::from_reader::<_, Event>(COMPLETED.as_bytes()).unwrap(), event);
    assert_eq!(COMPLETED.parse::<Event>().unwrap(), event);
}

#[test]
fn an_unknown_event_keeps_its_name_and_its_json() {
    let json = " {\"x\" : 1, \"event\":\"job\\u002earchived\", \"jobId\":7}\n";
    let Ok(Event::Unknown(event)) = Event::from_json(json) else { panic!("another event") };
    assert_eq!(event.name(), "job.archived");
    assert_eq!(event.json(), json.trim());
}

#[test]
fn what_a_known_event_does_not_need_may_be_anything() {
    let nested = "[".repeat(2000) + &"]".repeat(2000);
    let anything = ["null", "7", "1e999", r#"{"a":{"a":1,"a":2}}"#, r#""\ud800""#, &nested];
    for extra in anything {
        let json = COMPLETED.replace('}', &format!(r#","extra":{extra},"error":{extra}}}"#));
        assert_eq!(completed(&json), completed(COMPLETED), "{extra}");
    }
    let two = COMPLETED.replace('}', r#","one":1,"two":2}"#);
    assert_eq!(completed(&two), completed(COMPLETED));
    for other in anything.into_iter().chain(["-7", "1.5", "true", "[[1], {}]"]) {
        let json = format!(r#"{{"jobId":{other},"event":"job.archived","timestamp":{other}}}"#);
        assert_eq!(Event::from_json(json).unwrap().name(), "job.archived", "{other}");
    }
    for name in [r"\ud800", r"x\udc00y", ""] {
        let json = COMPLETED.replace('}', &format!(r#","{name}":1,"{name}":2}}"#));
        assert_eq!(completed(&json), completed(COMPLETED), "{name}");
    }
}

#[test]
fn a_lone_surrogate_is_read_everywhere_but_in_a_job_id() {
    let json = COMPLETED.replace("invoice", r"invoice\ud83d");
    assert!(completed(&json).document_type.as_str().starts_with("invoice\u{fffd}"));
    let wrong = (EventErrorKind::WrongType, Some("jobId"));
    assert_eq!(refused(COMPLETED.replace("job_abc123", r"job\ud83d")), wrong);
    assert_eq!(refused(COMPLETED.replace(r#""job_abc123""#, "1e999")), wrong);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let marked = |json: &str| format!("\u{feff}{json}");
    assert_eq!(completed(&marked(COMPLETED)), completed(COMPLETED));
    let Ok(Event::Unknown(event)) = Event::from_json(marked(r#"{"event":"a"}"#)) else {
        panic!("another event")
    };
    assert_eq!(event.json(), r#"{"event":"a"}"#);
    let marked_json = marked(COMPLETED);
    let subject = Subject::of_json(marked_json.as_bytes()).unwrap();
    assert_eq!(subject, Subject::of_json(COMPLETED.as_bytes()).unwrap());
    let secret = Secret::new("a long random secret").unwrap();
    let deliver = |json: String| {
        let verifier = Verifier::new(secret.clone());
        let verifier = verifier.max_age(Duration::from_secs(1)).clock(|| SystemTime::UNIX_EPOCH);
        verifier.verify(secret.sign(&json).to_string(), json).unwrap()
    };
    let (with, without) = (deliver(marked(COMPLETED)), deliver(COMPLETED.to_owned()));
    assert_eq!(with.event(), without.event());
    assert_eq!(with.idempotency_key(), without.idempotency_key());
    assert_eq!((with.body().len(), with.json()), (without.body().len() + 3, without.json()));
    // One mark, and nowhere else.
    for json in ["\u{feff}\u{feff}{}", " \u{feff}{}", "{}\u{feff}"] {
        assert_eq!(refused(json), (EventErrorKind::NotJson, None), "{json:?}");
    }
}

#[test]
fn names_that_are_not_published_are_kept_as_they_are() {
    let job = completed(&COMPLETED.replace("invoice", "Invoice").replace("done", "archived"));
    let DocumentType::Other(name) = &job.document_type else { panic!("{job:?}") };
    assert_eq!(name.as_str(), "Invoice");
    assert_eq!(job.document_type, DocumentType::from("Invoice"));
    assert_eq!(job.file_status, FileStatus::from("archived"));
    for name in ["invoice", "grn", "bank_statement", "aadhar_card", "pan_card"] {
        assert!(!matches!(DocumentType::from(name), DocumentType::Other(_)), "{name}");
        assert_eq!(DocumentType::from(name).to_string(), name);
    }
    for name in ["uploading", "processing", "scanning", "ai_processing", "done", "failed"] {
        assert!(!matches!(FileStatus::from(name), FileStatus::Other(_)), "{name}");
        assert_eq!(FileStatus::from(name).to_string(), name);
    }
}

#[test]
fn escapes_in_names_and_values_change_nothing() {
    let escaped = COMPLETED.replace("jobId", r"j\u006fbId").replace("job_abc", r"job\u005fabc");
    assert_eq!(completed(&escaped), completed(COMPLETED));
}

#[test]
fn a_text_that_javascript_cut_inside_a_character_is_taken() {
    let json = FAILED.replace(r#"page 2 is \"blank\""#, r"page 2 \ud83d");
    let Ok(Event::JobFailed(job)) = Event::from_json(json) else { panic!("another event") };
    assert!(job.error.starts_with("page 2 \u{fffd}"), "{}", job.error);
}

#[test]
fn a_missing_field_is_named() {
    for name in ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"] {
        let json = FAILED.replace(&format!("\"{name}\""), "\"other\"");
        assert_eq!(refused(json), (EventErrorKind::MissingField, Some(name)));
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(FAILED).unwrap();
    for name in ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"] {
        for wrong in ["null", "7", "-7", "1.5", "true", "[\"a\"]", "{\"a\":1}"] {
            let raw = fields[name].to_string();
            let json = FAILED.replace(&format!("\"{name}\":{raw}"), &format!("\"{name}\":{wrong}"));
            let kind = EventErrorKind::WrongType;
            assert_eq!(refused(json), (kind, Some(name)), "{name} as {wrong}");
        }
    }
}

#[test]
fn a_text_that_is_no_timestamp_is_named() {
    for wrong in ["", "yesterday", "2026-04-22", "1776852000", "2026-13-22T10:00:00Z"] {
        let json = COMPLETED.replace("2026-04-22T10:00:00.000Z", wrong);
        assert_eq!(refused(json), (EventErrorKind::InvalidTimestamp, Some("timestamp")), "{wrong}");
    }
}

#[test]
fn a_field_that_is_known_may_not_be_repeated_and_others_may() {
    let kind = EventErrorKind::RepeatedField;
    let with = |extra: &str| COMPLETED.replace('}', &format!(",{extra}}}"));
    assert_eq!(refused(with(r#""event":"job.failed""#)), (kind, Some("event")));
    assert_eq!(refused(with(r#""j\u006fbId":"job_2""#)), (kind, Some("jobId")));
    assert_eq!(refused(with(r#""error":1,"error":2"#)), (kind, Some("error")));
    let many: Vec<_> = (0..40).map(|n| format!(r#""x{}":1"#, n % 39)).collect();
    for extra in [r#""x":1,"y":1,"x":1"#, r#""x":1,"\u0078":1e999"#, &many.join(",")] {
        assert_eq!(completed(&with(extra)), completed(COMPLETED), "{extra}");
    }
}

#[test]
fn what_is_no_json_object_is_told_apart() {
    for json in ["", "{", "{}{}", "{\"a\":1,}", "not json", "{\"event\":\"a\nb\"}"] {
        assert_eq!(refused(json), (EventErrorKind::NotJson, None), "{json:?}");
    }
    for json in ["[]", "7", "null", "\"job.completed\""] {
        assert_eq!(refused(json), (EventErrorKind::NotAnObject, None), "{json:?}");
    }
    assert_eq!(refused(b"{\"event\":\"\xff\"}"), (EventErrorKind::NotUtf8, None));
    assert_eq!(refused("{}"), (EventErrorKind::MissingField, Some("event")));
}

#[test]
fn an_error_says_where_and_never_what() {
    let error = Event::from_json("{\n \"event\": secret-text").unwrap_err();
    assert_eq!(error.to_string(), "the body is not JSON, at line 2 column 11");
    let error = Event::from_json(r#"{"event":"job.completed"}"#).unwrap_err();
    assert_eq!(error.to_string(), "field `jobId` is missing");
    let error = Event::from_json(r#"{"event":"a","event":"b"}"#).unwrap_err();
    assert_eq!(error.to_string(), "field `event` is given more than once");
    let error = "yesterday".parse::<Timestamp>().unwrap_err();
    assert_eq!(error.to_string(), "not an RFC 3339 timestamp");
}

#[test]
fn a_maximum_age_is_measured_from_the_signed_timestamp() {
    let secret = Secret::new("a long random secret").unwrap();
    let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(1_776_852_000);
    let hour = Duration::from_secs(3600);
    let verify = |body: &str, now: SystemTime| {
        let signature = secret.sign(body).to_string();
        let verifier = Verifier::new(secret.clone()).max_age(hour).clock(move || now);
        verifier.verify(signature, body.to_owned()).map(drop).map_err(|rejection| rejection.kind())
    };
    assert_eq!(verify(COMPLETED, sent + hour), Ok(()));
    assert_eq!(verify(COMPLETED, sent - hour), Ok(()), "a sender's clock may run ahead");
    let too_old = Err(RejectionKind::TooOld);
    assert_eq!(verify(COMPLETED, sent + hour + Duration::from_nanos(1)), too_old);
    assert_eq!(verify(r#"{"event":"job.archived"}"#, sent), too_old);
    assert_eq!(verify("no json", sent), too_old);
    // The age needs no more than the timestamp.
    let timestamp = r#""timestamp":"2026-04-22T10:00:00.00000000000Z""#;
    for rest in [r#""jobId":1,"jobId":2"#, r#""x":1,"x":1"#, r#""documentType":1e999"#] {
        let body = format!(r#"{{"event":"a",{rest},{timestamp}}}"#);
        assert_eq!(verify(&body, sent), Ok(()), "{rest}");
    }
    let twice = format!("{{{timestamp},{timestamp},\"jobId\":1,\"jobId\":2}}");
    assert_eq!(verify(&twice, sent), too_old, "which of them is it");
}
