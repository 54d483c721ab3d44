//! The requests.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use number7_core::{Fetch, Fetched, JobId};
use reqwest::{
    RequestBuilder, StatusCode, Url,
    header::{AUTHORIZATION, USER_AGENT},
    redirect,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    ApiKey, ApiKeyError, Document, Error, ErrorKind, JobResult, Result, Upload,
    answer::{Answer, quota},
    limiter::{Limiter, Permit},
};

/// The vendor's API: `https://api.number7ai.com/api/v1`.
pub const DEFAULT_BASE_URL: &str = "https://api.number7ai.com/api/v1";

/// How many requests may be sent in a minute: 30, the limit of the vendor's smallest plan.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 30;

/// How long [`Client::result`] may take, including all waits and retries: 15 seconds. That is shorter than the default lease of
/// a worker of `number7-inbox`, which is 20 seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the transfer of a document may take: 10 minutes. At 1 Mbit/s, that is enough for 70 MB. The time limit of the other
/// requests would cut off large documents.
pub const DEFAULT_UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is kept. Servers close theirs after a minute, and an upload on a closed connection fails,
/// because it is not sent again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The vendor's advice: four attempts, with pauses of 1, 2 and 4 seconds. It also wants no pause over 30 seconds,
/// which four attempts never reach.
const ATTEMPTS: u32 = 4;
const FIRST_REST: Duration = Duration::from_secs(1);

/// The longest limit: a year. Longer ones cannot be added to every time.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A client of the vendor's REST API.
///
/// Clones share connections and the rate limit. Make one for each API key, at start-up.
///
/// # Example
///
/// ```no_run
/// use number7_client::{Client, Document, DocumentType, JobResult};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::from_env("N7_API_KEY")?;
/// let upload = client.upload(Document::from_path(DocumentType::Invoice, "invoice.pdf")).await?;
/// // After the webhook of the job has arrived:
/// if let JobResult::Finished(job) = client.result(&upload.job_id).await? {
///     println!("{}", job.result.get());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    key: ApiKey,
    base_url: Url,
    limiter: Arc<Limiter>,
    timeout: Duration,
    upload_timeout: Duration,
}

impl Client {
    /// A client with an API key.
    ///
    /// # Panics
    ///
    /// The system provides no random numbers or no sockets, so TLS is impossible.
    #[must_use]
    pub fn new(key: ApiKey) -> Self {
        let base_url = match Url::parse(DEFAULT_BASE_URL) {
            Ok(url) => url,
            Err(error) => unreachable!("{error}"),
        };
        Self {
            http: http(reqwest::Client::builder()),
            key,
            base_url,
            limiter: Arc::new(Limiter::new(DEFAULT_REQUESTS_PER_MINUTE)),
            timeout: DEFAULT_TIMEOUT,
            upload_timeout: DEFAULT_UPLOAD_TIMEOUT,
        }
    }

    /// A client with the API key of an environment variable, `N7_API_KEY` by the vendor's convention.
    ///
    /// # Errors
    ///
    /// Those of [`ApiKey::from_env`].
    pub fn from_env(name: &str) -> Result<Self, ApiKeyError> {
        ApiKey::from_env(name).map(Self::new)
    }

    /// The URL of the API; [`DEFAULT_BASE_URL`] unless it is set. Use it for a stand-in such as `number7 sandbox`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: it is not a URL of `https`, or of `http` on the loopback, or it has a user, a query
    /// or a fragment.
    pub fn base_url(mut self, url: impl AsRef<str>) -> Result<Self> {
        let refused =
            |why: &str| Err(Error::new(ErrorKind::Invalid, format!("the base URL {why}")));
        let Ok(url) = Url::parse(url.as_ref()) else { return refused("is not a URL") };
        match url.scheme() {
            "https" => {}
            // A proxy from the environment would see the key.
            "http" if is_loopback(&url) => self.http = http(reqwest::Client::builder().no_proxy()),
            "http" => return refused("is plain http, which would show the API key to the network"),
            _ => return refused("has to begin with https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("has a user or a password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refused("has a query or a fragment");
        }
        self.base_url = url;
        Ok(self)
    }

    /// How many requests may be sent in a minute; [`DEFAULT_REQUESTS_PER_MINUTE`] unless it is set. Use the number of your
    /// plan. This client and its clones send at most this many in any 60 seconds. If other processes use the same key, the
    /// vendor's `X-RateLimit-Remaining` slows all of them down in time. Then the vendor refuses only the requests that were on
    /// their way when the plan was used up, and those are sent again.
    ///
    /// Set it before the client is cloned: a clone that sets it no longer shares the limit.
    ///
    /// # Panics
    ///
    /// It is zero.
    #[must_use]
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        assert!(requests > 0, "with a limit of 0 nothing is ever sent");
        self.limiter = Arc::new(Limiter::new(requests));
        self
    }

    /// How long a call of [`result`](Self::result) may take, and how long an [`upload`](Self::upload) may wait and try again
    /// until it begins; [`DEFAULT_TIMEOUT`] unless it is set. In a handler, it must be shorter than the lease of the worker. A
    /// call that would have to wait longer fails at once.
    ///
    /// # Panics
    ///
    /// It is zero.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "with a timeout of 0 every call fails");
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// How long the transfer of one document and its answer may take; [`DEFAULT_UPLOAD_TIMEOUT`] unless it is
    /// set.
    ///
    /// # Panics
    ///
    /// It is zero.
    #[must_use]
    pub fn upload_timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "with a timeout of 0 every upload fails");
        self.upload_timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Uploads a document. The vendor processes it, and sends a webhook when it is done.
    ///
    /// A document that may have arrived is not sent again, because a second upload costs money and creates a second job. Only a
    /// refused connection and a 429 are tried again. Uploading by a remote URL is not supported, because the vendor does not
    /// publish the form of that request.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`]. After `Network`, `Timeout`, `Server` and `NotUnderstood` the document may have
    /// arrived.
    pub async fn upload(&self, document: Document) -> Result<Upload> {
        let mut url = self.url(&["upload"])?;
        url.query_pairs_mut()
            .append_pair("document.type", document.document_type().as_str())
            .append_pair("document.version", "v1");
        let deadline = Instant::now() + self.timeout;
        let mut attempts = Attempts::default();
        loop {
            // First, because an unreadable document must not use up the plan.
            let form = document.form().await?;
            let permit = self.permit(deadline, &mut attempts).await?;
            let request = self.http.post(url.clone()).multipart(form);
            let failed = match self
                .send(request, permit, &attempts, Instant::now() + self.upload_timeout)
                .await
            {
                Ok(answer) => return answer.upload(),
                Err(failed) => failed,
            };
            let is_safe = matches!(failed, Failed::NotSent(_) | Failed::Limited(_));
            if !(is_safe && document.is_repeatable()) {
                return Err(failed.into_error(NO_API));
            }
            attempts.failed(failed, NO_API, deadline).await?;
        }
    }

    /// The result of a job, or its status.
    ///
    /// It is tried up to four times: after a 429 when the vendor allows it, and after a 5xx or a failure of the network after
    /// 1, 2 and 4 seconds. [`timeout`](Self::timeout) limits all of that.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    pub async fn result(&self, job: &JobId) -> Result<JobResult> {
        let url = self.url(&["results", job.as_str()])?;
        let deadline = Instant::now() + self.timeout;
        let mut attempts = Attempts::default();
        loop {
            let permit = self.permit(deadline, &mut attempts).await?;
            match self.send(self.http.get(url.clone()), permit, &attempts, deadline).await {
                Ok(answer) => return answer.result(job),
                Err(failed) => attempts.failed(failed, NO_JOB, deadline).await?,
            }
        }
    }

    /// A URL below the base. An id comes from the vendor, and dots in it could lead to another path.
    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.base_url.clone();
        if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Error::new(ErrorKind::UnknownJob, "this cannot be the id of a job"));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Ok(url)
    }

    /// If another attempt would have to wait too long, the error is that of the attempt before.
    async fn permit(&self, deadline: Instant, attempts: &mut Attempts) -> Result<Permit<'_>> {
        let permit = self.limiter.acquire(deadline).await;
        permit.map_err(|wait| {
            attempts.last.take().unwrap_or_else(|| {
                limited("another request would have to wait for the rate limit", wait)
            })
        })
    }

    async fn send(
        &self,
        request: RequestBuilder,
        permit: Permit<'_>,
        attempts: &Attempts,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let request = request
            .header(AUTHORIZATION, self.key.header())
            .header(USER_AGENT, concat!("number7-client/", env!("CARGO_PKG_VERSION")));
        let late =
            || Failed::Maybe(Error::new(ErrorKind::Timeout, "the vendor did not answer in time"));
        let response = match timeout_at(deadline, request.send()).await {
            Err(_) => return Err(late()),
            Ok(Err(error)) if error.is_connect() => {
                permit.not_sent();
                return Err(Failed::NotSent(Error::of_request(error)));
            }
            Ok(Err(error)) => return Err(Failed::of(Error::of_request(error))),
            Ok(Ok(response)) => response,
        };
        let (status, quota) = (response.status(), quota(response.headers()));
        if status == StatusCode::TOO_MANY_REQUESTS {
            let rest = quota.map_or(attempts.rest(), |quota| quota.reset.max(FIRST_REST));
            permit.refused(rest);
            return Err(Failed::Limited(rest));
        }
        permit.answered(quota);
        let error = |kind, text: &str| Error::new(kind, format!("{text} ({status})"));
        if status.is_success() {
            let read = timeout_at(deadline, Answer::read(response)).await;
            return read.map_err(|_| late())?.map_err(Failed::of);
        }
        Err(match status {
            StatusCode::UNAUTHORIZED => {
                Failed::ForGood(error(ErrorKind::Unauthorized, "the vendor refuses the API key"))
            }
            StatusCode::NOT_FOUND => Failed::NotFound,
            status if status.is_server_error() => {
                Failed::Maybe(error(ErrorKind::Server, "the vendor failed"))
            }
            status if status.is_redirection() => Failed::ForGood(error(
                ErrorKind::NotUnderstood,
                "the vendor redirects, which is not followed",
            )),
            _ => Failed::ForGood(error(ErrorKind::Refused, "the vendor refuses the request")),
        })
    }
}

/// How a request failed, which decides about the next attempt.
enum Failed {
    /// It may have arrived.
    Maybe(Error),
    /// It certainly had no effect: the connection was refused.
    NotSent(Error),
    /// 429: after this time.
    Limited(Duration),
    /// 404: the meaning depends on the request.
    NotFound,
    /// Another attempt would fail in the same way.
    ForGood(Error),
}

/// What a 404 means.
type NotFound = (ErrorKind, &'static str);

const NO_JOB: NotFound =
    (ErrorKind::UnknownJob, "the vendor does not know this job (404 Not Found)");
const NO_API: NotFound = (ErrorKind::Refused, "there is no API at this URL (404 Not Found)");

impl Failed {
    /// Trying again does not help if the document cannot be read, or the answer is not understood.
    fn of(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Document | ErrorKind::NotUnderstood => Self::ForGood(error),
            _ => Self::Maybe(error),
        }
    }

    fn into_error(self, (kind, text): NotFound) -> Error {
        match self {
            Self::Maybe(error) | Self::NotSent(error) | Self::ForGood(error) => error,
            Self::Limited(rest) => limited("the vendor allows no more requests", rest),
            Self::NotFound => Error::new(kind, text),
        }
    }
}

/// The attempts of one call.
#[derive(Default)]
struct Attempts {
    failed: u32,
    /// Why the last one failed, unless it was the rate limit.
    last: Option<Error>,
}

impl Attempts {
    /// How long to wait after the attempt that fails now.
    fn rest(&self) -> Duration {
        FIRST_REST * 2_u32.saturating_pow(self.failed)
    }

    /// Waits before the next attempt, if there is one.
    async fn failed(
        &mut self,
        failed: Failed,
        not_found: NotFound,
        deadline: Instant,
    ) -> Result<()> {
        let rest = self.rest();
        self.failed += 1;
        match failed {
            // The limiter makes the next attempt wait.
            Failed::Limited(_) if self.failed < ATTEMPTS => self.last = None,
            Failed::Maybe(error) | Failed::NotSent(error)
                if self.failed < ATTEMPTS && Instant::now() + rest <= deadline =>
            {
                self.last = Some(error);
                sleep(rest).await;
            }
            failed => return Err(failed.into_error(not_found)),
        }
        Ok(())
    }
}

fn limited(what: &str, wait: Duration) -> Error {
    Error::rate_limited(format!("{what}: {:.0} s", wait.as_secs_f64().ceil()), wait)
}

impl Fetch for Client {
    /// The result of [`Client::result`], as an event. The vendor's result has no timestamp, so the event has the
    /// time of this call.
    async fn fetch(&self, job: JobId) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
        match self.result(&job).await {
            Ok(result) => Ok(match result.event()? {
                Some(event) => Fetched::Finished(event),
                None => Fetched::StillRunning,
            }),
            Err(error) if error.kind() == ErrorKind::UnknownJob => Ok(Fetched::Unknown),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

fn http(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder
        .tls_backend_preconfigured(tls())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // The key is sent only to the vendor, and not to a place that the vendor redirects to.
        .redirect(redirect::Policy::none())
        // This client decides what is tried again.
        .retry(reqwest::retry::never())
        .build()
        .unwrap_or_else(|error| panic!("there is no HTTP client: {error}"))
}

/// TLS with the roots of Mozilla, so that no certificates need to be installed.
fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    match rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
    {
        Ok(config) => config.with_root_certificates(roots).with_no_client_auth(),
        Err(error) => unreachable!("ring has the ciphers of TLS 1.2 and 1.3: {error}"),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}
