//! Every request of the table, every attempt of a worker, and every acceptance is counted once, in both frameworks.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use number7_core::{RejectionKind, SIGNATURE_HEADER, probe::Answer};
use number7_inbox::{Failure, Inbox};
use number7_tests::{
    COMPLETED, diagnosing,
    in_process::{actix, actix_app, axum, axum_app},
    probes,
    running::{PATIENCE, abandon, accept, accept_again},
    server::Server,
    sign,
    socket::Socket,
    store::Store,
    verifier,
};

const DELIVERIES: &str = "number7_deliveries_total";

/// The expected counts, as they are rendered.
#[derive(Default)]
struct Expected(BTreeMap<String, u32>);

impl Expected {
    fn count(&mut self, line: String) {
        *self.0.entry(line).or_default() += 1;
    }

    fn add(&mut self, answer: Answer) {
        let verified = || format!(r#"{DELIVERIES}{{outcome="verified",kind="",secret="primary"}}"#);
        match answer {
            Answer::Refused(kind @ RejectionKind::Untypable) => {
                self.count(verified());
                self.count(format!(r#"number7_answers_refused_total{{kind="{}"}}"#, kind.name()));
            }
            Answer::Refused(kind) => {
                let kind = kind.name();
                self.count(format!(r#"{DELIVERIES}{{outcome="refused",kind="{kind}",secret=""}}"#));
            }
            _ => self.count(verified()),
        }
    }

    fn assert(self, rendered: &str) {
        let lines = rendered.lines().filter(|line| line.starts_with("number7"));
        let counted: BTreeMap<String, u32> = lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
            .collect();
        assert!(self.0.len() > 5, "{:?}", self.0);
        assert_eq!(counted, self.0);
    }
}

macro_rules! counts {
    ($framework:path) => {{
        tokio::time::pause();
        let recorder = PrometheusBuilder::new().build_recorder();
        let _local = metrics::set_default_local_recorder(&recorder);
        let mut expected = Expected::default();
        for probe in probes().table() {
            if $framework(verifier(), &probe).await.is_some() {
                expected.add(probe.answer());
            }
        }
        expected.assert(&recorder.handle().render());
    }};
}

#[tokio::test]
async fn axum_counts_every_request_once() {
    counts!(axum);
}

#[actix_web::test]
async fn actix_counts_every_request_once() {
    counts!(actix);
}

/// The line for a forged request whose sender hung up during the diagnosis.
const MISMATCH: &str =
    r#"number7_deliveries_total{outcome="refused",kind="signature_mismatch",secret=""} 1"#;

/// Lets a diagnosis of many steps begin, and drops it.
async fn hang_up<T>(response: impl Future<Output = T>) {
    let mut response = std::pin::pin!(response);
    for _ in 0..10 {
        assert!(futures_util::poll!(response.as_mut()).is_pending(), "it is answered");
    }
}

#[tokio::test]
async fn axum_counts_a_forged_request_whose_sender_hangs_up_during_its_diagnosis() {
    use tower::ServiceExt;
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let request = http::Request::post("/webhook").header(SIGNATURE_HEADER, "0".repeat(64));
    let request = request.body(axum::body::Body::from(COMPLETED)).unwrap();
    hang_up(axum_app(diagnosing()).oneshot(request)).await;
    let rendered = recorder.handle().render();
    assert!(rendered.lines().any(|line| line == MISMATCH), "{rendered}");
}

#[actix_web::test]
async fn actix_counts_a_forged_request_whose_sender_hangs_up_during_its_diagnosis() {
    use actix_web::{App, dev::Service, test};
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let app = test::init_service(App::new().configure(actix_app(diagnosing()))).await;
    let request = test::TestRequest::post().uri("/webhook").set_payload(COMPLETED);
    let request = request.insert_header((SIGNATURE_HEADER, "0".repeat(64))).to_request();
    hang_up(app.call(request)).await;
    let rendered = recorder.handle().render();
    assert!(rendered.lines().any(|line| line == MISMATCH), "{rendered}");
}

#[actix_web::test]
async fn actix_counts_a_refusal_once_however_often_it_is_rendered() {
    use actix_web::{
        App, Error,
        body::MessageBody,
        dev::{Service, ServiceRequest, ServiceResponse},
        middleware::{Next, from_fn},
        test::{TestRequest, init_service},
    };
    use number7_tests::sign;

    async fn render_again(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        let response = next.call(request).await?;
        let error = response.response().error().unwrap();
        for _ in 0..3 {
            assert_eq!(error.as_response_error().error_response().status(), response.status());
        }
        Ok(response)
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let app = App::new().configure(actix_app(verifier())).wrap(from_fn(render_again));
    let app = init_service(app).await;
    let post = || TestRequest::post().uri("/webhook").set_payload("{}");
    let untypable = post().insert_header((SIGNATURE_HEADER, sign("{}")));
    assert_eq!(app.call(post().to_request()).await.unwrap().status(), 401);
    assert_eq!(app.call(untypable.to_request()).await.unwrap().status(), 400);
    let rendered = recorder.handle().render();
    for line in [
        r#"number7_deliveries_total{outcome="refused",kind="missing_signature",secret=""} 1"#,
        r#"number7_deliveries_total{outcome="verified",kind="",secret="primary"} 1"#,
        r#"number7_answers_refused_total{kind="untypable"} 1"#,
    ] {
        assert!(rendered.lines().any(|rendered| rendered == line), "{line}: {rendered}");
    }
}

#[tokio::test]
async fn each_attempt_is_counted_by_its_outcome_and_the_first_one_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let store = Store::sqlite();
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let worker = inbox.worker(async |_| {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        match CALLS.fetch_add(1, Ordering::Relaxed) {
            0 => Err(Failure::snooze(Duration::ZERO, "not yet")),
            1 | 2 => Err("it fails".into()),
            _ => Ok(()),
        }
    });
    worker.backoff(Duration::ZERO, Duration::ZERO).run_until(store.settled(PATIENCE)).await;
    let rendered = recorder.handle().render();
    for line in [
        "number7_first_attempt_delay_seconds_count 1",
        r#"number7_attempt_duration_seconds_count{outcome="snoozed"} 1"#,
        r#"number7_attempt_duration_seconds_count{outcome="error"} 2"#,
        r#"number7_attempt_duration_seconds_count{outcome="done"} 1"#,
    ] {
        assert!(rendered.lines().any(|rendered| rendered == line), "{line}: {rendered}");
    }
}

/// The store does not answer, and the sender does not wait for that.
#[tokio::test]
async fn an_acceptance_that_is_abandoned_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let store = Store::sqlite();
    let inbox = store.open().await;
    abandon(&store, &inbox).await;
    let rendered = recorder.handle().render();
    let line = r#"number7_acceptance_duration_seconds_count{outcome="abandoned"} 1"#;
    assert!(rendered.lines().any(|rendered| rendered == line), "{rendered}");
}

/// Another body for a known event.
#[tokio::test]
async fn a_conflict_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    let inbox = Inbox::memory();
    accept_again(&inbox).await;
    let rendered = recorder.handle().render();
    let line = r#"number7_acceptance_duration_seconds_count{outcome="conflict"} 1"#;
    assert!(rendered.lines().any(|rendered| rendered == line), "{rendered}");
}

/// The names in the double quotes of a source, or in the back quotes of a page.
fn names(text: &str, quote: char) -> BTreeSet<&str> {
    let is_name = |part: &&str| {
        let is_part = |char: char| char.is_ascii_lowercase() || matches!(char, '0'..='9' | '_');
        // Crates have names of two words.
        part.chars().all(is_part) && part.starts_with("number7_") && part.matches('_').count() > 1
    };
    text.split(quote).filter(is_name).collect()
}

/// The names of all metrics.
fn counted() -> BTreeSet<&'static str> {
    let deliveries = include_str!("../../number7-core/src/adapter/metrics.rs");
    let inbox = include_str!("../../number7-inbox/src/measure.rs");
    [deliveries, inbox].into_iter().flat_map(|source| names(source, '"')).collect()
}

#[test]
fn the_pages_have_all_metrics_and_no_other() {
    let deliveries = include_str!("../../number7-core/src/adapter/metrics.rs");
    let inbox = include_str!("../../number7-inbox/guide/metrics.md");
    let pages = [deliveries, inbox].into_iter().flat_map(|page| names(page, '`'));
    assert_eq!(pages.collect::<BTreeSet<_>>(), counted());
}

#[tokio::test]
async fn every_metric_has_a_help() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = metrics::set_default_local_recorder(&recorder);
    _ = number7_tower::VerifyNumber7::new(verifier());
    number7_core::adapter::metrics::verified(&number7_tests::delivery("job.completed", "job_1"));
    let inbox = Inbox::memory();
    accept_again(&inbox).await;
    inbox.stats().await.unwrap();
    let rendered = recorder.handle().render();
    let typed: BTreeSet<_> = words(&rendered, "# TYPE ").collect();
    let helped: BTreeSet<_> = words(&rendered, "# HELP ").collect();
    assert!(typed.len() > 5 && typed.is_subset(&helped), "{rendered}");
    assert!(typed.iter().all(|name| counted().contains(name)), "{rendered}");
}

/// The word after each beginning of a line.
fn words<'a>(text: &'a str, beginning: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(beginning)?.split(' ').next())
}

/// An alert on a metric that does not exist never fires, and a chart of it stays empty.
#[test]
fn the_alerts_and_the_dashboard_name_metrics_that_there_are() {
    let counted = counted();
    for (file, least) in [
        (include_str!("../../docs/prometheus-alerts.yml"), 6),
        (include_str!("../../docs/grafana-dashboard.json"), 8),
    ] {
        let is_end = |char: char| !char.is_ascii_alphanumeric() && char != '_';
        let named = file.split(is_end).filter(|word| word.starts_with("number7_"));
        let named: BTreeSet<_> = named
            .map(|name| {
                let of_histogram =
                    ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
                of_histogram.filter(|name| counted.contains(name)).unwrap_or(name)
            })
            .collect();
        assert!(named.len() >= least, "{named:?}");
        let unknown: Vec<_> = named.difference(&counted).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

#[test]
#[cfg_attr(no_promtool, ignore = "promtool is not installed: see CONTRIBUTING.md")]
fn prometheus_takes_the_alerts() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/prometheus-alerts.yml");
    const PROMTOOL: Option<&str> = option_env!("PROMTOOL");
    let checked = Command::new(PROMTOOL.expect("promtool is not installed"))
        .args(["check", "rules", file])
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Over sockets, because a server may drop what waits for a sender that is gone.
#[test]
fn a_sender_that_goes_away_in_its_body_is_counted_once_in_both_frameworks() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let broken_off = || {
        let rendered = handle.render();
        let line = rendered.lines().find(|line| line.contains("body_broken_off"));
        line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap())
    };
    let mut expected = 0;
    for server in Server::both(verifier) {
        for resets in [false, true] {
            let mut socket = Socket::connect(server.addr);
            socket.write_head(&sign(COMPLETED), COMPLETED.len());
            socket.write(&COMPLETED[..50]);
            // The receiver must have the head before the reset discards it.
            thread::sleep(Duration::from_millis(100));
            if resets {
                socket.reset();
            } else {
                drop(socket);
            }
            expected += 1;
            let begun = Instant::now();
            while broken_off() < expected {
                let what = format!("{}, reset: {resets}", server.framework);
                assert!(begun.elapsed() < PATIENCE, "{what}: not counted");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
    // None of them is counted a second time.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(broken_off(), expected);
}
