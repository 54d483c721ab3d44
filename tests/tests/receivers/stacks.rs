//! Layers and middleware in front of `VerifyNumber7` and behind it, over sockets.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{
        Compat, Compress, Condition, DefaultHeaders, ErrorHandlers, Logger, Next as ActixNext,
        NormalizePath, from_fn as actix_from_fn,
    },
    web,
};
use axum::{
    BoxError, Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::Request as AxumRequest,
    handler::Handler,
    middleware::{Next, from_fn},
    response::Response as AxumResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use number7_core::{Delivery, Event, SIGNATURE_HEADER};
use number7_tests::{COMPLETED, in_process::saw, secret, sign, socket::Socket};
use number7_tower::{Verified, VerifyNumber7};
use tokio::task::spawn_blocking;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer,
    load_shed::LoadShedLayer, service_fn,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    decompression::RequestDecompressionLayer,
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    request_id::{MakeRequestUuid, SetRequestIdLayer},
    timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer},
    trace::TraceLayer,
};

const LONG: Duration = Duration::from_secs(60);

/// The body `{}` compressed by gzip.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab, 0xae, 0x05, 0x00, 0x43, 0xbf,
    0xa6, 0xa3, 0x02, 0x00, 0x00, 0x00,
];

fn verify() -> VerifyNumber7 {
    VerifyNumber7::new(secret())
}

async fn webhook(Verified(event): Verified<Event>) -> String {
    saw(event.name())
}

async fn pass(request: AxumRequest, next: Next) -> AxumResponse {
    next.run(request).await
}

async fn failed(error: BoxError) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, LONG)
}

fn request_id() -> SetRequestIdLayer<MakeRequestUuid> {
    SetRequestIdLayer::new(HeaderName::from_static("x-request-id"), MakeRequestUuid)
}

/// Sends a signed, an unsigned and a forged request to the receiver, which must protect `/webhook`.
fn assert_protects(name: &str, addr: SocketAddr) {
    let answer = |signature: Option<String>| {
        let mut socket = Socket::connect(addr);
        match signature {
            Some(signature) => socket.write_request(&signature, COMPLETED),
            None => {
                let length = COMPLETED.len();
                socket.write(format!(
                    "POST /webhook HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{COMPLETED}"
                ));
            }
        }
        socket.answer().unwrap()
    };
    let good = answer(Some(sign(COMPLETED)));
    assert_eq!(good.status, 200, "{name}");
    // The socket does not read chunks, but the wrappers of some layers send a body in chunks.
    if good.header("transfer-encoding").is_none() {
        assert_eq!(good.body, saw("job.completed"), "{name}");
    }
    for refused in [answer(Some(sign("another body"))), answer(None)] {
        assert_eq!((refused.status, &*refused.body), (401, ""), "{name}");
    }
}

async fn assert_router_protects(name: &'static str, app: Router) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async { axum::serve(listener, app).await });
    spawn_blocking(move || assert_protects(name, addr)).await.unwrap();
    server.abort();
}

/// A route behind a stack of layers.
macro_rules! behind {
    ($($layer:expr),+ $(,)?) => {
        Router::new().route("/webhook", post(webhook)).layer(ServiceBuilder::new()$(.layer($layer))+)
    };
}

/// The layers that change the type of the request's body need `put_back_as` behind them in the same `ServiceBuilder`.
#[tokio::test]
async fn in_axum_all_these_layers_stand_in_front() {
    let verify_as_axum = || verify().put_back_as::<Body>();
    let stacks = [
        ("limit", behind![RequestBodyLimitLayer::new(4096), verify_as_axum()]),
        ("body timeout", behind![RequestBodyTimeoutLayer::new(LONG), verify_as_axum()]),
        ("decompression", behind![RequestDecompressionLayer::new(), verify_as_axum()]),
        ("map to axum's", behind![MapRequestBodyLayer::new(Body::new), verify()]),
        (
            "map to a box",
            behind![
                MapRequestBodyLayer::new(|body: Body| body.boxed_unsync()),
                verify_as_axum(),
                from_fn(pass)
            ],
        ),
        (
            "all of them",
            behind![
                TraceLayer::new_for_http(),
                request_id(),
                CompressionLayer::new(),
                timeout(),
                CatchPanicLayer::new(),
                RequestBodyTimeoutLayer::new(LONG),
                RequestBodyLimitLayer::new(4096),
                verify_as_axum(),
                from_fn(pass),
            ],
        ),
    ];
    for (name, app) in stacks {
        assert_router_protects(name, app).await;
    }
}

#[tokio::test]
async fn in_axum_all_these_layers_stand_behind() {
    let handle = || HandleErrorLayer::new(failed);
    let stacks = [
        ("trace", behind![verify(), TraceLayer::new_for_http()]),
        ("compression", behind![verify(), CompressionLayer::new()]),
        ("timeout", behind![verify(), timeout()]),
        ("response timeout", behind![verify(), ResponseBodyTimeoutLayer::new(LONG)]),
        ("request id", behind![verify(), request_id()]),
        ("catch panic", behind![verify(), CatchPanicLayer::new()]),
        ("concurrency limit", behind![verify(), ConcurrencyLimitLayer::new(1)]),
        ("buffer", behind![handle(), verify(), BufferLayer::new(8)]),
        (
            "load shed",
            behind![handle(), verify(), LoadShedLayer::new(), ConcurrencyLimitLayer::new(1)],
        ),
        ("limit", behind![verify(), RequestBodyLimitLayer::new(4096)]),
        ("from_fn", behind![verify(), from_fn(pass)]),
        (
            "all of them",
            behind![
                handle(),
                verify(),
                TraceLayer::new_for_http(),
                CompressionLayer::new(),
                timeout(),
                request_id(),
                CatchPanicLayer::new(),
                LoadShedLayer::new(),
                BufferLayer::new(8),
                ConcurrencyLimitLayer::new(8),
            ],
        ),
    ];
    for (name, app) in stacks {
        assert_router_protects(name, app).await;
    }
}

#[tokio::test]
async fn in_axum_it_stands_on_routers_and_in_them() {
    let hooks = || Router::new().route("/webhook", post(webhook));
    let other = || Router::new().route("/health", get(async || "up"));
    let below = || Router::new().route("/", post(webhook));
    let service = ServiceBuilder::new().layer(verify()).service(hooks());
    let stacks = [
        ("layer", hooks().layer(verify())),
        ("route_layer", hooks().route_layer(verify()).merge(other())),
        ("merge", other().merge(hooks().layer(verify()))),
        ("in nest", Router::new().nest("/webhook", below().layer(verify()))),
        ("around nest", Router::new().nest("/webhook", below()).layer(verify())),
        ("handler", Router::new().route("/webhook", post(webhook.layer(verify())))),
        ("method router", Router::new().route("/webhook", post(webhook).layer(verify()))),
        ("two layers", hooks().layer(verify()).layer(RequestBodyLimitLayer::new(4096))),
        ("service", Router::new().fallback_service(service)),
    ];
    for (name, app) in stacks {
        assert_router_protects(name, app).await;
    }
}

/// A `GET` that reaches the route gets the framework's 405.
#[tokio::test]
async fn in_axum_another_method_is_refused_like_every_unsigned_request_unless_the_layer_is_on_the_handler()
 {
    let hooks = || Router::new().route("/webhook", post(webhook));
    for (name, app, unsigned) in [
        ("layer", hooks().layer(verify()), 401),
        ("route_layer", hooks().route_layer(verify()), 401),
        ("method router", Router::new().route("/webhook", post(webhook).layer(verify())), 401),
        (
            "its route_layer",
            Router::new().route("/webhook", post(webhook).route_layer(verify())),
            405,
        ),
        ("handler", Router::new().route("/webhook", post(webhook.layer(verify()))), 405),
    ] {
        let get = || Request::get("/webhook");
        let request = get().body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), unsigned, "{name}");
        let request = get().header(SIGNATURE_HEADER, sign("")).body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), 405, "{name}");
    }
}

#[actix_web::test]
async fn in_actix_another_method_is_refused_like_every_unsigned_request_unless_the_middleware_is_on_the_route()
 {
    use actix_web::test::{TestRequest, call_service, init_service};
    let verify = || number7_actix::VerifyNumber7::new(secret());
    let route = || web::post().to(async || "");
    macro_rules! assert_statuses {
        ($name:expr, $app:expr, $unsigned:expr) => {
            let app = init_service($app).await;
            let get = || TestRequest::get().uri("/webhook");
            let response = call_service(&app, get().to_request()).await;
            assert_eq!(response.status(), $unsigned, $name);
            let request = get().insert_header((SIGNATURE_HEADER, sign("")));
            assert_eq!(call_service(&app, request.to_request()).await.status(), 405, $name);
        };
    }
    let resource = || web::resource("/webhook");
    assert_statuses!("resource", App::new().service(resource().wrap(verify()).route(route())), 401);
    assert_statuses!("app", App::new().wrap(verify()).service(resource().route(route())), 401);
    assert_statuses!("route", App::new().service(resource().route(route().wrap(verify()))), 405);
}

/// It removes `Content-Encoding`, so the layer cannot see that these are not the bytes that were sent.
#[tokio::test]
async fn what_a_layer_in_front_has_decompressed_is_not_what_was_signed() {
    let layers = (RequestDecompressionLayer::new(), verify().put_back_as::<Body>());
    let stacked = Router::new().route("/webhook", post(webhook)).layer(layers);
    let alone = Router::new().route("/webhook", post(webhook)).layer(verify());
    for (app, status) in [(stacked, 401), (alone, 415)] {
        let request = Request::post("/webhook")
            .header("content-encoding", "gzip")
            .header(SIGNATURE_HEADER, secret().sign(GZIPPED).to_string());
        let request = request.body(Body::from(GZIPPED)).unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), status);
    }
}

/// hyper alone, without axum.
async fn assert_service_protects<S, B>(name: &'static str, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(io, service));
        }
    });
    spawn_blocking(move || assert_protects(name, addr)).await.unwrap();
    server.abort();
}

async fn plain(request: Request<Full<Bytes>>) -> Result<Response<String>, Infallible> {
    let delivery = request.extensions().get::<Delivery>().unwrap();
    Ok(Response::new(saw(delivery.event().unwrap().name())))
}

/// A body like those of gRPC services: boxed, with its own error type, and without `Default` or `From<Bytes>`.
struct Boxed(UnsyncBoxBody<Bytes, Status>);

#[derive(Debug)]
struct Status;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("internal")
    }
}

impl Error for Status {}

impl http_body::Body for Boxed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

fn boxed<B>(body: B) -> Boxed
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    Boxed(body.map_err(|_| Status).boxed_unsync())
}

#[tokio::test]
async fn in_plain_hyper_it_stands_among_layers_and_boxes() {
    let verify = || verify().put_back_as::<Full<Bytes>>();
    assert_service_protects("alone", verify().layer(service_fn(plain))).await;
    let stack = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(RequestBodyLimitLayer::new(4096))
        .layer(verify())
        .layer(TraceLayer::new_for_http())
        .layer(ConcurrencyLimitLayer::new(8))
        .service_fn(plain);
    assert_service_protects("layers", stack).await;
    let stack = ServiceBuilder::new()
        .layer(MapRequestBodyLayer::new(boxed::<Incoming>))
        .map_response(|response: Response<_>| response.map(boxed))
        .layer(verify())
        .layer(MapRequestBodyLayer::new(boxed::<Full<Bytes>>))
        .service_fn(async |request: Request<Boxed>| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, COMPLETED);
            Ok::<_, Infallible>(Response::new(boxed(saw("job.completed"))))
        });
    assert_service_protects("boxes", stack).await;
}

/// A free port, and a server of actix-web that runs while the socket is used.
macro_rules! assert_app_protects {
    ($name:expr, $app:expr) => {{
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = HttpServer::new(move || $app).workers(1).disable_signals();
        let server = server.listen(listener).unwrap().run();
        let handle = server.handle();
        let server = actix_web::rt::spawn(server);
        spawn_blocking(move || assert_protects($name, addr)).await.unwrap();
        handle.stop(false).await;
        server.await.unwrap().unwrap();
    }};
}

#[actix_web::test]
async fn in_actix_all_this_middleware_stands_in_front_and_behind() {
    async fn pass(
        request: ServiceRequest,
        next: ActixNext<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
        next.call(request).await
    }
    let verify = || number7_actix::VerifyNumber7::new(secret());
    async fn webhook(number7_actix::Verified(event): number7_actix::Verified<Event>) -> String {
        saw(event.name())
    }
    let route = || web::post().to(webhook);
    // Each `wrap` makes another type.
    macro_rules! wrapped {
        ($app:expr) => {
            $app.wrap(Compress::default())
                .wrap(DefaultHeaders::new().add(("x-test", "1")))
                .wrap(NormalizePath::trim())
                .wrap(Logger::default())
                .wrap(ErrorHandlers::new())
                .wrap(actix_from_fn(pass))
        };
    }
    assert_app_protects!(
        "in front",
        wrapped!(App::new().wrap(verify())).route("/webhook", route())
    );
    assert_app_protects!(
        "behind",
        wrapped!(App::new()).wrap(Condition::new(true, verify())).route("/webhook", route())
    );
    assert_app_protects!(
        "scope and resource",
        App::new().service(
            web::scope("")
                .wrap(Compat::new(verify()))
                .service(web::resource("/webhook").wrap(Compress::default()).route(route()))
        )
    );
}
