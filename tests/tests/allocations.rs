//! What a delivery costs in memory. It is a single test, because the count is that of the whole process.
#![allow(clippy::unwrap_used)]

use std::{
    alloc::System,
    convert::Infallible,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use number7_core::{Accounts, Event, Found, SIGNATURE_HEADER, Secret, Verifier, adapter::metrics};
use number7_tests::{COMPLETED, secret, sign, verifier};
use number7_tower::VerifyNumber7Service;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and bytes of a call, counted on its second run.
fn allocations<T>(mut call: impl FnMut() -> T) -> (usize, usize) {
    drop(call());
    let region = Region::new(ALLOCATOR);
    let result = call();
    let change = region.change();
    drop(result);
    (change.allocations + change.reallocations, change.bytes_allocated)
}

#[test]
fn memory_is_taken_for_what_is_returned_and_for_what_has_arrived() {
    let body = Bytes::from_static(COMPLETED.as_bytes());
    let signature = sign(COMPLETED);
    let (one, two) = (verifier(), {
        let other = Secret::new("another secret").unwrap();
        Verifier::new(other).also_accept("second", secret())
    });

    // Verification allocates nothing, whichever secret signed.
    assert_eq!(allocations(|| one.verify(&signature, body.clone()).unwrap()), (0, 0));
    assert_eq!(allocations(|| two.verify(&signature, body.clone()).unwrap()), (0, 0));
    assert_eq!(allocations(|| one.verify("no signature", body.clone()).unwrap_err()), (0, 0));

    // Typing allocates once for the jobId, and once more for an error text.
    let failed = COMPLETED.replace("completed", "failed").replace('}', r#","error":"blank"}"#);
    assert_eq!(allocations(|| Event::from_json(COMPLETED).unwrap()), (1, "job_abc123".len()));
    assert_eq!(
        allocations(|| Event::from_json(&failed).unwrap()),
        (2, "job_abc123".len() + "blank".len())
    );
    let with_fields = COMPLETED.replace('}', r#","a":1,"b":[2],"c":{"d":3}}"#);
    assert_eq!(allocations(|| Event::from_json(&with_fields).unwrap()).0, 1);

    // 64 KiB in one chunk are not copied.
    let large = Bytes::from(vec![b' '; 64 * 1024]);
    let shared = large.clone();
    let signature_of_large = sign(&large);
    assert_eq!(allocations(|| one.verify(&signature_of_large, shared.clone()).unwrap()), (0, 0));

    // 64 KiB in chunks of one byte need little more than their own size.
    let (_, bytes) = allocations(|| {
        let mut intake = one.begin([(SIGNATURE_HEADER, signature_of_large.as_bytes())]).unwrap();
        for at in 0..large.len() {
            intake.push(large.slice(at..=at)).unwrap();
        }
        intake.finish().unwrap()
    });
    assert!(bytes < 4 * large.len(), "{bytes} bytes for {}", large.len());

    // A declared length allocates nothing.
    let declared = [(SIGNATURE_HEADER, signature.as_bytes()), ("content-length", b"65536")];
    assert_eq!(allocations(|| one.begin(declared).unwrap()), (0, 0));

    // In plain tower, the layer allocates only what `http` needs to put one value into the extensions.
    let delivery = one.verify(&signature, body.clone()).unwrap();
    let (inserting, _) = allocations(|| {
        let mut extensions = http::Extensions::new();
        extensions.insert(delivery.clone());
        extensions
    });
    // The facade of metrics also needs memory for a label that is not static.
    let (counting, _) = allocations(|| metrics::verified(&delivery));
    assert_eq!(counting, 1);
    let mut service = VerifyNumber7Service::new(
        service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }),
        verifier(),
    );
    let request = || {
        let request = Request::post("/webhook").header(SIGNATURE_HEADER, &signature);
        request.body(Full::new(body.clone())).unwrap()
    };
    let mut requests = vec![request(), request()];
    let (layer, _) = allocations(|| {
        let mut call = Box::pin(service.call(requests.pop().unwrap()));
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => assert_eq!(response.status(), 200),
            _ => panic!("the body was there"),
        }
    });
    let the_tests_own_box = 1;
    assert_eq!(layer - the_tests_own_box, inserting + counting);

    // A cached account is found without an allocation, and takes about a kilobyte.
    let find = async |_| Ok::<_, Infallible>(Some(Verifier::from(secret())));
    let accounts = Accounts::new(find);
    let find = |name: &str| accounts.find(Some(name), [(SIGNATURE_HEADER, signature.as_bytes())]);
    let look_up = |name: &str| match find(name).unwrap() {
        Found::Verifier(verifier) => verifier,
        Found::Lookup(lookup) => {
            match Box::pin(lookup).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(found) => found.unwrap(),
                Poll::Pending => panic!("nothing is waited for"),
            }
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(allocations(|| look_up("acme")), (0, 0), "the second run is measured");
    const MANY: usize = 10_000;
    let region = Region::new(ALLOCATOR);
    (0..MANY).for_each(|number| drop(look_up(&format!("account-{number}"))));
    let change = region.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / MANY;
    println!("{each} bytes an account");
    assert!((500..1_500).contains(&each), "{each} bytes an account");
}
