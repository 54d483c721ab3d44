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

/// How many requests may be sent in a minute: 30, as in the vendor's smallest plan.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 30;

/// How long [`Client::result`] may take, with all its waiting and its retries: 15 seconds. That is shorter
/// than the default lease of a worker of `number7-inbox`, which is 20 seconds.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(15);

/// How long the transfer of a document may take: 10 minutes, in which a line of 1 Mbit/s transfers 70 MB.
/// The time limit of the other requests would cut off large documents.
pub const DEFAULT_UPLOAD_LIMIT: Duration = Duration::from_secs(600);

/// The largest answer that is read: 64 MiB. The vendor publishes no limit.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: servers close theirs after a minute, and an upload that meets such a
/// connection fails, because it is not sent again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The vendor's advice: four attempts, and rests that are doubled up to half a minute.
const ATTEMPTS: u32 = 4;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

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
/// // When the webhook of the job has come:
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
    time_limit: Duration,
    upload_limit: Duration,
}

/// What a request that failed does to the next attempt.
enum Failed {
    /// It may have arrived.
    Maybe(Error),
    /// It certainly did nothing: the connection was refused.
    NotSent(Error),
    /// 429: after this time.
    Limited(Duration),
    /// Another attempt would end in the same way.
    ForGood(Error),
}

impl Client {
    /// A client with an API key.
    ///
    /// # Panics
    ///
    /// The system gives no random numbers or no sockets, so that there can be no TLS.
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
            time_limit: DEFAULT_TIME_LIMIT,
            upload_limit: DEFAULT_UPLOAD_LIMIT,
        }
    }

    /// A client with the API key of an environment variable, `N7_API_KEY` by the vendor's convention.
    ///
    /// # Errors
    ///
    /// As [`ApiKey::from_env`].
    pub fn from_env(name: &str) -> Result<Self, ApiKeyError> {
        ApiKey::from_env(name).map(Self::new)
    }

    /// Where the API is; [`DEFAULT_BASE_URL`] unless it is set. For a stand-in such as `number7 sandbox`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: it is not a URL of `https`, or of `http` on the loopback, or it has a user, a
    /// query or a fragment.
    pub fn base_url(mut self, url: impl AsRef<str>) -> Result<Self> {
        let refused =
            |why: &str| Err(Error::new(ErrorKind::Invalid, format!("the base URL {why}")));
        let Ok(url) = Url::parse(url.as_ref()) else { return refused("is not a URL") };
        match url.scheme() {
            "https" => {}
            // A proxy of the environment would see the key.
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

    /// How many requests may be sent in a minute; [`DEFAULT_REQUESTS_PER_MINUTE`] unless it is set. Take the
    /// number of your plan. No minute has more, whenever it begins. If several processes use one key, the
    /// vendor's `X-RateLimit-Remaining` keeps them together within the plan.
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

    /// How long a call of [`result`](Self::result) may take, and how long an [`upload`](Self::upload) may
    /// wait and try again until it begins; [`DEFAULT_TIME_LIMIT`] unless it is set. In a handler, it has to
    /// be shorter than the lease of the worker. A call that would have to wait longer fails at once.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// How long the transfer of one document and its answer may take; [`DEFAULT_UPLOAD_LIMIT`] unless it is
    /// set.
    #[must_use]
    pub fn upload_limit(mut self, limit: Duration) -> Self {
        self.upload_limit = limit;
        self
    }

    /// Uploads a document. The vendor processes it, and sends a webhook when it is done.
    ///
    /// A document that may have arrived is not sent again, because a second upload costs money and makes a
    /// second job. Only a refused connection and a 429 are tried again. Uploading by a remote URL is not
    /// offered: the vendor does not publish the form of that request.
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
        let deadline = Instant::now() + self.time_limit;
        let mut attempt = 1;
        loop {
            let permit = self.permit(deadline).await?;
            let request = self.http.post(url.clone()).multipart(document.form().await?);
            let failed =
                match self.send(request, permit, attempt, Instant::now() + self.upload_limit).await
                {
                    Ok(answer) => return answer.upload(),
                    Err(failed) => failed,
                };
            let again = attempt < ATTEMPTS && document.is_repeatable();
            match failed {
                Failed::NotSent(error) if again => {
                    rest(deadline, rest_after(attempt)).await.map_err(|_| error)?;
                }
                // The limiter makes the next attempt wait.
                Failed::Limited(_) if again => {}
                failed => return Err(failed.into()),
            }
            attempt += 1;
        }
    }

    /// The result of a job, or how far it is.
    ///
    /// It is tried up to four times: after a 429 when the vendor allows it, and after a 5xx or a failure of
    /// the network after 1, 2 and 4 seconds. [`time_limit`](Self::time_limit) bounds all of that.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    pub async fn result(&self, job: &JobId) -> Result<JobResult> {
        let url = self.url(&["results", job.as_str()])?;
        let deadline = Instant::now() + self.time_limit;
        let mut attempt = 1;
        loop {
            let permit = self.permit(deadline).await?;
            let failed =
                match self.send(self.http.get(url.clone()), permit, attempt, deadline).await {
                    Ok(answer) => return answer.result(job),
                    Err(failed) => failed,
                };
            match failed {
                Failed::Maybe(error) | Failed::NotSent(error) if attempt < ATTEMPTS => {
                    rest(deadline, rest_after(attempt)).await.map_err(|_| error)?;
                }
                Failed::Limited(_) if attempt < ATTEMPTS => {}
                failed => return Err(failed.into()),
            }
            attempt += 1;
        }
    }

    /// A URL below the base. An id is the vendor's string, and one of dots would name another place.
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

    async fn permit(&self, deadline: Instant) -> Result<Permit<'_>> {
        let permit = self.limiter.acquire(deadline).await;
        permit
            .map_err(|wait| limited("another request would have to wait for the rate limit", wait))
    }

    async fn send(
        &self,
        request: RequestBuilder,
        permit: Permit<'_>,
        attempt: u32,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let request = request
            .header(AUTHORIZATION, self.key.header())
            .header(USER_AGENT, concat!("number7-client/", env!("CARGO_PKG_VERSION")));
        let answered = timeout_at(deadline, async {
            let response = request.send().await?;
            let (status, quota) = (response.status(), quota(response.headers()));
            Ok((status, quota, Answer::read(response).await?))
        });
        let late = || Error::new(ErrorKind::Timeout, "the vendor did not answer in time");
        let (status, quota, answer) = match answered.await {
            Err(_) => return Err(Failed::Maybe(late())),
            Ok(Err(Unread::Request(error))) if error.is_connect() => {
                return Err(Failed::NotSent(Error::of_request(error)));
            }
            Ok(Err(Unread::Request(error))) => return Err(Failed::Maybe(Error::of_request(error))),
            Ok(Err(Unread::TooLarge)) => {
                let text = format!("the vendor's answer is larger than {MAX_ANSWER} bytes");
                return Err(Failed::ForGood(Error::new(ErrorKind::NotUnderstood, text)));
            }
            Ok(Ok(answered)) => answered,
        };
        if status == StatusCode::TOO_MANY_REQUESTS {
            let rest = quota.map_or(Duration::ZERO, |quota| quota.reset).max(rest_after(attempt));
            permit.refused(rest);
            return Err(Failed::Limited(rest));
        }
        permit.answered(quota);
        let error = |kind, text: &str| Error::new(kind, format!("{text} ({status})"));
        Err(match status {
            status if status.is_success() => return Ok(answer),
            StatusCode::UNAUTHORIZED => {
                Failed::ForGood(error(ErrorKind::Unauthorized, "the vendor refuses the API key"))
            }
            StatusCode::NOT_FOUND => {
                Failed::ForGood(error(ErrorKind::UnknownJob, "the vendor does not know this job"))
            }
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

/// Why there is no answer.
pub(crate) enum Unread {
    Request(reqwest::Error),
    TooLarge,
}

impl From<reqwest::Error> for Unread {
    fn from(error: reqwest::Error) -> Self {
        Self::Request(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Maybe(error) | Failed::NotSent(error) | Failed::ForGood(error) => error,
            Failed::Limited(rest) => limited("the vendor allows no more requests", rest),
        }
    }
}

fn limited(what: &str, wait: Duration) -> Error {
    Error::rate_limited(format!("{what}: {:.0} s", wait.as_secs_f64().ceil()), wait)
}

impl Fetch for Client {
    /// What [`Client::result`] says, as an event. The vendor's result has no timestamp, so the event has the
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

fn rest_after(attempt: u32) -> Duration {
    (FIRST_REST * 2_u32.saturating_pow(attempt - 1)).min(LONGEST_REST)
}

/// Rests, unless that would take it beyond the deadline.
async fn rest(deadline: Instant, rest: Duration) -> Result<(), ()> {
    if Instant::now() + rest > deadline {
        return Err(());
    }
    sleep(rest).await;
    Ok(())
}

fn http(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder
        .tls_backend_preconfigured(tls())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // The key goes to the vendor, and to nobody that the vendor names.
        .redirect(redirect::Policy::none())
        // What is tried again is decided here.
        .retry(reqwest::retry::never())
        .build()
        .unwrap_or_else(|error| panic!("there is no HTTP client: {error}"))
}

/// TLS with the roots of Mozilla, which needs no certificates to be installed.
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
