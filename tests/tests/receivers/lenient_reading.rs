//! Odd bodies that the receiver reads: an authentic event is never refused because of them, and an inbox keeps the bytes and
//! handles the event once.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use number7_core::{Acceptance, Record};
use number7_inbox::{AcceptedEvent, BoxError};
use number7_tests::{COMPLETED, running::PATIENCE, sign, store::Store, verifier};

/// The published payload, written oddly, with one job each. The second of a pair is the same event, written plainly.
fn odd_bodies() -> Vec<[String; 2]> {
    let odd: [fn(&str) -> String; 5] = [
        |json| format!("\u{feff}{json}"),
        |json| json.replace('}', r#","page":1,"page":2}"#),
        |json| json.replace("00.000Z", "00.123456789012345Z"),
        |json| json.replace('}', r#","\ud83d":1e999}"#),
        |json| json.replace("invoice", r"invoice \ud83d"),
    ];
    let plain = |number| COMPLETED.replace("job_abc123", &format!("job_{number}"));
    let mut pairs: Vec<_> =
        odd.iter().enumerate().map(|(number, odd)| [odd(&plain(number)), plain(number)]).collect();
    // It is about no job, so the bytes are the key.
    let closed = r#"{"event":"account.closed"}"#;
    pairs.push([format!("\u{feff}{closed}"), closed.to_owned()]);
    pairs
}

#[tokio::test]
async fn an_odd_event_is_accepted_with_its_bytes_and_the_usual_key_and_handled_once() {
    let store = Store::sqlite();
    let inbox = store.open().await;
    let deliver = |body: &str| verifier().verify(sign(body), body.to_owned()).unwrap();
    let mut bodies = Vec::new();
    for [odd, plain] in odd_bodies() {
        assert_eq!(inbox.accept(&deliver(&odd)).await.unwrap(), Acceptance::New, "{odd}");
        // It has the same key, but other bytes.
        assert_eq!(inbox.accept(&deliver(&plain)).await.unwrap(), Acceptance::Conflict, "{odd}");
        bodies.push((Record::key_of(plain.as_bytes()).unwrap(), odd));
    }
    let handled = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&handled);
    let worker = inbox.worker(move |accepted: AcceptedEvent| {
        let seen = Arc::clone(&seen);
        async move {
            // An error here would cause another attempt.
            accepted.event()?;
            let body = String::from_utf8(accepted.json().to_vec())?;
            seen.lock().unwrap().push((accepted.key().to_owned(), body));
            Ok::<_, BoxError>(())
        }
    });
    worker.run_until(store.settled(PATIENCE)).await;
    let mut handled = handled.lock().unwrap().clone();
    handled.sort();
    bodies.sort();
    assert_eq!(handled, bodies);
}

/// Other receivers may refuse this, so it is not in the table of the probes.
#[actix_web::test]
async fn both_frameworks_accept_a_byte_order_mark_and_the_character_set_as_an_encoding() {
    use actix_web::{App, test};
    use axum::{body::Body, http::Request};
    use number7_core::SIGNATURE_HEADER;
    use number7_tests::in_process::{actix_app, axum_app};
    use tower::ServiceExt;

    let app = test::init_service(App::new().configure(actix_app(verifier()))).await;
    for body in [format!("\u{feff}{COMPLETED}"), COMPLETED.to_owned()] {
        for coding in ["utf-8", "identity"] {
            let request = Request::post("/webhook")
                .header(SIGNATURE_HEADER, sign(&body))
                .header("content-encoding", coding)
                .body(Body::from(body.clone()));
            let response = axum_app(verifier()).oneshot(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), 200, "axum: {coding}: {body}");

            let request = test::TestRequest::post()
                .uri("/webhook")
                .insert_header((SIGNATURE_HEADER, sign(&body)))
                .insert_header(("content-encoding", coding))
                .set_payload(body.clone());
            let response = test::call_service(&app, request.to_request()).await;
            assert_eq!(response.status(), 200, "actix-web: {coding}: {body}");
        }
    }
}
