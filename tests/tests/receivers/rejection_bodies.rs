//! Refusals with a body of the app, in both frameworks.
#![allow(clippy::unwrap_used)]

use actix_web::{App, test::init_service};
use bytes::Bytes;
use number7_core::{
    RejectionKind,
    probe::{Answer, Probe},
};
use number7_tests::{
    in_process::{Response, actix_app_behind, actix_response, axum_app_behind, axum_response},
    probes, verifier,
};
use tower::ServiceExt;

const JSON: &str = "application/problem+json";

fn body(status: u16) -> String {
    format!(r#"{{"status":{status}}}"#)
}

async fn in_axum(probe: &Probe) -> Option<Response> {
    let verify = number7_tower::VerifyNumber7::new(verifier())
        .rejection_body(JSON, |status| body(status.as_u16()));
    let request = number7_tower::receiver::probe_request(probe, "/webhook")?;
    Some(axum_response(axum_app_behind(verify).oneshot(request).await.unwrap()).await)
}

async fn in_actix(probe: &Probe) -> Option<Response> {
    let verify = number7_actix::VerifyNumber7::new(verifier())
        .rejection_body(JSON, |status| body(status.as_u16()));
    let request = number7_actix::receiver::probe_request(probe, "/webhook")?;
    let app = init_service(App::new().configure(actix_app_behind(verify))).await;
    Some(actix_response(actix_web::dev::Service::call(&app, request).await.unwrap()).await)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_axum_has_the_body_of_its_status() {
    let mut seen = Vec::new();
    for probe in probes().table() {
        if let Some(response) = in_axum(&probe).await {
            seen.extend(assert_body("axum", &probe, &response));
        }
    }
    assert_all_alike(seen);
}

#[actix_web::test]
async fn a_refusal_in_actix_has_the_body_of_its_status() {
    tokio::time::pause();
    let mut seen = Vec::new();
    for probe in probes().table() {
        if let Some(response) = in_actix(&probe).await {
            seen.extend(assert_body("actix-web", &probe, &response));
        }
    }
    assert_all_alike(seen);
}

/// What the sender gets, if it is a 401.
#[track_caller]
fn assert_body(framework: &str, probe: &Probe, response: &Response) -> Option<Seen> {
    let name = probe.name();
    assert_eq!(response.status, probe.answer().status(), "{framework}: {name}");
    let content_type = response.headers.iter().find(|(name, _)| name == "content-type");
    match probe.answer() {
        // The extractor refuses it, behind the layer.
        Answer::Refused(RejectionKind::Untypable) => assert!(response.body.is_empty()),
        Answer::Refused(kind) => {
            assert_eq!(response.rejection, Some(kind), "{framework}: {name}");
            assert_eq!(response.body, body(response.status), "{framework}: {name}");
            assert_eq!(content_type.map(|(_, value)| &**value), Some(JSON), "{framework}: {name}");
        }
        _ => assert_ne!(content_type.map(|(_, value)| &**value), Some(JSON), "{framework}: {name}"),
    }
    (response.status == 401).then(|| {
        let headers = response.headers.iter().filter(|(name, _)| name != "connection").cloned();
        (headers.collect(), response.body.clone())
    })
}

type Seen = (Vec<(String, String)>, Bytes);

#[track_caller]
fn assert_all_alike(mut seen: Vec<Seen>) {
    assert!(seen.len() > 20);
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[test]
#[should_panic]
fn a_content_type_that_is_no_header_value_fails_at_once() {
    _ = number7_tower::VerifyNumber7::new(verifier()).rejection_body("a\nb", |_| "");
}
