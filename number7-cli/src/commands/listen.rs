use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use number7_core::{Delivery, Rejection, Verifier};
use number7_tower::{Verified, VerifyNumber7};
use serde_json::json;
use tokio::{net::TcpListener, select, signal, task::spawn_blocking, time::sleep};
use ureq::http::Uri;

use crate::{
    BoxError, Verdict,
    client::{Client, Message, url},
    output::{BAD, FAINT, GOOD, Output, styled},
    recording::{Recorded, Recording},
    secret::{Recognized, SecretArgs, diagnosing},
    tls::TlsArgs,
};

/// Receive deliveries, and print, record and forward them
///
/// Each delivery is verified, and each refusal is printed with its cause. A verified delivery gets a 200
/// or, with --forward, the answer of the app. Ctrl-C ends it.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 listen
  number7 listen --record deliveries.jsonl
  number7 listen --addr 0.0.0.0:8080 --forward http://127.0.0.1:3000/webhook")]
pub(crate) struct Args {
    /// Where to listen, at every path
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Append each verified delivery to a file, for `number7 replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Forward each verified delivery, unchanged, and answer what this receiver answers
    #[arg(long, value_name = "URL", value_parser = url)]
    forward: Option<Uri>,
    /// Recognize deliveries of another environment, whose secret is in a variable
    #[arg(long, value_name = "NAME=VARIABLE", value_parser = Recognized::parse)]
    recognize: Vec<Recognized>,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How long running requests may take after Ctrl-C: 2 seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What each request needs.
#[derive(Clone)]
struct Listener {
    output: Output,
    record: Option<Arc<Recording>>,
    forward: Option<(Uri, Client)>,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let record = args.record.as_deref().map(Recording::append_to).transpose()?;
    let client = Client::new(&args.tls)?;
    let listener = Listener {
        output,
        record: record.map(Arc::new),
        forward: args.forward.map(|url| (url, client)),
    };
    let app = app(listener, diagnosing(args.secret.load()?, &args.recognize)?);
    let bound = TcpListener::bind(args.addr).await;
    let bound = bound.map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    let url = format!("http://{}/webhook", bound.local_addr()?);
    output.print(|| format!("listening on {url}"), || json!({ "listening": url }));
    serve(bound, app).await?;
    Ok(Verdict::Yes)
}

/// Serves until Ctrl-C.
pub(crate) async fn serve(bound: TcpListener, app: Router) -> io::Result<()> {
    let ended = async { _ = signal::ctrl_c().await };
    let server = axum::serve(bound, app).with_graceful_shutdown(ended);
    // An open connection must not delay the end for long.
    let patience = async {
        _ = signal::ctrl_c().await;
        sleep(PATIENCE).await;
    };
    select! {
        served = server.into_future() => served,
        () = patience => Ok(()),
    }
}

fn app(listener: Listener, verifier: Verifier) -> Router {
    Router::new()
        .fallback(receive)
        .layer(VerifyNumber7::new(verifier))
        .layer(from_fn_with_state(listener.clone(), refused))
        .with_state(listener)
}

/// Prints refusals.
async fn refused(State(listener): State<Listener>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(rejection) = response.extensions().get::<Rejection>() else { return response };
    let status = response.status().as_u16();
    let kind = format!("{:?}", rejection.kind());
    let why = match rejection.diagnosis() {
        Some(diagnosis) => diagnosis.to_string(),
        None => rejection.log_text(),
    };
    listener.output.print(
        || format!("{} {} {status} {kind}: {why}", now(), styled(BAD, "refused ")),
        || json!({ "refused": kind, "status": status, "why": why, "time": now() }),
    );
    response
}

async fn receive(
    State(listener): State<Listener>,
    Verified(delivery): Verified<Delivery>,
    headers: HeaderMap,
) -> Response {
    // A separate task, so that it is printed even if the sender hangs up.
    let taken = tokio::spawn(async move { listener.take(&delivery, &headers).await });
    taken.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Listener {
    /// Records, forwards and prints a delivery.
    async fn take(&self, delivery: &Delivery, headers: &HeaderMap) -> Response {
        let message = message(delivery, headers);
        let event = delivery.event().ok().map(|event| event.name().to_owned());
        let key = delivery.idempotency_key().ok().map(|key| key.to_string());
        let what = key.clone().or_else(|| event.clone()).unwrap_or_else(|| "no event".into());
        let recorded = Recorded::new(&message, event, key);
        let time = recorded.time.clone();
        if let Some(record) = &self.record
            && let Err(error) = record.add(&recorded)
        {
            // A 503 makes the sender deliver it again.
            self.output.error(&*error);
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let (response, forwarded) = self.forward(message).await;
        let (status, signed_by) = (response.status().as_u16(), delivery.signed_by());
        let bytes = delivery.body().len();
        self.output.print(
            || {
                let rest = styled(FAINT, format!("{bytes} bytes"));
                format!("{time} {} {status} {what} {rest}{forwarded}", styled(GOOD, "verified"))
            },
            || {
                json!({
                    "verified": what, "status": status, "signed_by": signed_by, "bytes": bytes,
                    "body": String::from_utf8_lossy(delivery.body()), "time": time,
                })
            },
        );
        response
    }

    /// The app's answer, and what to print about it.
    async fn forward(&self, message: Message) -> (Response, String) {
        let Some((url, client)) = self.forward.clone() else {
            return (StatusCode::OK.into_response(), String::new());
        };
        let (begun, to) = (Instant::now(), url.clone());
        let answer = spawn_blocking(move || client.post(&url, &message)).await;
        match answer.map_err(BoxError::from).and_then(|answer| answer) {
            Ok(answer) => {
                let style = if answer.status().is_success() { GOOD } else { BAD };
                let status = styled(style, answer.status());
                let text = format!(", forwarded: {status} in {:.1?}", begun.elapsed());
                (hand_on(answer), text)
            }
            Err(error) => {
                let text = format!(", not forwarded to {to}: {}", styled(BAD, error));
                (StatusCode::BAD_GATEWAY.into_response(), text)
            }
        }
    }
}

/// The delivery, without the headers of its connection.
fn message(delivery: &Delivery, headers: &HeaderMap) -> Message {
    let kept = headers.iter().filter(|(name, _)| !belongs_to_the_connection(name, headers));
    let kept = kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Message { headers: kept.collect(), body: delivery.body().to_vec() }
}

/// The answer of the app, for the sender.
fn hand_on(answer: ureq::http::Response<Vec<u8>>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let kept = parts.headers.clone();
    for name in kept.keys().filter(|name| belongs_to_the_connection(name, &kept)) {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether a header is about this connection, and not about the delivery.
fn belongs_to_the_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    const NAMES: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::HOST,
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let mut lists = headers.get_all(header::CONNECTION).iter().filter_map(|it| it.to_str().ok());
    NAMES.contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
        || lists.any(|list| list.split(',').any(|it| it.trim().eq_ignore_ascii_case(name.as_str())))
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
