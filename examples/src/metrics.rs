//! The metrics of a receiver, for Prometheus to scrape.

use axum::{Router, extract::State, routing::get};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use number7_inbox::Inbox;

/// The upper bounds of the histograms in seconds: a store answers in milliseconds, and a handler may
/// take minutes.
const BUCKETS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// Collects the metrics from now on, and answers `GET /metrics`. Each answer has the current gauges.
///
/// # Errors
///
/// Something else collects metrics in this process.
pub fn metrics(inbox: Inbox) -> Result<Router, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    Ok(Router::new().route("/metrics", get(render)).with_state((inbox, handle)))
}

async fn render(State((inbox, handle)): State<(Inbox, PrometheusHandle)>) -> String {
    if let Err(error) = inbox.stats().await {
        // The other metrics are still useful.
        eprintln!("the gauges are as they were: {error}");
    }
    handle.render()
}
