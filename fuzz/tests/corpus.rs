//! What the fuzzer has found so far, one input after another.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use number7_fuzz::TARGETS;

/// What the inputs of each target must have among them. If they are read as something else, such as by
/// another version of `arbitrary`, they have become useless.
const KINDS: [(&str, &[&str]); 5] = [
    (
        "request",
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
    ("event", &["completed", "failed", "unknown", "refused", "no JSON", "too much for `Value`"]),
    ("key", &["the same pair", "two pairs", "two bodies"]),
    ("signature", &["a signature", "no signature"]),
    ("diagnosis", &["verified", "recognized", "diagnosed", "not diagnosed"]),
];

#[test]
fn every_input_of_the_corpus_keeps_the_rules() {
    for ((name, target), (of, kinds)) in TARGETS.into_iter().zip(KINDS) {
        assert_eq!(name, of);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut seen = BTreeSet::new();
        for input in fs::read_dir(folder).unwrap() {
            let path = input.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let kind = panic::catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            seen.insert(kind.unwrap_or_else(|_| panic!("{}", path.display())));
        }
        for kind in kinds {
            assert!(seen.contains(kind), "no input of {name} is {kind:?}: {seen:?}");
        }
    }
}
