//! What the fuzzer has found so far, one input after another.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use number7_fuzz::TARGETS;

#[test]
fn every_input_of_the_corpus_keeps_the_rules() {
    for (name, target, kinds) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut observed = BTreeSet::new();
        for input in fs::read_dir(folder).unwrap() {
            let path = input.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let kind = panic::catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            observed.insert(kind.unwrap_or_else(|_| panic!("{}", path.display())));
        }
        // If they are read as something else, such as by another version of `arbitrary`, they have become
        // useless.
        for kind in kinds {
            assert!(observed.contains(kind), "no input of {name} is {kind:?}: {observed:?}");
        }
    }
}
