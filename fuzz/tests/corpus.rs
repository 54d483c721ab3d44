//! What the fuzzer has found so far, one input after another.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use number7_fuzz::TARGETS;

#[test]
fn every_input_of_the_corpus_keeps_the_rules() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut inputs = 0_usize;
        for input in fs::read_dir(folder).unwrap() {
            target(&fs::read(input.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}
