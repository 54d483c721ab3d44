//! Sends the [probes](number7_core::probe) to an app in the same process.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_http::Request;
use actix_web::{
    Error,
    body::{MessageBody, to_bytes},
    dev::{Payload, Service, ServiceResponse},
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderValue},
    rt::time::{Sleep, sleep, timeout},
    test::TestRequest,
};
use bytes::Bytes;
use futures_core::Stream;
use number7_core::probe::{Ending, Observed, Probe, Probes, Step};
use pin_project_lite::pin_project;

/// Sends all [probes](number7_core::probe) that need no socket to an app, and panics if it breaks a rule.
///
/// Four of the probes make the receiver wait for its body timeout, 10 seconds by default. If the app
/// waits for nothing outside tokio, calling `tokio::time::pause()` first (tokio's feature `test-util`)
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
/// use actix_web::{App, HttpResponse, test, web};
/// use number7_actix::{Event, Secret, Verified, VerifyNumber7, assert_receiver, probe::Probes};
///
/// async fn webhook(Verified(_): Verified<Event>) -> HttpResponse {
///     HttpResponse::Ok().finish()
/// }
///
/// # // What a user writes as `#[actix_web::test]`.
/// # #[actix_web::main]
/// # async fn main() {
/// tokio::time::pause();
/// let secret = Secret::new("a secret for the test").unwrap();
/// let verify = VerifyNumber7::new(secret.clone());
/// let resource = web::resource("/webhook").wrap(verify).route(web::post().to(webhook));
/// let app = test::init_service(App::new().service(resource)).await;
/// assert_receiver(app, &Probes::new(secret)).await;
/// # }
/// ```
pub async fn assert_receiver<S, B>(app: S, probes: &Probes)
where
    S: Service<Request, Response = ServiceResponse<B>>,
    S::Error: Into<Error>,
    B: MessageBody + 'static,
{
    let patience = probes.patience();
    let send = async |probe: &Probe| {
        let request = probe_request(probe, probe.path().unwrap_or(probes.path()))?;
        let sent = Instant::now();
        Some(match timeout(patience, answer(&app, request)).await {
            Ok((status, headers, body)) => {
                Observed::Answer { status, headers, body, after: sent.elapsed() }
            }
            Err(_) => Observed::Silence(patience),
        })
    };
    let report = probes.run(send).await;
    assert!(report.is_good(), "{report}");
}

async fn answer<S, B>(app: &S, request: Request) -> (u16, Vec<(String, String)>, Bytes)
where
    S: Service<Request, Response = ServiceResponse<B>>,
    S::Error: Into<Error>,
    B: MessageBody + 'static,
{
    // A server turns an error of middleware into a response.
    let response = match app.call(request).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => error.into().error_response(),
    };
    let status = response.status().as_u16();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
    let headers = headers.collect();
    (status, headers, to_bytes(response.into_body()).await.unwrap_or_default())
}

/// The request of a probe. `None` if it can be sent only on a socket.
///
/// # Panics
///
/// The path is not that of a URL.
#[must_use]
pub fn probe_request(probe: &Probe, path: &str) -> Option<Request> {
    let of = probe.request();
    if of.ending() == Ending::Raw {
        return None;
    }
    let mut request = TestRequest::post().uri(path);
    for (name, value) in of.headers() {
        request = request.append_header((name, value));
    }
    if let Some(length) = of.declared_length() {
        request = request.insert_header((CONTENT_LENGTH, length));
    }
    let body = ProbeBody { steps: of.body_steps().into_iter(), pause: None };
    let body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(body);
    Some(request.to_request().replace_payload(Payload::from(body)).0)
}

pin_project! {
    /// The body of a probe. It arrives in pieces, and may stall or break off.
    struct ProbeBody {
        steps: std::vec::IntoIter<Step>,
        #[pin]
        pause: Option<Sleep>,
    }
}

impl Stream for ProbeBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
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
                Some(Step::Write(piece)) => return Poll::Ready(Some(Ok(piece))),
                Some(Step::Pause(pause)) => this.pause.set(Some(sleep(pause))),
                Some(_) => return Poll::Ready(Some(Err(PayloadError::Incomplete(None)))),
                None => return Poll::Ready(None),
            }
        }
    }
}
