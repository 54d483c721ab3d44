//! Attempts continue the trace that came with the webhook, in axum and in actix-web, on every store.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_web::{App, test, web};
use axum::{Router, body::Body, http::Request, routing::post_service};
use number7_core::SIGNATURE_HEADER;
use number7_inbox::{AcceptedEvent, Filter, Inbox};
use number7_tests::{body, on_every_store, running::until, sign, store::Store, verifier};
use opentelemetry::{
    KeyValue, SpanId, TraceId,
    trace::{SpanKind, TracerProvider},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tower::ServiceExt;
use tracing_subscriber::layer::SubscriberExt;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(body: &str) -> [(&'static str, String); 3] {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    [(SIGNATURE_HEADER, sign(body)), ("traceparent", parent), ("tracestate", "a=1".into())]
}

async fn axum(inbox: Inbox, body: String) {
    use number7_tower::{AcceptNumber7, VerifyNumber7};
    let webhook = post_service(AcceptNumber7::new(inbox)).layer(VerifyNumber7::new(verifier()));
    let request = headers(&body)
        .into_iter()
        .fold(Request::post("/webhook"), |request, header| request.header(header.0, header.1));
    let request = request.body(Body::from(body)).unwrap();
    let response = Router::new().route("/webhook", webhook).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
}

async fn actix(inbox: Inbox, body: String) {
    use number7_actix::{AcceptNumber7, VerifyNumber7};
    let webhook = web::resource("/webhook").wrap(VerifyNumber7::new(verifier()));
    let webhook = webhook.route(web::post().to(AcceptNumber7::new(inbox)));
    let app = test::init_service(App::new().service(webhook)).await;
    let request = headers(&body)
        .into_iter()
        .fold(test::TestRequest::post().uri("/webhook"), |request, header| {
            request.insert_header(header)
        });
    let response = test::call_service(&app, request.set_payload(body).to_request()).await;
    assert_eq!(response.status().as_u16(), 200);
}

/// Collects the spans of all tests, because workers may run on any thread.
fn exporter() -> InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    let begin = || {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
            .unwrap();
        exporter
    };
    EXPORTER.get_or_init(begin).clone()
}

async fn the_first_attempt_is_a_child_and_others_are_linked(store: Store) {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let (exporter, test) = (exporter(), TESTS.fetch_add(1, Ordering::Relaxed));
    let jobs = ["axum", "actix"].map(|framework| format!("{framework}_{test}"));
    let inbox = store.open().await;
    axum(inbox.clone(), body("job.completed", &jobs[0])).await;
    actix(inbox.clone(), body("job.completed", &jobs[1])).await;
    let attempts = AtomicU32::new(0);
    let handle = move |_: AcceptedEvent| {
        let is_first = attempts.fetch_add(1, Ordering::Relaxed) < 2;
        async move { if is_first { Err("not yet") } else { Ok(()) } }
    };
    let worker = inbox.worker(handle).backoff(Duration::ZERO, Duration::ZERO);
    let is_rerun = async || {
        until(async || inbox.stats().await.unwrap().done == 2).await;
        inbox.rerun(Filter::new()).await.unwrap();
        until(async || inbox.stats().await.unwrap().done == 2).await;
    };
    worker.run_until(is_rerun()).await;

    let spans = exporter.get_finished_spans().unwrap();
    let attempts: Vec<_> = spans.iter().filter(|span| span.name == "attempt").collect();
    let (trace, sender) = (TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex(SPAN).unwrap());
    for job in jobs {
        let id = KeyValue::new("messaging.message.id", format!("job.completed:{job}"));
        let of_job = attempts.iter().filter(|span| span.attributes.contains(&id));
        let of_job: Vec<&SpanData> = of_job.copied().collect();
        let [first, second, rerun] = &*of_job else { panic!("{job}: {of_job:?}") };
        assert_eq!((first.span_context.trace_id(), first.parent_span_id), (trace, sender));
        assert_eq!(first.span_context.trace_state().header(), "a=1");
        assert_eq!(first.links.len(), 0);
        for later in [second, rerun] {
            assert_ne!(later.span_context.trace_id(), trace, "{job}");
            let [link] = &later.links[..] else { panic!("{later:?}") };
            assert_eq!(
                (link.span_context.trace_id(), link.span_context.span_id()),
                (trace, sender)
            );
        }
        for span in [first, second, rerun] {
            assert_eq!(span.span_kind, SpanKind::Consumer);
            let kind = KeyValue::new("messaging.operation.type", "process");
            assert!(span.attributes.contains(&kind), "{span:?}");
        }
    }
}

on_every_store!(the_first_attempt_is_a_child_and_others_are_linked);
