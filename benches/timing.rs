//! Whether the time of a comparison tells where two signatures differ, by dudect's test: |t| stays below
//! 4.5 over a million samples unless it does.
//!
//! `cargo bench -p number7-benches --bench timing` prints the `max t` of each pair. The last compares byte
//! by byte and stops at the first that differs: it does tell, and shows that the test can see it.

use std::{array, hint::black_box};

use dudect_bencher::{
    BenchRng, Class, CtRunner,
    ctbench::{BenchMetadata, BenchName, BenchOpts, run_benches_console},
    rand::RngExt,
};
use number7_core::{Secret, Signature, Verifier};

const SAMPLES: usize = 1_000_000;

/// One comparison takes less time than a clock can tell.
const COMPARISONS: usize = 32;

const BODY: &str = r#"{"event":"job.completed","jobId":"job_abc123"}"#;

/// Where a signature is wrong.
#[derive(Clone, Copy)]
enum Wrong {
    First,
    Last,
    Nowhere,
}

fn secret() -> Secret {
    Secret::new("the secret of the benchmark").expect("a good secret")
}

fn signature(wrong: Wrong) -> Signature {
    let mut bytes = *secret().sign(BODY).as_bytes();
    match wrong {
        Wrong::First => bytes[0] ^= 1,
        Wrong::Last => bytes[31] ^= 1,
        Wrong::Nowhere => {}
    }
    Signature::from_bytes(bytes)
}

/// Takes samples of two classes, in a random order.
fn sample<T>(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    pair: [Wrong; 2],
    of: impl Fn(&Signature) -> T,
) {
    let inputs = pair.map(signature);
    let order: Vec<bool> = (0..SAMPLES).map(|_| rng.random()).collect();
    for is_right in order {
        let class = if is_right { Class::Right } else { Class::Left };
        let input = inputs[usize::from(is_right)];
        runner.run_one(class, || of(black_box(&input)));
    }
}

fn compare(runner: &mut CtRunner, rng: &mut BenchRng, pair: [Wrong; 2]) {
    let right = signature(Wrong::Nowhere);
    sample(runner, rng, pair, |input| {
        array::from_fn::<bool, COMPARISONS, _>(|_| *black_box(input) == *black_box(&right))
    });
}

fn first_or_last(runner: &mut CtRunner, rng: &mut BenchRng) {
    compare(runner, rng, [Wrong::First, Wrong::Last]);
}

fn first_or_none(runner: &mut CtRunner, rng: &mut BenchRng) {
    compare(runner, rng, [Wrong::First, Wrong::Nowhere]);
}

fn last_or_none(runner: &mut CtRunner, rng: &mut BenchRng) {
    compare(runner, rng, [Wrong::Last, Wrong::Nowhere]);
}

/// All of a verification, up to the refusal. A success is not a secret to its sender.
fn verify_first_or_last(runner: &mut CtRunner, rng: &mut BenchRng) {
    let verifier = Verifier::new(secret());
    sample(runner, rng, [Wrong::First, Wrong::Last], |input| {
        verifier.verify(input.to_string(), BODY).is_err()
    });
}

fn control(runner: &mut CtRunner, rng: &mut BenchRng) {
    let right = signature(Wrong::Nowhere);
    let is_equal =
        |one: &[u8], other: &[u8]| one.iter().zip(other).all(|(one, other)| one == other);
    sample(runner, rng, [Wrong::First, Wrong::Last], |input| {
        array::from_fn::<bool, COMPARISONS, _>(|_| {
            is_equal(black_box(input.as_bytes()), black_box(right.as_bytes()))
        })
    });
}

fn main() {
    let bench = |name, benchfn| BenchMetadata { name: BenchName(name), seed: Some(7), benchfn };
    let benches = vec![
        bench("1. the first byte wrong, or the last", first_or_last),
        bench("2. the first byte wrong, or none", first_or_none),
        bench("3. the last byte wrong, or none", last_or_none),
        bench("4. a verification: first, or last", verify_first_or_last),
        bench("5. control, byte by byte: first, or last", control),
    ];
    run_benches_console(BenchOpts::default(), benches).expect("the terminal takes it");
}
