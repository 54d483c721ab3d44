//! The receivers behind nginx and HAProxy, in Debian's versions.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use number7_core::{
    SIGNATURE_HEADER,
    probe::{Observed, Probe, Probes, Report},
};
use number7_tests::{
    COMPLETED, http_proxy::HttpProxy, secret, server::Server, sign, socket::Socket, verifier,
};
use tokio::{sync::oneshot, time::timeout};

/// Far more than a busy machine needs for bodies that arrive in time.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes nginx pass on a body as it arrives.
const UNBUFFERED: &str = "proxy_request_buffering off; proxy_http_version 1.1;";

/// Whether the doctor is told that the proxy buffers bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doctor {
    Plain,
    Proxied,
}

/// The doctor's report on a receiver behind a proxy.
async fn examine(addr: SocketAddr, doctor: Doctor) -> Report {
    let probes = Probes::new(secret()).body_timeout(BODY_TIMEOUT);
    let patience = probes.patience();
    let send = async |probe: &Probe| {
        if doctor == Doctor::Proxied && probe.needs_unbuffered_body() {
            return Some(Observed::Unseen);
        }
        let (answers, answer) = oneshot::channel();
        let probe = probe.clone();
        // Not on the runtime, which would wait for a probe that is never answered.
        thread::spawn(move || {
            let begun = Instant::now();
            let answer = Socket::probe(addr, &probe);
            _ = answers.send((answer, begun.elapsed()));
        });
        Some(match timeout(patience, answer).await {
            Ok(Ok((Some(answer), after))) => Observed::Answer {
                status: answer.status,
                headers: answer.headers,
                body: answer.body.into(),
                after,
            },
            Ok(_) => Observed::Closed,
            Err(_) => Observed::Silence(patience),
        })
    };
    probes.run(send).await
}

/// A receiver of each framework, behind its own proxy.
fn behind(proxy: impl Fn(SocketAddr) -> HttpProxy) -> Vec<(HttpProxy, Server)> {
    let servers = Server::both(|| verifier().body_timeout(BODY_TIMEOUT));
    servers.into_iter().map(|server| (proxy(server.addr), server)).collect()
}

/// The doctor's reports on a receiver of each framework, behind its own proxy.
async fn examine_both(
    doctor: Doctor,
    proxy: impl Fn(SocketAddr) -> HttpProxy,
) -> Vec<(&'static str, Report)> {
    let both = behind(proxy);
    let examined = both
        .iter()
        .map(async |(proxy, server)| (server.framework, examine(proxy.addr, doctor).await));
    join_all(examined).await
}

async fn assert_all_rules_are_kept(proxy: impl Fn(SocketAddr) -> HttpProxy) {
    for (framework, report) in examine_both(Doctor::Plain, proxy).await {
        assert!(report.is_good(), "{framework}: {report}");
        assert!(report.findings().iter().all(|finding| finding.not_checked.is_none()));
    }
}

#[tokio::test]
#[cfg_attr(no_haproxy, ignore = "haproxy is not installed: see CONTRIBUTING.md")]
async fn all_rules_are_kept_behind_haproxy() {
    assert_all_rules_are_kept(HttpProxy::haproxy).await;
}

#[tokio::test]
#[cfg_attr(no_nginx, ignore = "nginx is not installed: see CONTRIBUTING.md")]
async fn all_rules_are_kept_behind_nginx_that_does_not_buffer_bodies() {
    assert_all_rules_are_kept(|receiver| HttpProxy::nginx(receiver, UNBUFFERED)).await;
}

#[tokio::test]
#[cfg_attr(no_nginx, ignore = "nginx is not installed: see CONTRIBUTING.md")]
async fn all_rules_that_can_be_seen_are_kept_behind_nginx() {
    let nginx = |receiver| HttpProxy::nginx(receiver, "");
    for (framework, report) in examine_both(Doctor::Proxied, nginx).await {
        assert!(report.is_good(), "{framework}: {report}");
        let findings = report.findings();
        let not_checked: Vec<_> =
            findings.iter().filter(|finding| finding.not_checked.is_some()).collect();
        assert!(not_checked.iter().any(|finding| finding.rule == "a body that drips"));
        assert!(not_checked.len() < findings.len() / 4, "{not_checked:#?}");
    }
}

/// The receiver is not blamed for what nginx does, whether it waits for a body or closes the connection.
#[tokio::test]
#[cfg_attr(no_nginx, ignore = "nginx is not installed: see CONTRIBUTING.md")]
async fn the_doctor_finds_out_that_nginx_buffers_bodies() {
    let patient = examine_both(Doctor::Plain, |receiver| HttpProxy::nginx(receiver, ""));
    let closing = |receiver| HttpProxy::nginx(receiver, "client_body_timeout 1s;");
    let (patient, closing) = join(patient, examine_both(Doctor::Plain, closing)).await;
    for (framework, report) in patient.into_iter().chain(closing) {
        let fixes = report.fixes();
        let [fix] = &*fixes else { panic!("{framework}: {report}") };
        assert!(fix.contains("`number7 doctor --proxied`"), "{framework}: {report}");
    }
}

/// If a receiver answers before it has read the whole body, and closes the connection, a proxy answers 502.
fn assert_refusals_arrive(proxy: impl Fn(SocketAddr) -> HttpProxy) {
    // For each framing.
    const TIMES: usize = 25;
    let forged = format!("{SIGNATURE_HEADER}: {}\r\n", "0".repeat(64));
    let signed = format!("{SIGNATURE_HEADER}: {}\r\n", sign(COMPLETED));
    let long = "x".repeat(900_000);
    for (proxy, server) in behind(proxy) {
        for (headers, body, status) in [
            (&*signed, COMPLETED, 200),
            (&*forged, COMPLETED, 401),
            ("", COMPLETED, 401),
            ("", &long[..65_537], 401),
            ("", &long[..200_000], 401),
            ("", &long, 401),
            (&*signed, &long[..65_537], 413),
            (&*signed, &long[..200_000], 413),
            (&*signed, &long, 413),
        ] {
            let head = format!("POST /webhook HTTP/1.1\r\nhost: test\r\n{headers}");
            let length = body.len();
            let declared = format!("{head}content-length: {length}\r\n\r\n{body}");
            let in_chunks = format!(
                "{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            );
            for request in [declared, in_chunks] {
                for _ in 0..TIMES {
                    let mut socket = Socket::connect(proxy.addr);
                    socket.write(&request);
                    let answer = socket.answer().map(|answer| answer.status);
                    assert_eq!(answer, Some(status), "{}: {length} bytes", server.framework);
                }
            }
        }
    }
}

#[test]
#[cfg_attr(no_haproxy, ignore = "haproxy is not installed: see CONTRIBUTING.md")]
fn every_refusal_arrives_through_haproxy() {
    assert_refusals_arrive(HttpProxy::haproxy);
}

#[test]
#[cfg_attr(no_nginx, ignore = "nginx is not installed: see CONTRIBUTING.md")]
fn every_refusal_arrives_through_nginx() {
    assert_refusals_arrive(|receiver| HttpProxy::nginx(receiver, ""));
}

#[test]
#[cfg_attr(no_nginx, ignore = "nginx is not installed: see CONTRIBUTING.md")]
fn every_refusal_arrives_through_nginx_that_does_not_buffer_bodies() {
    assert_refusals_arrive(|receiver| HttpProxy::nginx(receiver, UNBUFFERED));
}
