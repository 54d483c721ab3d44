//! What tower and axum expect of a layer.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::Request as AxumRequest,
    middleware::{Next, from_fn},
    routing::{MethodRouter, get, post},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::poll_fn, poll, stream};
use http::{Request, Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use number7_core::{Delivery, Event, RejectionKind, SIGNATURE_HEADER};
use number7_tests::{
    COMPLETED, Receipt,
    in_process::{axum_response, saw},
    secret, sign, verifier,
};
use number7_tower::{
    ResponseBody, Verified, VerifiedRejection, VerifyNumber7, VerifyNumber7Service,
};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn,
    util::BoxCloneService,
};
use tower_http::{
    limit::RequestBodyLimitLayer, timeout::RequestBodyTimeoutLayer, trace::TraceLayer,
};

fn signed<B>(body: B) -> Request<B> {
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign(COMPLETED));
    request.body(body).unwrap()
}

fn unsigned<B>(body: B) -> Request<B> {
    Request::post("/webhook").body(body).unwrap()
}

fn whole() -> Body {
    Body::from(COMPLETED)
}

/// A body that never arrives.
fn stalled() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
}

async fn webhook(Verified(event): Verified<Event>) -> String {
    saw(event.name())
}

/// Sends a good, an unsigned and a forged request to a router, which must protect `/webhook`.
#[track_caller]
fn assert_protects(app: Router) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    async move {
        let good = axum_response(app.clone().oneshot(signed(whole())).await.unwrap()).await;
        assert_eq!((good.status, &*good.body), (200, saw("job.completed").as_bytes()), "{at}");
        let forged = signed(Body::from("{}"));
        for request in [unsigned(whole()), forged] {
            let refused = axum_response(app.clone().oneshot(request).await.unwrap()).await;
            assert_eq!((refused.status, refused.body.len()), (401, 0), "{at}");
        }
    }
}

#[tokio::test]
async fn it_protects_wherever_axum_takes_a_layer() {
    let verify = || VerifyNumber7::new(secret());
    let route = || Router::new().route("/webhook", post(webhook));
    assert_protects(route().layer(verify())).await;
    assert_protects(route().route_layer(verify())).await;
    assert_protects(Router::new().route("/webhook", post(webhook).layer(verify()))).await;
    assert_protects(Router::new().merge(route().layer(verify()))).await;
    let fallback: MethodRouter = post(webhook);
    assert_protects(Router::new().fallback_service(fallback.layer(verify()))).await;
}

#[tokio::test]
async fn it_stands_between_trace_layer_and_from_fn() {
    async fn pass(request: AxumRequest, next: Next) -> axum::response::Response {
        assert!(request.extensions().get::<Delivery>().is_some());
        next.run(request).await
    }
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(VerifyNumber7::new(secret()))
        .layer(from_fn(pass));
    assert_protects(Router::new().route("/webhook", post(webhook)).layer(stack)).await;
}

#[tokio::test]
async fn route_layer_leaves_unknown_paths_to_axum() {
    let app = Router::new()
        .route("/webhook", post(webhook))
        .route_layer(VerifyNumber7::new(secret()))
        .route("/health", get(async || "up"));
    let health = app.clone().oneshot(Request::get("/health").body(whole()).unwrap()).await.unwrap();
    assert_eq!(health.status(), 200);
    let unknown = app.oneshot(Request::get("/unknown").body(whole()).unwrap()).await.unwrap();
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn the_extractor_gives_each_type_and_leaves_the_body() {
    async fn all(
        Verified(event): Verified,
        Verified(delivery): Verified<Delivery>,
        Verified(bytes): Verified<Bytes>,
        Verified(receipt): Verified<Receipt>,
        Json(json): Json<serde_json::Value>,
    ) -> String {
        assert_eq!(delivery.body(), &bytes);
        assert_eq!(json["jobId"], *receipt.job);
        saw(event.name())
    }
    let app = Router::new().route("/webhook", post(all)).layer(VerifyNumber7::new(secret()));
    let mut request = signed(whole());
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let response = axum_response(app.clone().oneshot(request).await.unwrap()).await;
    assert_eq!(response.body, saw("job.completed"));

    let body = r#"{"event":"job.archived"}"#;
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign(body));
    let response = app.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(axum_response(response).await.rejection, Some(RejectionKind::Untypable));
}

#[tokio::test]
async fn the_extractor_without_the_layer_says_what_is_missing() {
    let app = Router::new().route("/webhook", post(webhook));
    let response = axum_response(app.oneshot(signed(whole())).await.unwrap()).await;
    assert_eq!(
        (response.status, response.rejection),
        (500, Some(RejectionKind::MissingMiddleware))
    );
    assert!(String::from_utf8_lossy(&response.body).contains("VerifyNumber7"));
    let plain = ("content-type".to_owned(), "text/plain; charset=utf-8".to_owned());
    assert!(response.headers.contains(&plain));
}

/// A signed body that is not an event.
fn untypable() -> Request<Body> {
    let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign("[]"));
    request.body(Body::from("[]")).unwrap()
}

#[tokio::test]
async fn the_extractor_is_none_only_without_the_layer() {
    async fn optional(verified: Option<Verified<Event>>) -> String {
        verified.map_or("none".to_owned(), |event| event.name().to_owned())
    }
    let open = Router::new().route("/webhook", post(optional));
    let behind = open.clone().layer(VerifyNumber7::new(secret()));
    for (app, request, status, body) in [
        (&open, signed(whole()), 200, "none"),
        (&behind, signed(whole()), 200, "job.completed"),
        (&behind, untypable(), 400, ""),
        (&behind, unsigned(whole()), 401, ""),
    ] {
        let response = axum_response(app.clone().oneshot(request).await.unwrap()).await;
        assert_eq!((response.status, &*response.body), (status, body.as_bytes()));
    }
}

#[tokio::test]
async fn the_extractor_leaves_its_refusal_to_a_handler_that_asks_for_it() {
    async fn result(verified: Result<Verified<Event>, VerifiedRejection>) -> String {
        match verified {
            Ok(mut verified) => {
                let event = std::mem::replace(
                    &mut *verified,
                    Event::from_json("{\"event\":\"x\"}").unwrap(),
                );
                Verified::from(event).name().to_owned()
            }
            Err(refused) => format!("{} {}", refused.status().as_u16(), refused.body_text()),
        }
    }
    let open = Router::new().route("/webhook", post(result));
    let behind = open.clone().layer(VerifyNumber7::new(secret()));
    for (app, request, starts) in [
        (&open, signed(whole()), "500 no verified delivery was found: put VerifyNumber7 "),
        (&behind, signed(whole()), "job.completed"),
        (&behind, untypable(), "400 "),
    ] {
        let response = axum_response(app.clone().oneshot(request).await.unwrap()).await;
        let body = String::from_utf8_lossy(&response.body);
        assert!(response.status == 200 && body.starts_with(starts), "{body}");
    }
}

#[tokio::test]
async fn the_service_shows_its_inner_service_and_makes_layers() {
    let mut service = VerifyNumber7Service::<()>::layer(secret()).layer(5);
    *service.get_mut() += 1;
    assert_eq!(*service.get_ref(), 6);
    assert!(format!("{service:?}").contains("inner: 6"));
    assert_eq!(service.into_inner(), 6);
}

/// Counts how often it is asked for a frame.
struct Watched {
    polled: Arc<AtomicUsize>,
    body: Full<Bytes>,
}

impl From<Bytes> for Watched {
    fn from(body: Bytes) -> Self {
        Self { polled: Arc::default(), body: body.into() }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polled.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer, and how often the body was polled.
async fn refused(request: Request<Watched>) -> (Response<ResponseBody<Full<Bytes>>>, usize) {
    let mut service = VerifyNumber7Service::new(
        service_fn(async |_: Request<Watched>| -> Result<Response<Full<Bytes>>, Infallible> {
            panic!("it was let through")
        }),
        secret(),
    );
    let polled = Arc::clone(&request.body().polled);
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), 401);
    (response, polled.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_request_without_a_good_header_is_refused_and_its_connection_goes_on_behind_its_body() {
    let body = || Watched::from(Bytes::from(COMPLETED));
    let (response, polled) = refused(unsigned(body())).await;
    // Its only frame, and its end.
    assert_eq!((polled, response.headers().get(header::CONNECTION)), (2, None));

    for (name, value) in [("content-length", "1048577"), ("expect", "100-continue")] {
        let mut request = unsigned(body());
        request.headers_mut().insert(name, value.parse().unwrap());
        let (response, polled) = refused(request).await;
        assert_eq!(polled, 0, "{name}");
        assert_eq!(response.headers()[header::CONNECTION], "close", "{name}");
    }
    // A stream of HTTP/2 ends without its connection.
    let mut request = unsigned(body());
    *request.version_mut() = http::Version::HTTP_2;
    let (response, polled) = refused(request).await;
    assert_eq!((polled, response.headers().get(header::CONNECTION)), (0, None));
}

/// There is nothing to wake it, and no timer.
#[test]
fn a_refusal_needs_no_runtime() {
    let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let mut response = pin!(app.oneshot(unsigned(Body::new(body))));
    let mut poll = || response.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let response = (0..10).find_map(|_| match poll() {
        Poll::Ready(response) => Some(response.unwrap()),
        Poll::Pending => None,
    });
    assert_eq!(response.unwrap().status(), 401);
}

#[tokio::test]
async fn a_body_of_many_kinds_of_frames_ends_when_there_are_none() {
    let trailers = Frame::trailers(http::HeaderMap::new());
    let (first, second) = COMPLETED.split_at(50);
    let frames = [
        Frame::data(Bytes::new()),
        Frame::data(first.into()),
        trailers,
        Frame::data(second.into()),
    ];
    let frames = stream::iter(frames.map(Ok::<_, Infallible>));
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let request = signed(Body::new(StreamBody::new(frames)));
    assert_eq!(app.oneshot(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_body_error_is_a_400_with_its_reason() {
    let frames = [Ok(Bytes::from(COMPLETED)), Err("the connection is gone")];
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let request = signed(Body::from_stream(stream::iter(frames)));
    let response = axum_response(app.oneshot(request).await.unwrap()).await;
    assert_eq!((response.status, response.rejection), (400, Some(RejectionKind::BodyBrokenOff)));
}

#[tokio::test]
async fn a_limit_in_front_is_answered_as_our_own() {
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let app = app.layer(RequestBodyLimitLayer::new(100));
    let chunks = COMPLETED.as_bytes().chunks(20).map(|chunk| Ok::<_, Infallible>(chunk.into()));
    let chunks: Vec<Result<Bytes, _>> = chunks.collect();
    let request = signed(Body::from_stream(stream::iter(chunks)));
    let response = axum_response(app.oneshot(request).await.unwrap()).await;
    let expected = (413, Some(RejectionKind::BodyTooLarge), 0);
    assert_eq!((response.status, response.rejection, response.body.len()), expected);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_front_is_answered_as_our_own() {
    let start = tokio::time::Instant::now();
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let app = app.layer(RequestBodyTimeoutLayer::new(Duration::from_secs(1)));
    let response = axum_response(app.oneshot(signed(stalled())).await.unwrap()).await;
    let expected = (408, Some(RejectionKind::BodyTooSlow), 0);
    assert_eq!((response.status, response.rejection, response.body.len()), expected);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn axums_own_extractors_take_what_the_verifier_takes() {
    let body = COMPLETED.replace("job_abc123", &"x".repeat(3 * 1024 * 1024));
    let verify = || VerifyNumber7::new(verifier().body_limit(4 * 1024 * 1024));
    let send = async |route: MethodRouter| {
        let request = Request::post("/webhook")
            .header(SIGNATURE_HEADER, sign(&body))
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.clone())).unwrap();
        let app = Router::new().route("/webhook", route).layer(verify());
        app.oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(send(post(async |_: Bytes| ())).await, 200);
    assert_eq!(send(post(async |_: String| ())).await, 200);
    assert_eq!(send(post(async |_: Json<serde_json::Value>| ())).await, 200);
    let limited = post(async |_: Bytes| ()).layer(axum::extract::DefaultBodyLimit::max(1_000));
    assert_eq!(send(limited).await, 413, "a limit behind the layer is the app's own");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_a_408_at_the_deadline_and_not_before() {
    let start = tokio::time::Instant::now();
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let response = axum_response(app.oneshot(signed(stalled())).await.unwrap()).await;
    assert_eq!((response.status, response.rejection), (408, Some(RejectionKind::BodyTooSlow)));
    let took = start.elapsed();
    assert!((10_000..10_100).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn without_a_wait_no_timer_and_no_runtime_is_needed() {
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let response = app.oneshot(signed(whole())).now_or_never().unwrap().unwrap();
    assert_eq!(response.status(), 200);
}

type BoxedService = BoxCloneService<AxumRequest, Response<ResponseBody<Body>>, Infallible>;

/// The layer around a service that takes one call at a time.
fn limited(handler: fn() -> Pin<Box<dyn Future<Output = ()> + Send>>) -> BoxedService {
    let inner = service_fn(move |_: AxumRequest| async move {
        handler().await;
        Ok(axum::response::Response::default())
    });
    BoxCloneService::new(
        ServiceBuilder::new()
            .layer(VerifyNumber7::new(verifier()))
            .layer(ConcurrencyLimitLayer::new(1))
            .service(inner),
    )
}

#[tokio::test]
async fn an_inner_concurrency_limit_is_asked_before_each_call() {
    let mut service = limited(|| Box::pin(async {}));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(signed(whole())).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn an_inner_service_that_is_not_ready_is_waited_for() {
    let mut service = limited(|| Box::pin(std::future::pending()));
    let mut first = service.ready().await.unwrap().call(signed(whole()));
    assert!(poll!(&mut first).is_pending());
    let not_ready = poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_pending())).await;
    assert!(not_ready, "the readiness of the inner service is passed on");
    drop(first);
    service.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_takes_no_place_of_the_inner_service() {
    let mut service = limited(|| Box::pin(async {}));
    let mut stalling = service.ready().await.unwrap().call(signed(stalled()));
    assert!(poll!(&mut stalling).is_pending());
    let is_taken = poll_fn(|cx| Poll::Ready(service.poll_ready(cx).is_pending())).await;
    assert!(is_taken, "a body that comes in the next turn would have to wait again");
    for _ in 0..2 {
        assert!(poll!(&mut stalling).is_pending());
    }
    let good = async { service.ready().await.unwrap().call(signed(whole())).await.unwrap() };
    let good = tokio::time::timeout(Duration::from_secs(1), good).await.unwrap();
    assert_eq!(good.status(), 200);
    assert_eq!(stalling.await.unwrap().status(), 408);
}

#[tokio::test]
async fn a_refusal_takes_no_place_of_the_inner_service() {
    let mut refused = limited(|| Box::pin(async {}));
    let mut other = refused.clone();
    let response = refused.ready().await.unwrap().call(unsigned(whole())).await.unwrap();
    assert_eq!(response.status(), 401);
    tokio::time::timeout(Duration::from_secs(30), other.ready()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_byte_in_every_turn_is_no_way_around_the_deadline() {
    let bytes = stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((Ok::<_, Infallible>(Bytes::from(" ")), ()))
    });
    let start = tokio::time::Instant::now();
    let app = Router::new().route("/webhook", post(webhook)).layer(VerifyNumber7::new(secret()));
    let response =
        axum_response(app.oneshot(signed(Body::from_stream(bytes))).await.unwrap()).await;
    assert_eq!((response.status, response.rejection), (408, Some(RejectionKind::BodyTooSlow)));
    assert!((10_000..10_100).contains(&start.elapsed().as_millis()));
}

#[tokio::test]
async fn a_body_that_comes_in_the_next_turn_needs_no_place() {
    let verifier = verifier().max_held_bodies(1);
    let app = || {
        let verify = VerifyNumber7::new(verifier.clone());
        Router::new().route("/webhook", post(webhook)).layer(verify)
    };
    let mut stalling = app().oneshot(signed(stalled()));
    assert!(poll!(&mut stalling).is_pending() && poll!(&mut stalling).is_pending());
    let next_turn = stream::once(async {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(Bytes::from(COMPLETED))
    });
    let response = app().oneshot(signed(Body::from_stream(next_turn))).await.unwrap();
    assert_eq!(response.status(), 200);
    let later = app().oneshot(signed(stalled())).await.unwrap();
    assert_eq!(later.status(), 503);
}

#[tokio::test]
async fn a_late_body_waits_for_the_place_that_it_gave_up() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let frames = stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(bytes), receiver))
    });
    let mut service = limited(|| Box::pin(async {}));
    let late = signed(Body::from_stream(frames));
    let mut late = service.ready().await.unwrap().call(late);
    for _ in 0..3 {
        assert!(poll!(&mut late).is_pending());
    }
    // Another caller is ready first, and holds the only place.
    tokio::time::timeout(Duration::from_secs(30), service.ready()).await.unwrap().unwrap();
    sender.send(COMPLETED.into()).unwrap();
    drop(sender);
    assert!(poll!(&mut late).is_pending(), "the place is taken");
    let response = service.call(signed(whole())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(late.await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_inner_services_error_passes_untouched() {
    let inner = service_fn(async |_: Request<Full<Bytes>>| Err::<Response<Full<Bytes>>, _>("mine"));
    let service = VerifyNumber7Service::new(inner, secret());
    assert_eq!(service.oneshot(signed(Full::from(COMPLETED))).await.unwrap_err(), "mine");
}

#[tokio::test]
async fn a_service_that_is_called_twice_at_once_keeps_the_deliveries_apart() {
    let echo = service_fn(async |request: Request<Full<Bytes>>| {
        let delivery = request.extensions().get::<Delivery>().unwrap().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(*delivery.body(), body);
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let mut service = VerifyNumber7Service::new(echo, secret());
    let mut call = |body: &'static str| {
        let request = Request::post("/").header(SIGNATURE_HEADER, sign(body));
        service.call(request.body(Full::from(body)).unwrap())
    };
    let (one, two) = (call("1"), call("2"));
    let (two, one) = (two.await.unwrap(), one.await.unwrap());
    assert_eq!(one.into_body().collect().await.unwrap().to_bytes(), "1");
    assert_eq!(two.into_body().collect().await.unwrap().to_bytes(), "2");
}
