//! The sender's side: POSTs deliveries, and retries like the vendor.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use number7_core::{SIGNATURE_HEADER, Secret};
use ureq::{
    Agent, Body,
    config::AutoHeaderValue,
    http::{Request, Response, StatusCode, Uri},
    tls::{Certificate, RootCerts, TlsConfig},
};

use crate::{BoxError, tls::TlsArgs};

/// How long one attempt waits for its answer: 30 seconds. The vendor does not publish its own
/// timeout.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before the first retry: 1 second, doubled for each further one. The vendor publishes only that
/// its delays grow exponentially.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// How much of an answer is read: 1 MiB.
const LONGEST_ANSWER: u64 = 1024 * 1024;

/// A body and the headers that are sent with it.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn signed(body: impl Into<Vec<u8>>, secret: &Secret) -> Self {
        let agent = concat!("number7/", env!("CARGO_PKG_VERSION"));
        let headers = vec![
            ("content-type".into(), b"application/json".to_vec()),
            ("user-agent".into(), agent.into()),
        ];
        Self { headers, body: body.into() }.signed_again(secret)
    }

    pub(crate) fn signed_again(mut self, secret: &Secret) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(SIGNATURE_HEADER));
        let signature = secret.sign(&self.body).to_string();
        self.headers.push((SIGNATURE_HEADER.into(), signature.into()));
        self
    }

    /// Changes the body, after it was signed.
    pub(crate) fn forged(mut self) -> Self {
        self.body.push(b' ');
        self
    }
}

/// The result of one attempt.
pub(crate) struct Attempt {
    /// The status, or why there is none.
    pub(crate) answer: Result<StatusCode, String>,
    pub(crate) taken: Duration,
    /// How long to wait before the next attempt, if there is one.
    pub(crate) next: Option<Duration>,
}

impl Attempt {
    pub(crate) fn is_accepted(&self) -> bool {
        self.answer.as_ref().is_ok_and(StatusCode::is_success)
    }
}

#[derive(Clone)]
pub(crate) struct Client(Agent);

impl Client {
    pub(crate) fn new(tls: &TlsArgs) -> Result<Self, BoxError> {
        let roots = match tls.certificates()? {
            None => RootCerts::WebPki,
            Some(certificates) => {
                let owned = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
                RootCerts::new_with_certs(&owned.collect::<Vec<_>>())
            }
        };
        // Redirects are not followed: they count as answers that are not 2xx.
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(1_000)
            .max_idle_connections(1_000)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            // A replayed delivery has the headers that were recorded, and no others.
            .user_agent(AutoHeaderValue::None)
            .accept(AutoHeaderValue::None)
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        Ok(Self(config.build().into()))
    }

    /// Delivers, and retries until a 2xx, at most `retries` times. Returns whether it was accepted in the end.
    pub(crate) fn deliver(
        &self,
        url: &Uri,
        message: &Message,
        retries: u32,
        mut observed: impl FnMut(&Attempt),
    ) -> bool {
        let mut delay = FIRST_DELAY;
        for left in (0..=retries).rev() {
            let sent = Instant::now();
            let answer = self.send(url, message).map_err(|error| error.to_string());
            let answer = answer.map(|mut answer| {
                // The content does not matter, but a connection can be reused only after the answer was read.
                _ = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
                answer.status()
            });
            let mut attempt = Attempt { answer, taken: sent.elapsed(), next: None };
            let is_accepted = attempt.is_accepted();
            attempt.next = (!is_accepted && left > 0).then_some(delay);
            observed(&attempt);
            match attempt.next {
                Some(delay) => sleep(delay),
                None => return is_accepted,
            }
            delay *= 2;
        }
        false
    }

    /// POSTs once, and reads the answer.
    pub(crate) fn post(&self, url: &Uri, message: &Message) -> Result<Response<Vec<u8>>, BoxError> {
        let (parts, body) = self.send(url, message)?.into_parts();
        let body = body.into_with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, body))
    }

    fn send(&self, url: &Uri, message: &Message) -> Result<Response<Body>, BoxError> {
        let mut request = Request::post(url);
        for (name, value) in &message.headers {
            request = request.header(name, &**value);
        }
        Ok(self.0.run(request.body(&*message.body)?)?)
    }
}

/// Takes a URL of HTTP or HTTPS.
pub(crate) fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|_| "not a URL")?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    match url.scheme_str() {
        Some("http" | "https") if authority.contains('@') => {
            Err("a URL with a user or a password is not taken".into())
        }
        Some("http" | "https") if has_port && url.port_u16().is_none() => {
            Err("invalid port".into())
        }
        Some("http" | "https") => Ok(url),
        _ => Err("it has to begin with http:// or https://".into()),
    }
}

/// Where the example receivers listen.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:3000/webhook";
