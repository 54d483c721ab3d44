//! The diagnosis of deliveries that were signed wrongly. The recipes in `tests/recipes` make them, each with its known cause.
#![allow(clippy::unwrap_used)]

use std::{
    env, fmt,
    path::Path,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use number7_core::{Diagnosis, SIGNATURE_HEADER, Secret, Verifier};
use serde::Deserialize;

const PRIMARY: &str = "number7-test-secret-4f9a";
const OLD: &str = "number7-old-secret-77";
const STAGING: &str = "number7-staging-secret-b2";

#[test]
fn no_certain_diagnosis_is_wrong() {
    let is_wrong =
        |case: &&Case| case.is_certain() && !(case.has_right_kind() && case.has_right_secret());
    assert_none(cases().iter().filter(is_wrong), "are certain and wrong");
}

#[test]
fn what_no_signature_proves_is_not_certain() {
    let is_wrong =
        |case: &&Case| case.is_certain() && !case.line.certain && case.line.kind.is_some();
    assert_none(cases().iter().filter(is_wrong), "are certain without a proof");
}

#[test]
fn nineteen_of_twenty_causes_are_found() {
    let positive: Vec<_> = cases().iter().filter(|case| case.line.kind.is_some()).collect();
    let missed: Vec<_> = positive.iter().filter(|case| !case.is_found()).collect();
    let found = positive.len() - missed.len();
    let rate =
        format!("{found} of {} causes are found; missed are{}", positive.len(), list(missed));
    let unproven = |case: &&&Case| case.is_found() && case.line.certain && !case.is_certain();
    println!("found, but not proven, are{}", list(positive.iter().filter(unproven)));
    assert!(found * 20 >= positive.len() * 19, "{rate}");
    println!("{rate}");
}

#[test]
fn there_are_enough_cases() {
    let cases = cases();
    let negative = cases.iter().filter(|case| case.line.kind.is_none()).count();
    assert!(
        cases.is_empty() || (cases.len() >= 200 && negative >= 25),
        "{}, {negative}",
        cases.len()
    );
}

/// A line that a recipe prints.
#[derive(Deserialize)]
struct Line {
    /// What went wrong.
    recipe: String,
    /// The name of the right kind. `None` if no cause may be called certain.
    kind: Option<String>,
    /// Other kinds that are also right: two things went wrong, or no kind fits exactly.
    #[serde(default)]
    or: Vec<String>,
    /// The name of the secret that signed.
    secret: Option<String>,
    /// Whether the signature can prove the cause.
    certain: bool,
    /// In Latin-1, like the values of headers.
    signature: String,
    headers: Vec<(String, String)>,
    /// In base64.
    body: String,
    /// The base64 of the receiver's secret, if it is not [`PRIMARY`].
    holds: Option<String>,
}

impl Line {
    /// Sends the delivery to a receiver that searches for the cause.
    fn diagnose(&self) -> Option<Diagnosis> {
        let values = self.headers.iter().map(|(name, value)| (&**name, latin1(value)));
        let signature = [(SIGNATURE_HEADER, latin1(&self.signature))];
        let headers: Vec<_> = values.chain(signature).collect();
        let body = base64(&self.body);
        let delivery = self
            .receiver()
            .begin(headers.iter().map(|(name, value)| (*name, &**value)))
            .and_then(|mut intake| {
                intake.push(body.into())?;
                intake.finish()
            });
        match delivery {
            Ok(_) => panic!("it is signed well: {}", self.recipe),
            Err(rejection) => rejection.diagnosis().cloned(),
        }
    }

    fn receiver(&self) -> Verifier {
        let held = self.holds.as_deref().map_or_else(|| PRIMARY.into(), base64);
        let seconds = AtomicU64::new(0);
        Verifier::new(Secret::new(held).unwrap())
            .also_accept("old", Secret::new(OLD).unwrap())
            .recognize("staging", Secret::new(STAGING).unwrap())
            .clock(move || {
                let seconds = seconds.fetch_add(1, Ordering::Relaxed);
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
            })
            .diagnose()
    }
}

/// A line, and the diagnosis.
struct Case {
    line: Line,
    found: Option<Diagnosis>,
}

impl Case {
    fn is_certain(&self) -> bool {
        self.found.as_ref().is_some_and(Diagnosis::is_certain)
    }

    fn has_right_kind(&self) -> bool {
        let found = self.found.as_ref().map(|found| format!("{:?}", found.kind()));
        found.is_some_and(|found| {
            self.line.kind.iter().chain(&self.line.or).any(|kind| *kind == found)
        })
    }

    fn has_right_secret(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.secret() == self.line.secret.as_deref())
    }

    /// A diagnosis that is only likely need not name a secret.
    fn is_found(&self) -> bool {
        let names_none = self.found.as_ref().is_none_or(|found| found.secret().is_none());
        self.has_right_kind() && (self.has_right_secret() || names_none)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line: Line { recipe, kind, or, secret, .. }, found } = self;
        write!(f, "{recipe}: expected {}", kind.as_deref().unwrap_or("nothing certain"))?;
        or.iter().try_for_each(|kind| write!(f, " or {kind}"))?;
        write!(f, " of {}", secret.as_deref().unwrap_or("no secret"))?;
        match found {
            Some(found) => write!(f, ", got {found:?}"),
            None => f.write_str(", got nothing"),
        }
    }
}

#[track_caller]
fn assert_none<'c>(cases: impl Iterator<Item = &'c Case>, what: &str) {
    let cases: Vec<_> = cases.collect();
    assert!(cases.is_empty(), "{} {what}:{}", cases.len(), list(&cases));
}

fn list<'c>(cases: impl IntoIterator<Item = &'c &'c Case>) -> String {
    cases.into_iter().map(|case| format!("\n  {case}")).collect()
}

/// All cases. Empty if a program that makes some of them is missing.
fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        if !["node", "python3", "sh", "curl", "iconv", "jq", "openssl"].into_iter().all(is_there) {
            return Vec::new();
        }
        let recipes = [("node", "node.js"), ("python3", "python.py"), ("sh", "shell.sh")];
        let lines = recipes.into_iter().flat_map(|(program, recipe)| lines(program, recipe));
        lines.map(|line| Case { found: line.diagnose(), line }).collect()
    })
}

fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        assert!(env::var_os("CI").is_none(), "{program} is not on this machine");
        eprintln!("SKIPPED: {program} is not on this machine");
    }
    is_there
}

fn lines(program: &str, recipe: &str) -> Vec<Line> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes").join(recipe);
    let output = Command::new(program).arg(recipe).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap()).collect()
}

fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |digit| digits.iter().position(|known| *known == digit).unwrap();
    let text = text.trim_end_matches('=').as_bytes();
    let decoded = text.chunks(4).flat_map(|chunk| {
        let bits =
            (0..4).fold(0, |bits, i| bits << 6 | chunk.get(i).map_or(0, |digit| value(*digit)));
        [bits >> 16, bits >> 8, bits]
            .map(|bits| (bits & 0xff) as u8)
            .into_iter()
            .take(chunk.len() - 1)
    });
    decoded.collect()
}
