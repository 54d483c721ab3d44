//! What the receiver is told of the cause where a signature does not match.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use number7_core::{
    DIAGNOSES_PER_SECOND, Diagnosis, DiagnosisKind as Kind, RejectionKind, SIGNATURE_HEADER,
    Secret, Signature, Verifier,
};

const SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0cw";
const BODY: &str = r#"{"event":"job.failed","jobId":"job_abc123","fileStatus":"failed","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z","error":"straße <3 & http://x/y?a='b'"}"#;

fn secret(text: impl AsRef<[u8]>) -> Secret {
    Secret::new(text).unwrap()
}

/// Diagnoses everything: its clock is a second later at each call.
fn verifier() -> Verifier {
    let seconds = AtomicU64::new(1);
    let clock = move || {
        let second = seconds.fetch_add(1, Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    };
    Verifier::new(secret(SECRET))
        .also_accept("old", secret("the old secret"))
        .recognize("staging", secret("the secret of staging"))
        .clock(clock)
        .diagnose()
}

#[track_caller]
fn found(signature: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Option<Diagnosis> {
    let body = Bytes::copy_from_slice(body.as_ref());
    let rejection = verifier().verify(signature, body).unwrap_err();
    assert_eq!(rejection.status_code(), 401);
    rejection.diagnosis().cloned()
}

/// What is found if one text is signed and another arrives.
#[track_caller]
fn changed(signed: impl AsRef<[u8]>, arrived: impl AsRef<[u8]>) -> Option<(Kind, bool)> {
    let diagnosis = found(secret(SECRET).sign(signed).to_string(), arrived)?;
    assert_eq!(diagnosis.secret(), diagnosis.is_certain().then_some("primary"));
    Some((diagnosis.kind(), diagnosis.is_certain()))
}

/// The HMAC under a key that no [`Secret`] may have.
fn sign_with(key: &[u8], body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(body.as_bytes());
    Signature::from_bytes(mac.finalize().into_bytes().into()).to_string()
}

#[test]
fn another_environments_secret_is_named() {
    let diagnosis = found(secret("the secret of staging").sign(BODY).to_string(), BODY).unwrap();
    assert_eq!(diagnosis.kind(), Kind::RecognizedSecret);
    assert_eq!(diagnosis.secret(), Some("staging"));
    assert!(diagnosis.is_certain());
    assert_eq!(
        diagnosis.to_string(),
        "signed with a secret that is not accepted here [secret \"staging\"]: give the sender the \
         URL of its own environment, or this receiver that secret"
    );
    assert_eq!(format!("{diagnosis:?}"), format!("Diagnosis(RecognizedSecret: {diagnosis})"));
}

#[test]
fn a_secret_that_was_copied_badly_is_told() {
    for (key, kind) in [
        (format!("{SECRET}\n"), Kind::SecretNewline),
        (format!("{SECRET}\r\n"), Kind::SecretNewline),
        (format!("{SECRET}\\n"), Kind::SecretNewline),
        (format!(" {SECRET}"), Kind::SecretWhiteSpace),
        (format!("{SECRET} "), Kind::SecretWhiteSpace),
        (format!("{SECRET}\t"), Kind::SecretWhiteSpace),
        (format!("\"{SECRET}\""), Kind::SecretQuoted),
        (format!("'{SECRET}'"), Kind::SecretQuoted),
        ("secret-of-the-tests".to_owned(), Kind::SecretDecoded),
        (SECRET.bytes().map(|byte| format!("{byte:02x}")).collect(), Kind::SecretEncoded),
        ("YzJWamNtVjBMVzltTFhSb1pTMTBaWE4wY3c=".to_owned(), Kind::SecretEncoded),
        (String::new(), Kind::SecretMissing),
        ("undefined".to_owned(), Kind::SecretMissing),
    ] {
        let diagnosis = found(sign_with(key.as_bytes(), BODY), BODY);
        let diagnosis = diagnosis.unwrap_or_else(|| panic!("{kind:?} is not found: {key:?}"));
        assert_eq!((diagnosis.kind(), diagnosis.is_certain()), (kind, true), "{key:?}");
        let names = matches!(kind, Kind::SecretMissing).then_some("primary");
        assert_ne!(diagnosis.secret(), names, "{key:?}");
    }
    // Of the other secrets too, each by its name.
    let diagnosis = found(sign_with(b"the secret of staging\n", BODY), BODY).unwrap();
    assert_eq!((diagnosis.kind(), diagnosis.secret()), (Kind::SecretNewline, Some("staging")));
    let diagnosis = found(sign_with(b"the old secret\n", BODY), BODY).unwrap();
    assert_eq!((diagnosis.kind(), diagnosis.secret()), (Kind::SecretNewline, Some("old")));
}

#[test]
fn a_secret_that_the_receiver_holds_wrongly_is_told() {
    let now = || SystemTime::UNIX_EPOCH;
    for (held, signed_with, kind) in [
        ("\"quoted\"", "quoted", Kind::SecretUnquoted),
        ("'quoted'", "quoted", Kind::SecretUnquoted),
        ("666f6f", "foo", Kind::SecretDecoded),
        ("666F6F", "foo", Kind::SecretDecoded),
        ("Zm9v", "foo", Kind::SecretDecoded),
        ("_-8=", "\u{7ff}", Kind::SecretDecoded),
        ("foo", "666f6f", Kind::SecretEncoded),
        ("foo", "666F6F", Kind::SecretEncoded),
        ("foo", "Zm9v", Kind::SecretEncoded),
    ] {
        let key = match signed_with {
            "\u{7ff}" => &b"\xff\xef"[..],
            text => text.as_bytes(),
        };
        let verifier = Verifier::new(secret(held)).clock(now).diagnose();
        let rejection = verifier.verify(sign_with(key, BODY), BODY).unwrap_err();
        assert_eq!(rejection.diagnosis().unwrap().kind(), kind, "{held:?} {signed_with:?}");
    }
}

#[test]
fn a_body_that_was_changed_on_its_way_is_told() {
    let lf = BODY.replace(',', ",\n");
    let crlf = lf.replace('\n', "\r\n");
    let latin1: Vec<u8> = BODY.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let mojibake: String = BODY.bytes().map(char::from).collect();
    let marked = format!("\u{feff}{BODY}");
    let certain = |signed: &[u8], arrived: &[u8], kind| {
        assert_eq!(
            changed(signed, arrived),
            Some((kind, true)),
            "{} arrived as {}",
            String::from_utf8_lossy(signed),
            String::from_utf8_lossy(arrived)
        );
    };
    for (signed, arrived, kind) in [
        (BODY, &*format!("{BODY}\n"), Kind::FinalNewlineAdded),
        (BODY, &format!("{BODY}\r\n"), Kind::FinalNewlineAdded),
        (&format!("{BODY}\n"), BODY, Kind::FinalNewlineLost),
        (&format!("{BODY}\r\n"), BODY, Kind::FinalNewlineLost),
        (&lf, &crlf, Kind::LineEndings),
        (&crlf, &lf, Kind::LineEndings),
        (BODY, &marked, Kind::ByteOrderMark),
        (&marked, BODY, Kind::ByteOrderMark),
        ("", BODY, Kind::SignedNothing),
        ("[object Object]", BODY, Kind::SignedNothing),
        ("{}", BODY, Kind::SignedNothing),
        ("{}", "", Kind::SignedNothing),
    ] {
        certain(signed.as_bytes(), arrived.as_bytes(), kind);
    }
    certain(BODY.as_bytes(), &latin1, Kind::TextEncoding);
    certain(&latin1, BODY.as_bytes(), Kind::TextEncoding);
    certain(BODY.as_bytes(), mojibake.as_bytes(), Kind::TextEncoding);
    let utf16: Vec<u8> = BODY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    certain(BODY.as_bytes(), &utf16, Kind::TextEncoding);
    certain(BODY.as_bytes(), &[b"\xff\xfe", &*utf16].concat(), Kind::TextEncoding);
    certain(&utf16, BODY.as_bytes(), Kind::TextEncoding);
}

#[test]
fn json_that_was_serialized_again_is_told_with_its_form() {
    let python = r#"{"event": "job.failed", "jobId": "job_abc123", "fileStatus": "failed", "documentType": "invoice", "timestamp": "2026-04-22T10:00:00.000Z", "error": "stra\u00dfe <3 & http://x/y?a='b'"}"#;
    let php = r#"{"event":"job.failed","jobId":"job_abc123","fileStatus":"failed","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z","error":"stra\u00dfe <3 & http:\/\/x\/y?a='b'"}"#;
    let go = r#"{"event":"job.failed","jobId":"job_abc123","fileStatus":"failed","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z","error":"straße \u003c3 \u0026 http://x/y?a='b'"}"#;
    let sorted = r#"{"documentType":"invoice","error":"straße <3 & http://x/y?a='b'","event":"job.failed","fileStatus":"failed","jobId":"job_abc123","timestamp":"2026-04-22T10:00:00.000Z"}"#;
    let pretty = BODY
        .replace("\":\"", "\": \"")
        .replace("\",\"", "\",\n  \"")
        .replace('{', "{\n  ")
        .replace('}', "\n}");
    let forms = [
        (BODY, "compact"),
        (python, "json.dumps"),
        (php, "PHP"),
        (go, "Go"),
        (sorted, "sorted by name"),
        (&pretty, "indented by 2"),
        (&format!("{pretty}\n"), "indented by 2"),
        (&pretty.replace("  \"", "    \""), "indented by 4"),
        (&pretty.replace("  \"", "\t\""), "tabs"),
        (&pretty.replace("\":", "\" :"), "Jackson"),
    ];
    for (signed, form) in forms {
        for (arrived, _) in forms {
            if signed.trim_end() == arrived.trim_end() {
                continue;
            }
            let diagnosis = found(secret(SECRET).sign(signed).to_string(), arrived);
            let diagnosis = diagnosis.unwrap_or_else(|| panic!("{signed} arrived as {arrived}"));
            assert_eq!(diagnosis.kind(), Kind::Reserialized, "{signed} arrived as {arrived}");
            assert!(diagnosis.is_certain());
            // The form in which it arrived needs not be told.
            let text = diagnosis.to_string();
            assert!(text.contains(form) || !["PHP", "Go"].contains(&form), "{form}: {text}");
        }
    }
    let text = found(secret(SECRET).sign(php).to_string(), BODY).unwrap().to_string();
    assert_eq!(
        text,
        "the JSON was parsed and serialized again after the signing (what was signed is compact, as \
         JavaScript's JSON.stringify writes it, with / and non-ASCII escaped, as PHP does) [secret \
         \"primary\"]: sign and send the same bytes, and let nothing on the way parse the body; curl -d takes line \
         breaks out, --data-binary does not"
    );
}

/// Fails unless the form of the JSON that was signed is told.
#[track_caller]
fn assert_form(signed: &str, arrived: &str, form: &str) {
    let diagnosis = found(secret(SECRET).sign(signed).to_string(), arrived);
    let diagnosis = diagnosis.unwrap_or_else(|| panic!("{form} is not told"));
    assert_eq!((diagnosis.kind(), diagnosis.is_certain()), (Kind::Reserialized, true), "{form}");
    assert!(diagnosis.to_string().contains(form), "{form}: {diagnosis}");
}

/// A text with all that serializers treat differently, as each of them writes it.
#[test]
fn each_serializer_is_told_by_what_it_escapes() {
    let body = |error: &str| format!(r#"{{"event":"job.failed","pages":[],"error":"{error}"}}"#);
    let json = body("é/<&='\\\"\\\\\\b\\f\\n\\r\\t\\u001f\u{7f}\u{2028}\u{80}+`");
    let forms = [
        ("\\u00e9/<&='\\\"\\\\\\b\\f\\n\\r\\t\\u001f\\u007f\\u2028\\u0080+`", "as Python does"),
        ("\\u00e9\\/<&='\\\"\\\\\\b\\f\\n\\r\\t\\u001f\u{7f}\\u2028\\u0080+`", "as PHP does"),
        ("é/\\u003c\\u0026='\\\"\\\\\\b\\f\\n\\r\\t\\u001f\u{7f}\\u2028\u{80}+`", "as Go does"),
        (
            "é/\\u003c\\u0026\\u003d\\u0027\\\"\\\\\\b\\f\\n\\r\\t\\u001f\u{7f}\\u2028\u{80}+`",
            "as Java's Gson does",
        ),
        (
            "\\u00E9/\\u003C\\u0026=\\u0027\\u0022\\\\\\b\\f\\n\\r\\t\\u001F\\u007F\\u2028\\u0080\\u002B\\u0060",
            "as .NET does",
        ),
    ];
    for (error, form) in forms {
        assert_form(&body(error), &json, form);
    }
}

#[test]
fn each_serializer_is_told_by_its_white_space() {
    let json = r#"{"event":"job.failed","pages":[1,2]}"#;
    let lines = |indent: &str, comma: &str, colon: &str| {
        format!(
            "{{\n{indent}\"event\"{colon}\"job.failed\"{comma}\n{indent}\"pages\"{colon}[\n{indent}{indent}1{comma}\n\
             {indent}{indent}2\n{indent}]\n}}"
        )
    };
    let jackson = "{\n  \"event\" : \"job.failed\",\n  \"pages\" : [ 1, 2 ]\n}";
    for (signed, form) in [
        (lines("  ", ",", ": "), "indented by 2)"),
        (lines("  ", ",", ": ").replace('\n', "\r\n"), "indented by 2, with Windows' line endings"),
        (jackson.to_owned(), "indented by 2, as Java's Jackson writes it"),
    ] {
        assert_form(&signed, json, form);
    }
    let (empty, compact) = ("{\n  \"pages\": []\n}", r#"{"pages":[]}"#);
    assert_form(empty, compact, "indented by 2)");
    let nested = r#"{"pages":[{"a":1}]}"#;
    let indented = "{\n  \"pages\": [\n    {\n      \"a\": 1\n    }\n  ]\n}";
    assert_form(indented, nested, "indented by 2)");
    let jackson = "{\n  \"pages\" : [ {\n    \"a\" : 1\n  } ]\n}";
    assert_form(jackson, nested, "as Java's Jackson writes it");
}

#[test]
fn what_became_of_the_fields_is_told() {
    let json = r#"{"timestamp":"t","jobId":"j","event":"e","error":null,"documentType":"d","fileStatus":"f","pages":[{"b":null,"a":1}]}"#;
    for (signed, form) in [
        (
            r#"{"event":"e","jobId":"j","fileStatus":"f","documentType":"d","timestamp":"t","error":null,"pages":[{"b":null,"a":1}]}"#,
            "with its fields in the published order",
        ),
        (
            r#"{"documentType":"d","error":null,"event":"e","fileStatus":"f","jobId":"j","pages":[{"a":1,"b":null}],"timestamp":"t"}"#,
            "with its fields sorted by name",
        ),
        (
            r#"{"timestamp":"t","jobId":"j","event":"e","documentType":"d","fileStatus":"f","pages":[{"a":1}]}"#,
            "without its null fields",
        ),
    ] {
        assert_form(signed, json, form);
    }
    let escaped = r#"{ "event": "\u0041" }"#;
    assert_form(&escaped.replace(' ', ""), escaped, "JSON.stringify writes it)");
    let [with, without] = [r#"{"event":"e","error":null}"#, r#"{"event":"e"}"#];
    assert_form(with, without, "with a null error");
}

#[test]
fn text_in_another_encoding_is_told() {
    // The bytes of UTF-8, taken for characters of Windows.
    let euro = |sign: &str| format!(r#"{{"event":"job.failed","error":"{sign}"}}"#);
    assert_eq!(changed(euro("€"), euro("â‚¬")), Some((Kind::TextEncoding, true)));
    let windows: Vec<u8> = euro("?").bytes().map(|b| if b == b'?' { 0x80 } else { b }).collect();
    assert_eq!(changed(euro("€"), windows), Some((Kind::TextEncoding, true)));
    let suggested = |body: &[u8]| found(sign_with(b"nobody's", BODY), body).unwrap().kind();
    assert_eq!(suggested(b"{\"a\":\"\xc3"), Kind::CutOff);
    assert_eq!(suggested(b"{\"a\":\"\xe9\"}"), Kind::TextEncoding);
}

/// Forms and JSON that are none, for one reason or another.
#[test]
fn what_looks_like_nothing_known_has_no_diagnosis() {
    for body in ["a=1&b", "a=1&b=", "a=1&b=2é", "a=1 b=2", r#"{"a":1,}"#, "a", "[1]"] {
        assert_eq!(found(sign_with(b"nobody's", BODY), body), None, "{body}");
    }
}

#[test]
fn what_a_request_looks_like_is_no_certainty() {
    let headers = |more: &[(&'static str, &'static str)], body: &'static [u8]| {
        let signature = secret(SECRET).sign(BODY).to_string();
        let headers = [(SIGNATURE_HEADER, signature.as_bytes())];
        let more = more.iter().map(|(name, value)| (*name, value.as_bytes()));
        let mut intake = verifier().begin(headers.into_iter().chain(more)).unwrap();
        intake.push(Bytes::from_static(body)).unwrap();
        let rejection = intake.finish().unwrap_err();
        rejection.diagnosis().map(|found| (found.kind(), found.is_certain()))
    };
    let zip = [("content-encoding", "gzip")];
    for (more, body, kind) in [
        (&[][..], &b""[..], Some(Kind::EmptyBody)),
        (&[], b"\n", Some(Kind::EmptyBody)),
        (&[], b"\x1f\x8b\x08rest", Some(Kind::Compressed)),
        (&zip, b"\x1f\x8b\x08rest", Some(Kind::Compressed)),
        (&[], b"\x78\x9crest", Some(Kind::Compressed)),
        (&[], b"x^rest", Some(Kind::Compressed)),
        (&[], b"\xff\xfe{\0}\0", Some(Kind::TextEncoding)),
        (&[], b"{\0}\0", Some(Kind::TextEncoding)),
        (&[], b"{\"event\":\"\xef\xbf\xbd\"}", Some(Kind::TextEncoding)),
        (&zip, b"{\"event\":1}", Some(Kind::Decompressed)),
        (&[], b"{\"event\":\"job.comp", Some(Kind::CutOff)),
        (&[], b"{\"event\":{\"name\":1}", Some(Kind::CutOff)),
        (&[], b"{\"event\":\"}\"", Some(Kind::CutOff)),
        (&[], b"event=job.completed&jobId=job_1&more=x", Some(Kind::FormEncoded)),
        (&[], b"{\"event\":\"job.completed\"}", None),
        (&[], b"{\"event\":\"{\"}", None),
        (&[], b"something else", None),
    ] {
        let body_text = String::from_utf8_lossy(body);
        assert_eq!(headers(more, body), kind.map(|kind| (kind, false)), "{body_text}");
    }
}

#[test]
fn a_malformed_header_is_told_by_its_looks() {
    let hex = secret(SECRET).sign(BODY).to_string();
    let base64 = "dRB+oOslCfwhEiHM6YS4o3VwtrW3WG0YIrJGtzeMnhc=";
    for (value, kind) in [
        (format!("sha256={hex}"), Some(Kind::SignaturePrefix)),
        (format!("sha256={base64}"), Some(Kind::SignaturePrefix)),
        (format!("v1={hex}"), Some(Kind::SignaturePrefix)),
        (format!("HMAC-SHA256 {hex}"), Some(Kind::SignaturePrefix)),
        (format!("0x{hex}"), Some(Kind::SignaturePrefix)),
        (base64.to_owned(), Some(Kind::SignatureBase64)),
        (base64.trim_end_matches('=').to_owned(), Some(Kind::SignatureBase64)),
        ("a".repeat(40), Some(Kind::SignatureOtherHash)),
        ("A".repeat(128), Some(Kind::SignatureOtherHash)),
        (format!("{hex},{hex}"), Some(Kind::SignatureList)),
        (format!("t=1,v1={hex}"), Some(Kind::SignatureList)),
        (format!("\"{hex}\""), Some(Kind::SignatureQuoted)),
        (format!("{} {}", &hex[..32], &hex[32..]), Some(Kind::SignatureWhiteSpace)),
        (format!("{hex}\n"), Some(Kind::SignatureWhiteSpace)),
        (String::new(), None),
        ("=".to_owned(), None),
        (hex[1..].to_owned(), None),
        (format!("{hex}0"), None),
        ("tomorrow".to_owned(), None),
        ("sha256=tomorrow".to_owned(), None),
        (format!("{}.{}", "z".repeat(13), "z".repeat(14)), None),
    ] {
        let rejection = verifier().verify(&value, BODY).unwrap_err();
        assert_eq!(rejection.kind(), RejectionKind::MalformedSignature, "{value}");
        assert_eq!(rejection.diagnosis().map(Diagnosis::kind), kind, "{value}");
        assert!(rejection.diagnosis().is_none_or(|found| !found.is_certain()), "{value}");
    }
}

#[test]
fn another_hash_is_named() {
    for (digits, name) in
        [(32, "MD5"), (40, "SHA-1"), (56, "SHA-224"), (96, "SHA-384"), (128, "SHA-512")]
    {
        let diagnosis = found("a".repeat(digits), BODY).unwrap();
        assert!(diagnosis.to_string().contains(name), "{name}: {diagnosis}");
    }
    for (digits, padding, name) in [(27, "=", "SHA-1"), (64, "", "SHA-384"), (86, "==", "SHA-512")]
    {
        let diagnosis = found("z".repeat(digits) + padding, BODY).unwrap();
        assert!(diagnosis.to_string().contains(name), "{name} in base64: {diagnosis}");
    }
}

#[test]
fn nothing_is_looked_for_unless_it_was_asked_for() {
    let verifier = Verifier::new(secret(SECRET)).recognize("staging", secret("staging"));
    let mismatch = verifier.verify(secret(SECRET).sign("{}").to_string(), "{}\n").unwrap_err();
    assert_eq!(mismatch.diagnosis(), None);
    assert!(!mismatch.to_string().contains("cause"), "{mismatch}");
    let malformed = verifier.verify("sha256=", "{}").unwrap_err();
    assert_eq!(malformed.diagnosis(), None);
}

#[test]
fn a_large_body_is_looked_into_as_far_as_the_time_allows() {
    // The simple causes are tried, however many secrets there are.
    let large = format!("{{\"event\":\"{}\"}}", "x".repeat(16_000));
    assert_eq!(changed(&large, format!("{large}\n")), Some((Kind::FinalNewlineAdded, true)));
    let spaced = large.replacen(':', ": ", 1);
    assert_eq!(changed(&large, spaced), Some((Kind::Reserialized, true)));
    let text = verifier().verify("0".repeat(64), large).unwrap_err().to_string();
    assert!(text.ends_with("the body was too large to try them all"), "{text}");
}

#[test]
fn a_secret_that_is_only_recognized_is_said_not_to_be_accepted() {
    let signature = secret("the secret of staging").sign(format!("{BODY}\n")).to_string();
    let text = found(signature, BODY).unwrap().to_string();
    assert!(text.contains("[secret \"staging\", which is not accepted here]"), "{text}");
}

#[test]
fn a_hash_without_a_key_is_told() {
    use sha2::{Digest, Sha256};
    let hash = |body: &str| Signature::from_bytes(Sha256::digest(body).into()).to_string();
    for (hashed, kind) in
        [(BODY, Kind::NotKeyed), (&format!("{BODY}\n"), Kind::NotKeyed), ("", Kind::SignedNothing)]
    {
        let diagnosis = found(hash(hashed), BODY).unwrap();
        assert_eq!((diagnosis.kind(), diagnosis.is_certain()), (kind, true), "{hashed:?}");
    }
}

#[test]
fn a_short_piece_of_a_secret_is_no_key() {
    let verifier =
        Verifier::new(secret("3fz-and-more")).clock(|| SystemTime::UNIX_EPOCH).diagnose();
    let rejection = verifier.verify(sign_with(b"\x3f", BODY), BODY).unwrap_err();
    assert_eq!(rejection.diagnosis(), None);
}

#[test]
fn a_second_has_so_many_diagnoses_and_says_where_there_are_more() {
    let verifier = Verifier::new(secret(SECRET)).clock(|| SystemTime::UNIX_EPOCH).diagnose();
    let forged = || verifier.clone().verify("0".repeat(64), "{}").unwrap_err().to_string();
    for _ in 0..DIAGNOSES_PER_SECOND {
        assert!(forged().contains(": no known cause was found, so compare"), "{}", forged());
    }
    assert!(forged().ends_with("five others were diagnosed in that second"), "{}", forged());
}

#[test]
fn no_body_is_too_odd_and_a_large_one_is_not_looked_into() {
    let (deep, deep_map) = ("[".repeat(16_000), "{\"a\":".repeat(3_000));
    let wide = format!("[{}1]", "1,".repeat(8_000));
    let escapes = format!("\"{}\"", "\\u00e9".repeat(2_500));
    let many = format!("{{{}\"a\":{{}}}}", "\"a\":[{}],".repeat(1_500));
    for body in
        [&*deep, &deep_map, &wide, &escapes, &many, "\"", "{\"", "{\"a\"", "\\", "\u{feff}", "%"]
    {
        assert!(found("0".repeat(64), body).is_none_or(|found| !found.is_certain()), "{body:.9}");
    }
    // JSON is looked into for so many levels.
    for (levels, kind) in [(8, Some((Kind::Reserialized, true))), (9, None)] {
        let json = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(changed(&json, json.replace('1', " 1")), kind, "{levels}");
    }
    let large = format!("{}\n", " ".repeat(16 * 1024));
    let signature = secret(SECRET).sign(large.trim_end()).to_string();
    let rejection = verifier().verify(signature, large).unwrap_err();
    assert!(rejection.to_string().ends_with("larger than 16 KiB"), "{rejection}");
}

#[test]
#[should_panic(expected = "there is a secret named \"staging\" already")]
fn a_recognized_secret_has_a_name_of_its_own() {
    _ = verifier().also_accept("staging", secret("another"));
}
