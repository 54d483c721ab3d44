use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use number7_core::{Delivery, Rejection, Secret, Verifier};
use number7_tower::{Verified, VerifyNumber7};
use serde_json::json;
use tokio::{net::TcpListener, signal, task::spawn_blocking};
use ureq::http::Uri;

use crate::{
    BoxError, Verdict,
    client::{Client, Message, url},
    output::{BAD, FAINT, GOOD, Output, styled},
    recording::Recorded,
    secret::{Recognized, SecretArgs},
    tls::TlsArgs,
};

/// Receive deliveries, and print, record and forward them
///
/// Each delivery is verified, and each refusal is printed with its cause. What is verified is
/// answered 200, or what the app answers to which it is forwarded. It ends at Ctrl-C.
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
    /// Tell deliveries of another environment, whose secret is in a variable
    #[arg(long, value_name = "NAME=VARIABLE", value_parser = Recognized::parse)]
    recognize: Vec<Recognized>,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

/// What each request needs.
#[derive(Clone)]
struct Listener {
    output: Output,
    record: Option<Arc<File>>,
    forward: Option<(Uri, Client)>,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let record = args.record.as_ref().map(|path| {
        let opened = File::options().create(true).append(true).open(path);
        opened.map(Arc::new).map_err(|error| format!("{}: {error}", path.display()))
    });
    let client = Client::new(&args.tls)?;
    let listener = Listener {
        output,
        record: record.transpose()?,
        forward: args.forward.map(|url| (url, client)),
    };
    let app = app(listener, verifier(args.secret.load()?, args.recognize));
    let bound = TcpListener::bind(args.addr).await;
    let bound = bound.map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    let url = format!("http://{}/webhook", bound.local_addr()?);
    output.print(|| format!("listening on {url}"), || json!({ "listening": url }));
    let ended = async { _ = signal::ctrl_c().await };
    axum::serve(bound, app).with_graceful_shutdown(ended).await?;
    Ok(Verdict::Yes)
}

fn verifier(secret: Secret, recognize: Vec<Recognized>) -> Verifier {
    let verifier = Verifier::new(secret).diagnose(SystemTime::now);
    recognize
        .into_iter()
        .fold(verifier, |verifier, known| verifier.recognize(known.name, known.secret))
}

fn app(listener: Listener, verifier: Verifier) -> Router {
    Router::new()
        .fallback(receive)
        .layer(VerifyNumber7::new(verifier))
        .layer(from_fn_with_state(listener.clone(), refused))
        .with_state(listener)
}

/// Prints what was refused.
async fn refused(State(listener): State<Listener>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(rejection) = response.extensions().get::<Rejection>() else { return response };
    let status = response.status().as_u16();
    let kind = format!("{:?}", rejection.kind());
    let why = match rejection.diagnosis() {
        Some(diagnosis) => diagnosis.to_string(),
        None => rejection.to_string(),
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
    let message = Message {
        headers: headers
            .iter()
            .filter(|(name, _)| !belongs_to_the_connection(name))
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
        body: delivery.body().to_vec(),
    };
    let event = delivery.event().ok().map(|event| event.name().to_owned());
    let key = delivery.idempotency_key().ok().map(|key| key.to_string());
    let what = key.clone().or_else(|| event.clone()).unwrap_or_else(|| "no event".into());
    if let Some(file) = &listener.record
        && let Err(error) = Recorded::new(&message, event, key).append_to(file)
    {
        // What cannot be recorded is delivered again.
        listener.output.error(&*error);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let begun = Instant::now();
    let (response, forwarded) = match listener.forward {
        None => (StatusCode::OK.into_response(), String::new()),
        Some((url, client)) => {
            let answer = spawn_blocking(move || client.post(&url, &message)).await;
            let answer = answer.map_err(BoxError::from).and_then(|answer| answer);
            let taken = begun.elapsed();
            match answer {
                Ok(answer) => {
                    let style = if answer.status().is_success() { GOOD } else { BAD };
                    let status = styled(style, answer.status());
                    (hand_on(answer), format!(", forwarded: {status} in {taken:.1?}"))
                }
                Err(error) => {
                    let failed = styled(BAD, error);
                    (StatusCode::BAD_GATEWAY.into_response(), format!(", not forwarded: {failed}"))
                }
            }
        }
    };
    let (status, signed_by) = (response.status().as_u16(), delivery.signed_by());
    let bytes = delivery.body().len();
    listener.output.print(
        || {
            let rest = styled(FAINT, format!("{bytes} bytes"));
            format!("{} {} {status} {what} {rest}{forwarded}", now(), styled(GOOD, "verified"))
        },
        || {
            json!({
                "verified": what, "status": status, "signed_by": signed_by, "bytes": bytes,
                "body": String::from_utf8_lossy(delivery.body()), "time": now(),
            })
        },
    );
    response
}

/// The answer of the app, as the sender gets it.
fn hand_on(answer: ureq::http::Response<Vec<u8>>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let names: Vec<_> = parts.headers.keys().cloned().collect();
    for name in names.iter().filter(|name| belongs_to_the_connection(name)) {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::from(body))
}

/// Whether a header is about this connection, and not about the delivery.
fn belongs_to_the_connection(name: &HeaderName) -> bool {
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
    NAMES.contains(name) || name == "keep-alive"
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
