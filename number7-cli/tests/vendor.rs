//! What the doctor finds in the receivers of the vendor's documentation. They need Express and Flask,
//! which `.ci/recipes` installs.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const SECRET: &str = "the-secret-of-the-tests";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What is said to be fixed in a recipe. `None` where what it needs is not on this machine.
fn fixes(program: &str, recipe: &str, variable: &str, needs: &str) -> Option<BTreeSet<String>> {
    let packages: PathBuf = root().join("target/recipes").join(needs);
    if !packages.exists() {
        assert!(
            env::var_os("CI").is_none(),
            "{} is not there: run .ci/recipes",
            packages.display()
        );
        eprintln!("SKIPPED: {} is not there; .ci/recipes installs it", packages.display());
        return None;
    }
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(recipe);
    let mut receiver = Command::new(program);
    receiver.arg(recipe).env("WEBHOOK_SECRET", SECRET).env(variable, packages.parent().unwrap());
    let receiver = receiver.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut receiver = Running(receiver);
    let mut port = String::new();
    BufReader::new(receiver.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let url = format!("http://127.0.0.1:{}/webhook", port.trim());
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_number7"));
    doctor.args(["--json", "doctor", "--body-timeout", "2", &url]).env("WEBHOOK_SECRET", SECRET);
    let report: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let fixes = report["rules"].as_array().unwrap().iter().filter_map(|rule| rule["fix"].as_str());
    Some(fixes.map(str::to_owned).collect())
}

#[track_caller]
fn assert_mends(found: Option<BTreeSet<String>>, expected: &[&str]) {
    let Some(found) = found else { return };
    let is_expected = |fix: &&String| expected.iter().any(|part| fix.contains(part));
    let more: Vec<_> = found.iter().filter(|fix| !is_expected(fix)).collect();
    assert!(more.is_empty(), "{more:#?}");
    for part in expected {
        assert!(found.iter().any(|fix| fix.contains(part)), "{part} is not among {found:#?}");
    }
}

#[test]
fn the_vendors_receiver_for_express() {
    let found = fixes("node", "express.js", "NODE_PATH", "node_modules/express");
    let expected = [
        // `timingSafeEqual` throws where the lengths differ, and `Buffer.from` where there is none.
        "fails if there is no signature header",
        "a signature in a trailer",
        "fails where the signature is wrong",
        // `express.raw` takes one content-type, inflates, and has a limit of 100 kB and no timeout.
        "only read if its content-type is application/json",
        "something inflates bodies before they are verified",
        "a body over the limit is not refused",
        "or read to its end, before it is refused",
        "declared too large",
        "waits for a body that its headers already refuse",
        "waited for too long",
        // `JSON.parse` throws.
        "an authentic body that is not an event makes the receiver fail",
        "the digits of the signature are compared as text",
    ];
    assert_mends(found, &expected);
}

#[test]
fn the_vendors_receiver_for_flask() {
    let found = fixes("python3", "flask_app.py", "PYTHONPATH", "python/flask");
    let expected = [
        // `compare_digest` throws on what is not ASCII.
        "fails where the signature is wrong",
        "a body over the limit is not refused",
        "or read to its end, before it is refused",
        "declared too large",
        "waits for a body that its headers already refuse",
        "waited for too long",
        "fails where a body breaks off",
        "a signature in a trailer",
        "the digits of the signature are compared as text",
    ];
    assert_mends(found, &expected);
}
