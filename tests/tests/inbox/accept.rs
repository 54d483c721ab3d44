//! What the sender is answered for each result of an acceptance, in the same way in axum and actix-web.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    error::Error,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{App, HttpResponse, test, web};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
    routing::{post, post_service},
};
use number7_core::{
    Accept, Acceptance, Delivery, Record, Rejection, RejectionKind, SIGNATURE_HEADER, StoreFuture,
};
use number7_tests::{
    COMPLETED, body,
    in_process::{Response, actix_response, axum_response},
    sign, verifier,
};
use tokio::time::{Instant, pause};
use tower::ServiceExt;

/// An inbox with a given behavior.
#[derive(Clone)]
enum Inbox {
    Good(Arc<Mutex<HashSet<String>>>),
    Failing,
    Hanging,
}

impl Inbox {
    fn good() -> Self {
        Self::Good(Arc::default())
    }
}

impl Accept for Inbox {
    fn store(&self, record: Record) -> StoreFuture<'_> {
        Box::pin(async move {
            match self {
                Self::Good(keys) => match keys.lock().unwrap().insert(record.key().to_owned()) {
                    true => Ok(Acceptance::New),
                    false => Ok(Acceptance::Duplicate),
                },
                Self::Failing => Err("the disk is on fire".into()),
                Self::Hanging => pending().await,
            }
        })
    }
}

/// How an app accepts deliveries.
#[derive(Clone, Copy, Debug)]
enum Style {
    OneLine,
    InHandler,
    WithoutLayer,
}

/// Shorter than the default.
const TIMEOUT: Duration = Duration::from_millis(50);

async fn axum(inbox: &Inbox, style: Style, body: &str) -> Response {
    use number7_tower::{AcceptNumber7, Verified, VerifiedRejection, VerifyNumber7};
    async fn webhook(
        State(inbox): State<Arc<dyn Accept>>,
        Verified(delivery): Verified<Delivery>,
    ) -> Result<StatusCode, VerifiedRejection> {
        inbox.accept(&delivery).await?;
        Ok(StatusCode::OK)
    }
    let one_line = post_service(AcceptNumber7::new(inbox.clone()).timeout(TIMEOUT));
    let verify = VerifyNumber7::new(verifier());
    let app = match style {
        Style::OneLine => Router::new().route("/webhook", one_line).layer(verify),
        Style::WithoutLayer => Router::new().route("/webhook", one_line),
        Style::InHandler => {
            let inbox: Arc<dyn Accept> = Arc::new(inbox.clone());
            Router::new().route("/webhook", post(webhook)).layer(verify).with_state(inbox)
        }
    };
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign(body));
    let request = request.body(Body::from(body.to_owned())).unwrap();
    axum_response(app.oneshot(request).await.unwrap()).await
}

async fn actix(inbox: &Inbox, style: Style, body: &str) -> Response {
    use number7_actix::{AcceptNumber7, Verified, VerifiedError, VerifyNumber7};
    async fn webhook(
        inbox: web::Data<dyn Accept>,
        Verified(delivery): Verified<Delivery>,
    ) -> Result<HttpResponse, VerifiedError> {
        inbox.accept(&delivery).await?;
        Ok(HttpResponse::Ok().finish())
    }
    let one_line = web::post().to(AcceptNumber7::new(inbox.clone()).timeout(TIMEOUT));
    let verify = VerifyNumber7::new(verifier());
    let state: Arc<dyn Accept> = Arc::new(inbox.clone());
    let app = App::new().app_data(web::Data::from(state));
    let request = || {
        let request = test::TestRequest::post().uri("/webhook");
        let request = request.insert_header((SIGNATURE_HEADER, sign(body)));
        request.set_payload(body.to_owned()).to_request()
    };
    match style {
        Style::WithoutLayer => {
            let app = test::init_service(app.route("/webhook", one_line)).await;
            actix_response(test::call_service(&app, request()).await).await
        }
        _ => {
            let route = match style {
                Style::InHandler => web::post().to(webhook),
                _ => one_line,
            };
            let resource = web::resource("/webhook").wrap(verify).route(route);
            let app = test::init_service(app.service(resource)).await;
            actix_response(test::call_service(&app, request()).await).await
        }
    }
}

/// Status, `Retry-After`, body, and the reason that the receiver sees.
type Answer = (u16, Option<String>, String, Option<RejectionKind>);

fn answer(response: Response) -> Answer {
    let retry_after = response.headers.iter().find(|(name, _)| name == "retry-after");
    let retry_after = retry_after.map(|(_, value)| value.clone());
    let body = String::from_utf8(response.body.to_vec()).unwrap();
    (response.status, retry_after, body, response.rejection)
}

/// Sends a body to both frameworks.
async fn both(inbox: impl Fn() -> Inbox, style: Style, body: &str) -> [Answer; 2] {
    [answer(axum(&inbox(), style, body).await), answer(actix(&inbox(), style, body).await)]
}

fn refused(status: u16, kind: RejectionKind) -> Answer {
    (status, (status == 503).then(|| "1".into()), String::new(), Some(kind))
}

const OK: Answer = (200, None, String::new(), None);

#[actix_web::test]
async fn what_is_new_and_what_is_known_is_answered_200() {
    for style in [Style::OneLine, Style::InHandler] {
        let inbox = Inbox::good();
        for _ in 0..3 {
            assert_eq!(both(|| inbox.clone(), style, COMPLETED).await, [OK; 2], "{style:?}");
        }
        assert_eq!(both(|| inbox.clone(), style, &body("job.failed", "job_2")).await, [OK; 2]);
        let Inbox::Good(keys) = inbox else { unreachable!() };
        let mut keys: Vec<_> = keys.lock().unwrap().iter().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["job.completed:job_abc123", "job.failed:job_2"]);
    }
}

#[actix_web::test]
async fn what_cannot_be_typed_is_accepted_as_it_is() {
    for body in [
        r#"{"event":"job.completed","jobId":"job_1","documentType":null}"#,
        r#"{"event":"job.completed","jobId":"job_1","timestamp":"yesterday","timestamp":1e999}"#,
        r#"{"event":"job.completed"}"#,
        r#"{"event":"something.else"}"#,
    ] {
        for style in [Style::OneLine, Style::InHandler] {
            assert_eq!(both(Inbox::good, style, body).await, [OK; 2], "{body}");
        }
    }
}

#[actix_web::test]
async fn what_names_no_event_is_answered_400() {
    for body in ["", "{}", "[]", r#"{"event":7}"#, r#"{"jobId":"job_1"}"#, "event=job.completed"] {
        for style in [Style::OneLine, Style::InHandler] {
            let untypable = refused(400, RejectionKind::Untypable);
            let answers = both(Inbox::good, style, body).await;
            assert_eq!(answers, [untypable.clone(), untypable], "{body}");
        }
    }
}

#[actix_web::test]
async fn an_inbox_that_fails_is_answered_503() {
    for style in [Style::OneLine, Style::InHandler] {
        let not_stored = refused(503, RejectionKind::NotStored);
        let answers = both(|| Inbox::Failing, style, COMPLETED).await;
        assert_eq!(answers, [not_stored.clone(), not_stored], "{style:?}");
    }
}

#[actix_web::test]
async fn an_inbox_that_hangs_is_answered_503_at_the_deadline() {
    pause();
    let begun = Instant::now();
    let too_slow = refused(503, RejectionKind::StoredTooSlowly);
    let answers = both(|| Inbox::Hanging, Style::OneLine, COMPLETED).await;
    assert_eq!(answers, [too_slow.clone(), too_slow]);
    let texts = [
        format!("{:?}", number7_tower::AcceptNumber7::new(Inbox::Hanging).timeout(TIMEOUT)),
        format!("{:?}", number7_actix::AcceptNumber7::new(Inbox::Hanging).timeout(TIMEOUT)),
    ];
    assert!(texts.iter().all(|text| text.contains("50ms")), "{texts:?}");
    // One framework after the other, and timers count milliseconds.
    assert!(begun.elapsed() < 3 * TIMEOUT, "{:?}", begun.elapsed());
}

#[actix_web::test]
async fn without_the_layer_nothing_is_accepted() {
    let inbox = Inbox::good();
    for (status, _, text, kind) in both(|| inbox.clone(), Style::WithoutLayer, COMPLETED).await {
        assert_eq!((status, kind), (500, Some(RejectionKind::MissingMiddleware)));
        assert!(text.contains("VerifyNumber7"), "{text}");
    }
    let Inbox::Good(keys) = inbox else { unreachable!() };
    assert!(keys.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn errors_say_what_the_store_said() {
    let delivery = verifier().verify(sign(COMPLETED), COMPLETED).unwrap();
    let failing: &dyn Accept = &Inbox::Failing;
    let rejection: Rejection = failing.accept(&delivery).await.unwrap_err();
    assert_eq!(rejection.to_string(), "the event could not be stored");
    assert_eq!(rejection.log_text(), "the event could not be stored: the disk is on fire");
    assert!(format!("{rejection:?}").contains("the disk is on fire"));
    let errors: [Box<dyn Error>; 2] = [
        Box::new(number7_tower::VerifiedRejection::from(rejection.clone())),
        Box::new(number7_actix::VerifiedError::from(rejection.clone())),
    ];
    for error in errors {
        assert_eq!(error.to_string(), rejection.to_string());
        assert_eq!(error.source().unwrap().to_string(), "the disk is on fire");
    }
}
