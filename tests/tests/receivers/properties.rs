//! What is true for every header value and every chunking.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use number7_core::{Delivery, Event, RejectionKind, SIGNATURE_HEADER, Signature, Verifier};
use number7_tests::{COMPLETED, secret, sign, verifier};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Splits a body at arbitrary places.
fn split(body: &[u8], cuts: &[Index]) -> Vec<Bytes> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| Bytes::copy_from_slice(&body[cut[0]..cut[1]])).collect()
}

fn feed(verifier: &Verifier, signature: &str, chunks: &[Bytes]) -> Result<Delivery, RejectionKind> {
    let mut intake =
        verifier.begin([(SIGNATURE_HEADER, signature.as_bytes())]).map_err(|error| error.kind())?;
    for chunk in chunks {
        intake.push(chunk.clone()).map_err(|error| error.kind())?;
    }
    intake.finish().map_err(|error| error.kind())
}

proptest! {
    #[test]
    fn a_header_parses_exactly_if_it_is_64_hex_digits(value in vec(any::<u8>(), 0..70)) {
        let digits = value.len() == 64 && value.iter().all(u8::is_ascii_hexdigit);
        prop_assert_eq!(Signature::parse(&value).is_ok(), digits);
    }

    #[test]
    fn a_signature_that_parses_is_written_back(value in "[0-9a-fA-F]{64}") {
        prop_assert_eq!(Signature::parse(&value).unwrap().to_string(), value.to_lowercase());
    }

    #[test]
    fn one_changed_character_never_parses_to_the_same(
        value in "[0-9a-f]{64}", at in any::<Index>(), other in any::<u8>(),
    ) {
        let mut changed = value.clone().into_bytes();
        let at = at.index(64);
        prop_assume!(!changed[at].eq_ignore_ascii_case(&other));
        changed[at] = other;
        let signature = Signature::parse(&value).unwrap();
        prop_assert_ne!(Signature::parse(&changed).ok(), Some(signature));
    }

    #[test]
    fn every_chunking_has_the_same_verdict_and_the_same_bytes(
        body in vec(any::<u8>(), 0..20_000),
        cuts in vec(any::<Index>(), 0..20),
        forged in any::<bool>(),
    ) {
        let signature = if forged { sign("another body") } else { sign(&body) };
        let verdict = feed(&verifier(), &signature, &split(&body, &cuts));
        let expected = if forged { Err(RejectionKind::SignatureMismatch) } else { Ok(body.into()) };
        prop_assert_eq!(verdict.map(|delivery| delivery.body().clone()), expected);
    }

    #[test]
    fn every_chunking_of_a_large_body_is_refused(
        excess in 1..1000_usize, cuts in vec(any::<Index>(), 0..20),
    ) {
        let body = vec![b' '; 5000 + excess];
        let verifier = verifier().body_limit(5000);
        let delivery = feed(&verifier, &sign(&body), &split(&body, &cuts));
        prop_assert_eq!(delivery.unwrap_err(), RejectionKind::BodyTooLarge);
    }

    #[test]
    fn a_body_that_the_second_secret_signed_is_found_in_every_chunking(
        body in vec(any::<u8>(), 0..20_000), cuts in vec(any::<Index>(), 0..20),
    ) {
        let other = number7_core::Secret::new("another secret").unwrap();
        let verifier = Verifier::named("new", other).also_accept("old", secret());
        let delivery = feed(&verifier, &sign(&body), &split(&body, &cuts)).unwrap();
        prop_assert_eq!(delivery.signed_by(), "old");
        prop_assert_eq!(delivery.body(), &body);
    }

    #[test]
    fn no_body_makes_typing_panic_and_what_is_typed_is_written_back(
        at in any::<Index>(), byte in any::<u8>(), noise in vec(any::<u8>(), 0..50),
    ) {
        let _ = Event::from_json(&noise);
        let mut json = COMPLETED.as_bytes().to_vec();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(event) = Event::from_json(&json) {
            let written = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(Event::from_json(written).unwrap(), event);
        }
    }
}

#[test]
fn a_body_after_a_refused_chunk_does_not_verify() {
    let verifier = verifier().body_limit(COMPLETED.len());
    let mut intake = verifier.begin([(SIGNATURE_HEADER, sign(COMPLETED).as_bytes())]).unwrap();
    intake.push(Bytes::from(COMPLETED)).unwrap();
    assert!(intake.push(Bytes::from(" ")).is_err());
    assert_eq!(intake.finish().unwrap_err().kind(), RejectionKind::BodyTooLarge);
}
