//! Sends the [probes](number7_core::probe) to a service in the same process.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_LENGTH};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use number7_core::probe::{Ending, Observed, Probe, Probes, Step};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep, timeout};
use tower_service::Service;

/// Sends all [probes](number7_core::probe) that need no socket to a service, such as an axum `Router`,
/// and panics if it breaks a rule.
///
/// Four of the probes make the receiver wait for its body timeout, 10 seconds by default. If the app
/// waits for nothing outside tokio, `#[tokio::test(start_paused = true)]` (tokio's feature `test-util`)
/// skips that wait. An app with a database or an inbox needs the real clock, because a paused one jumps
/// ahead of real I/O: give its verifier and the probes a shorter [timeout](Probes::body_timeout).
///
/// # Panics
///
/// A rule is broken. The message names it, and says what to fix.
///
/// # Example
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use number7_tower::{Event, Secret, Verified, VerifyNumber7, assert_receiver, probe::Probes};
///
/// fn app(secret: Secret) -> Router {
///     let webhook = post(async |Verified(_): Verified<Event>| StatusCode::OK);
///     Router::new().route("/webhook", webhook.layer(VerifyNumber7::new(secret)))
/// }
///
/// # // What a user writes as `#[tokio::test(start_paused = true)]`.
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let secret = Secret::new("a secret for the test").unwrap();
/// assert_receiver(app(secret.clone()), &Probes::new(secret)).await;
/// # }
/// ```
pub async fn assert_receiver<S, B>(service: S, probes: &Probes)
where
    S: Service<Request<ProbeBody>, Response = Response<B>> + Clone,
    S::Error: std::fmt::Debug,
    B: Body,
{
    let patience = probes.patience();
    let send = async |probe: &Probe| {
        let request = probe_request(probe, probe.path().unwrap_or(probes.path()))?;
        let sent = Instant::now();
        let answer = timeout(patience, answer(service.clone(), request)).await;
        Some(match answer {
            Ok((status, headers, body)) => {
                Observed::Answer { status, headers, body, after: sent.elapsed() }
            }
            Err(_) => Observed::Silence(patience),
        })
    };
    let report = probes.run(send).await;
    assert!(report.is_good(), "{report}");
}

async fn answer<S, B>(
    mut service: S,
    request: Request<ProbeBody>,
) -> (u16, Vec<(String, String)>, Bytes)
where
    S: Service<Request<ProbeBody>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: Body,
{
    let failed = "the service failed, where it should have answered";
    poll_fn(|cx| service.poll_ready(cx)).await.expect(failed);
    let response = service.call(request).await.expect(failed);
    let (parts, body) = response.into_parts();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    (parts.status.as_u16(), headers.collect(), body)
}

/// The request of a probe. `None` if it can be sent only on a socket.
///
/// # Panics
///
/// The path is not that of a URL.
pub fn probe_request(probe: &Probe, path: &str) -> Option<Request<ProbeBody>> {
    let of = probe.request();
    if of.ending() == Ending::Raw {
        return None;
    }
    let mut request = Request::post(path);
    for (name, value) in of.headers() {
        request = request.header(name, value);
    }
    if let Some(length) = of.declared_length() {
        request = request.header(CONTENT_LENGTH, length);
    }
    let request = request.body(ProbeBody::new(of.body_steps()));
    Some(request.expect("the path is that of a URL"))
}

pin_project! {
    /// The body of a probe. It arrives in pieces, and may stall or break off.
    #[derive(Debug)]
    pub struct ProbeBody {
        steps: std::vec::IntoIter<Step>,
        #[pin]
        pause: Option<Sleep>,
    }
}

impl ProbeBody {
    fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into_iter(), pause: None }
    }
}

impl From<Bytes> for ProbeBody {
    fn from(body: Bytes) -> Self {
        Self::new(vec![Step::Write(body)])
    }
}

impl Body for ProbeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut this = self.project();
        loop {
            if let Some(pause) = this.pause.as_mut().as_pin_mut() {
                ready!(pause.poll(cx));
                this.pause.set(None);
            }
            if this.steps.as_slice().first() == Some(&Step::Stall) {
                return Poll::Pending;
            }
            match this.steps.next() {
                Some(Step::Write(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Step::Pause(pause)) => this.pause.set(Some(sleep(pause))),
                Some(_) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                None => return Poll::Ready(None),
            }
        }
    }
}
