//! No memory is freed with a secret in it, in any form. It is a single test, because the allocator is that of the
//! whole process.
#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    fs,
    time::{Duration, SystemTime},
};

use number7_client::{ApiKey, Client};
use number7_core::{
    DiagnosisKind, SIGNATURE_HEADER, Secret, SecretErrorKind, Verifier, adapter::Refusal,
};
use number7_tests_allocator::Watch;
use tempfile::NamedTempFile;

const SECRET: &str = "whsec_bnVtYmVyNy1rZXktb2YtdGhlLXRlc3Q";

/// The value of this variable, which cargo sets, is also used as a secret.
const VARIABLE: &str = "CARGO_MANIFEST_DIR";

#[global_allocator]
static ALLOCATOR: Watch = Watch::new(&[
    // The secret, as it is and without its prefix.
    b"bnVtYmVyNy1rZXktb2YtdGhlLXRlc3Q",
    // The decoded secret.
    b"number7-key-of-the-test",
    // Its base64, without the part that depends on padding or alphabet.
    b"d2hzZWNfYm5WdFltVnlOeTFyWlhrdGIyWXRkR2hsTFhSbGMzU",
    // Its hex, in both cases.
    b"77687365635f626e5674596d56794e7931725a586b74623259746447686c4c58526c633351",
    b"77687365635F626E5674596D56794E7931725A586B74623259746447686C4C58526C633351",
    env!("CARGO_MANIFEST_DIR").as_bytes(),
]);

/// How many blocks with the secret in them a call frees.
fn freed<T>(call: impl FnOnce() -> T) -> usize {
    let before = ALLOCATOR.found();
    drop(call());
    ALLOCATOR.found() - before
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// Diagnoses every mismatch.
fn diagnosing() -> Verifier {
    Verifier::new(secret()).recognize("also", secret()).clock(|| SystemTime::UNIX_EPOCH).diagnose()
}

#[test]
fn nothing_of_a_secret_is_in_memory_that_is_freed() {
    assert_eq!(freed(|| SECRET.to_owned()), 1, "the allocator looks");
    assert_eq!(freed(|| SECRET.to_owned() + " "), 2, "it looks at what is left behind by growing");

    assert_eq!(freed(secret), 0, "a secret");
    assert_eq!(freed(|| secret().clone()), 0, "a clone");
    assert_eq!(freed(|| Secret::from_env(VARIABLE).unwrap()), 0, "a variable");
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, [SECRET, "\n"].concat()).unwrap();
    assert_eq!(freed(|| Secret::from_file(&file).unwrap()), 0, "a file");
    let client = || Client::new(ApiKey::new(SECRET).unwrap()).clone();
    assert_eq!(freed(client), 0, "an API key and its clients");
    assert_eq!(freed(|| ApiKey::from_env(VARIABLE).unwrap()), 0, "a variable with a key");
    let refused = |text: &'static str| freed(|| Secret::new(text).unwrap_err());
    assert_eq!(refused("whsec_bnVtYmVyNy1rZXktb2YtdGhlLXRlc3Q\n"), 0, "a secret that is refused");
    let long = || Secret::new(SECRET.repeat(10).as_bytes()).unwrap();
    assert_eq!(freed(long), 1, "only the test's own copy of a long one");

    let rotating = || {
        let names = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let accept = |verifier: Verifier, name: &'static str| verifier.also_accept(name, secret());
        let verifier = names.into_iter().fold(Verifier::new(secret()), accept);
        let shared = verifier.clone();
        (verifier.recognize("staging", secret()).max_age(Duration::MAX), shared)
    };
    assert_eq!(freed(rotating), 0, "a verifier with many secrets");

    let signed = || {
        let signature = secret().sign("{}").to_string();
        let verifier = Verifier::new(secret());
        assert!(verifier.verify(&signature, "{}").is_ok());
        assert!(verifier.verify(&signature, "{}\n").is_err());
        // A body that breaks off.
        let mut intake = verifier.begin([(SIGNATURE_HEADER, signature.as_bytes())]).unwrap();
        intake.push("{".into()).unwrap();
    };
    assert_eq!(freed(signed), 0, "signing and verifying");

    let diagnosed = |key: &'static str, kind| {
        freed(|| {
            let signature = Secret::new(key).unwrap().sign("{}").to_string();
            let rejection = diagnosing().verify(signature, "{}").unwrap_err();
            assert_eq!(rejection.diagnosis().unwrap().kind(), kind);
        })
    };
    assert_eq!(diagnosed("number7-key-of-the-test", DiagnosisKind::SecretDecoded), 0);
    let encoded = "d2hzZWNfYm5WdFltVnlOeTFyWlhrdGIyWXRkR2hsTFhSbGMzUQ==";
    assert_eq!(diagnosed(encoded, DiagnosisKind::SecretEncoded), 0);
    // After each number of steps, until the search ends.
    let has_ended = Cell::new(false);
    let abandoned = |steps: usize| {
        let verifier = diagnosing();
        let mut intake = verifier.begin([(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap();
        intake.push("{\"event\":\"job.completed\"}".into()).unwrap();
        let Err(Refusal::Diagnosing(mut diagnosing)) = intake.conclude() else {
            panic!("it was not signed")
        };
        has_ended.set((0..steps).any(|_| diagnosing.step().is_some()));
        diagnosing
    };
    let mut steps = 0;
    while !has_ended.get() {
        steps += 1;
        assert_eq!(
            freed(|| abandoned(steps)),
            0,
            "a diagnosis that is given up after {steps} steps"
        );
    }
    assert!(steps > 3, "{steps}");

    let unset = Secret::from_env("NUMBER7_TEST_NEVER_SET").unwrap_err();
    assert_eq!(unset.kind(), SecretErrorKind::NotSet);
}
