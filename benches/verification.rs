//! What it costs to verify and to parse a delivery, in axum and in actix-web: with number7, with a
//! handler as it is usually written by hand, with a careful one, and with two other crates. The floor is
//! what no layer can do without: the framework's own work, and one HMAC.
//!
//! `cargo bench -p number7-benches --bench verification` prints the time of a request, and its ratio to
//! the usual handler. All are measured in turn, and the smallest time of each counts. `-- --instructions`
//! counts instructions instead, which a busy machine does not change. It needs valgrind, which computes
//! SHA-256 without the instructions that most processors have for it.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

#[cfg(feature = "svix")]
use std::time::{SystemTime, UNIX_EPOCH};
use std::{
    env, fs,
    hint::black_box,
    pin::pin,
    process::{self, Command},
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use number7_core::{SIGNATURE_HEADER, Secret};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;
#[cfg(feature = "svix")]
use svix::webhooks::Webhook;
use webhook_verify::{CustomScheme, Encoding, HashAlg, Provider};

mod actix;
mod axum;

const SECRET: &str = "a secret of thirty-two characters";
const COMPLETED: &str = r#"{"event":"job.completed","jobId":"job_abc123","fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}"#;

/// How many requests each receiver answers in a round.
const BATCH: usize = 1_000;
const ROUNDS: usize = 30;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Receiver {
    /// The HMAC as a string, compared with `==`, and the event as a [`Value`].
    Usual,
    /// The key prepared, the HMAC compared in constant time, and the event as a `struct`.
    Careful,
    WebhookVerify,
    /// It verifies its own scheme: another text is signed, as base64.
    Svix,
    Number7,
    /// The HMAC of a body that is known before, in a layer that does nothing else; an empty handler.
    Floor,
}

const RECEIVERS: [Receiver; 6] = [
    Receiver::Usual,
    Receiver::Careful,
    Receiver::WebhookVerify,
    Receiver::Svix,
    Receiver::Number7,
    Receiver::Floor,
];

impl Receiver {
    fn name(self) -> &'static str {
        match self {
            Self::Usual => "by hand, as usual",
            Self::Careful => "by hand, with care",
            Self::WebhookVerify => "webhook-verify",
            Self::Svix => "svix",
            Self::Number7 => "number7",
            Self::Floor => "the floor",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framework {
    Axum,
    Actix,
}

impl Framework {
    /// The time of a batch.
    async fn measure(
        self,
        receiver: Receiver,
        headers: &[(&str, String)],
        body: &Bytes,
    ) -> Duration {
        match self {
            Self::Axum => axum::measure(receiver, headers, body),
            Self::Actix => actix::measure(receiver, headers, body).await,
        }
    }

    /// svix reads the headers of axum only.
    fn receivers(self) -> impl Iterator<Item = Receiver> {
        let has_svix = cfg!(feature = "svix") && self == Self::Axum;
        RECEIVERS.into_iter().filter(move |receiver| has_svix || *receiver != Receiver::Svix)
    }
}

/// An event, as somebody types it who needs no more than this.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    event: String,
    job_id: String,
    file_status: String,
    document_type: String,
    timestamp: String,
}

/// What a handler does with its event.
fn use_typed(body: &[u8]) -> bool {
    let Ok(Typed { event, job_id, file_status, document_type, timestamp }) =
        serde_json::from_slice(body)
    else {
        return false;
    };
    black_box((event, job_id, file_status, document_type, timestamp));
    true
}

fn use_value(body: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(body) {
        Ok(event) => black_box(event["event"].as_str() == Some("job.completed")),
        Err(_) => false,
    }
}

fn is_signed_as_usual(signature: Option<&str>, body: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    signature == Some(&*hex::encode(mac.finalize().into_bytes()))
}

/// The key, prepared once as number7 does it.
static PREPARED: LazyLock<Hmac<Sha256>> =
    LazyLock::new(|| Hmac::new_from_slice(SECRET.as_bytes()).unwrap());

fn is_signed_with_care(signature: Option<&str>, body: &[u8]) -> bool {
    let Some(signature) = signature.and_then(|digits| hex::decode(digits).ok()) else {
        return false;
    };
    let mut mac = PREPARED.clone();
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// Hashes a body, and compares.
fn hash_alone(body: &Bytes) -> impl Fn() + Clone + Send + Sync + use<> {
    let mac = |body: &[u8]| PREPARED.clone().chain_update(body);
    let (body, signature) = (body.clone(), mac(body).finalize().into_bytes());
    move || mac(&body).verify_slice(&signature).unwrap()
}

fn scheme() -> Provider {
    Provider::Custom(CustomScheme {
        hash: HashAlg::Sha256,
        signature_header: SIGNATURE_HEADER,
        timestamp_header: None,
        encoding: Encoding::Hex,
        prefix: None,
        signed_string: |_, body| body.to_vec(),
    })
}

#[cfg(feature = "svix")]
fn svix() -> Webhook {
    Webhook::from_bytes(SECRET.into()).unwrap()
}

#[cfg(feature = "svix")]
fn svix_headers(body: &str) -> [(&'static str, String); 3] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signature = svix().sign("msg_1", now.try_into().unwrap(), body.as_bytes()).unwrap();
    [
        ("webhook-id", "msg_1".to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", signature),
    ]
}

/// The time in which requests are answered, without that in which they are made.
fn batch<R>(request: impl Fn() -> R, mut answer: impl AsyncFnMut(R) -> u16) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..BATCH {
        let request = request();
        let begun = Instant::now();
        let status = number7_measured(async || answer(request).await);
        took += begun.elapsed();
        assert_eq!(status, 200);
    }
    took
}

/// Answers one request, all of which is there. Its instructions are those that are counted.
#[inline(never)]
fn number7_measured<T>(answer: impl AsyncFnOnce() -> T) -> T {
    let mut answer = pin!(answer());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut context) {
            return answer;
        }
    }
}

/// What a sender and a proxy send, and the signature.
#[cfg_attr(not(feature = "svix"), expect(unused_variables))]
fn headers(receiver: Receiver, body: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("host", "receiver.example".to_owned()),
        ("user-agent", "node".to_owned()),
        ("accept", "*/*".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("content-length", body.len().to_string()),
        ("x-forwarded-for", "203.0.113.7".to_owned()),
    ];
    #[cfg(feature = "svix")]
    if receiver == Receiver::Svix {
        headers.extend(svix_headers(body));
        return headers;
    }
    let signature = Secret::new(SECRET).unwrap().sign(body).to_string();
    headers.push((SIGNATURE_HEADER, signature));
    headers
}

fn bodies() -> [(&'static str, String); 2] {
    let note = format!(r#","note":"{}"}}"#, "x".repeat(16 * 1024));
    let large = COMPLETED.replace('}', &note);
    [("the published payload", COMPLETED.to_owned()), ("16 KiB", large)]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--one") {
        return one_batch(args[at + 1].parse().unwrap()).await;
    }
    let is_counted = args.iter().any(|arg| arg == "--instructions");
    let unit = if is_counted { "instructions" } else { "ns" };
    for (at, (framework, name, body)) in cases().enumerate() {
        println!("\n{framework:?}, {name}: {unit} a request");
        let mut costs = vec![f64::MAX; RECEIVERS.len()];
        if is_counted {
            for receiver in framework.receivers() {
                costs[receiver as usize] = instructions(at * RECEIVERS.len() + receiver as usize);
            }
        } else {
            for _ in 0..ROUNDS {
                for receiver in framework.receivers() {
                    let (headers, body) = (headers(receiver, &body), Bytes::from(body.clone()));
                    let took = framework.measure(receiver, &headers, &body).await;
                    let nanos = took.as_nanos() as f64 / BATCH as f64;
                    costs[receiver as usize] = costs[receiver as usize].min(nanos);
                }
            }
        }
        for receiver in framework.receivers() {
            let (cost, usual) = (costs[receiver as usize], costs[0]);
            println!("{:20} {cost:>10.0} {:>6.2}", receiver.name(), cost / usual);
        }
    }
}

fn cases() -> impl Iterator<Item = (Framework, &'static str, String)> {
    [Framework::Axum, Framework::Actix]
        .into_iter()
        .flat_map(|framework| bodies().map(|(name, body)| (framework, name, body)))
}

/// One receiver by its number, for valgrind to look at.
async fn one_batch(one: usize) {
    let (framework, _, body) = cases().nth(one / RECEIVERS.len()).unwrap();
    let receiver = RECEIVERS[one % RECEIVERS.len()];
    let (headers, body) = (headers(receiver, &body), Bytes::from(body));
    framework.measure(receiver, &headers, &body).await;
}

/// The instructions of a request: what valgrind counts within the measured function.
fn instructions(one: usize) -> f64 {
    let out = env::temp_dir().join(format!("number7-callgrind-{}", process::id()));
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*number7_measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args(["--one", &one.to_string()])
        .output()
        .expect("valgrind is installed");
    let report = String::from_utf8_lossy(&valgrind.stderr).into_owned();
    _ = fs::remove_file(out);
    let line = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = line.unwrap_or_else(|| panic!("valgrind counted nothing: {report}"));
    count.trim().parse::<f64>().unwrap() / BATCH as f64
}
