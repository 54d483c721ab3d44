//! Every request of the table is counted once, in both frameworks.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use metrics_exporter_prometheus::PrometheusBuilder;
use number7_core::{RejectionKind, probe::Answer};
use number7_tests::{
    in_process::{actix, axum},
    probes, verifier,
};

const DELIVERIES: &str = "number7_deliveries_total";

/// What is to be counted, as it is rendered.
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
