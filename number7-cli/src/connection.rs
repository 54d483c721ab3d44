//! Sends probes on real connections.

use std::{pin::pin, process, sync::Arc, time::Duration};

use number7_core::probe::{Observed, Probe, Step};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::TcpStream,
    select,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use ureq::http::Uri;

use crate::BoxError;

/// How long connecting may take: 10 seconds.
const CONNECT: Duration = Duration::from_secs(10);

/// How often to measure the time of an answer that needs no work.
const MEASUREMENTS: usize = 3;

/// How much of an answer is read: 64 KiB. It is only compared with other answers.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long the rest of an answer may take after its headers.
const REST: Duration = Duration::from_secs(2);

/// Where the receiver is.
pub(crate) struct Target {
    host: String,
    port: u16,
    /// As in the header `Host`.
    authority: String,
    path: String,
    tls: Option<TlsConnector>,
    /// The time of an answer that needs no work.
    without_work: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Target {
    pub(crate) fn new(url: &Uri, config: Arc<ClientConfig>) -> Self {
        let is_tls = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default();
        Self {
            host: host.trim_matches(['[', ']']).into(),
            port: url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: url.authority().map_or(host, |authority| authority.as_str()).into(),
            path: url.path_and_query().map_or("/", |path| path.as_str()).into(),
            tls: is_tls.then(|| TlsConnector::from(config)),
            without_work: Duration::ZERO,
        }
    }

    /// Measures the time of an answer that needs no work, to a path that does not exist. It is the time of the
    /// network and of the proxies in front.
    pub(crate) async fn measure(&mut self) -> Result<(), BoxError> {
        let mut fastest = CONNECT;
        for _ in 0..MEASUREMENTS {
            let begun = Instant::now();
            let mut stream = self.connect().await?;
            let connected = begun.elapsed();
            let request = format!(
                "GET /nothing-is-here-{} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                process::id(),
                self.authority
            );
            let sent = Instant::now();
            _ = stream.write_all(request.as_bytes()).await;
            _ = stream.flush().await;
            let answered = timeout(REST, read_answer(&mut stream)).await;
            fastest = fastest.min(match answered {
                Ok(Ok(answer)) => answer.came.saturating_duration_since(sent),
                _ => connected,
            });
        }
        self.without_work = fastest;
        Ok(())
    }

    /// Sends a probe, and waits at most this long for the result.
    pub(crate) async fn probe(&self, probe: &Probe, patience: Duration) -> Observed {
        match timeout(patience, self.try_probe(probe)).await {
            Ok(Ok(observed)) => observed,
            Ok(Err(_)) => Observed::Closed,
            Err(_) => Observed::Silence(patience),
        }
    }

    async fn try_probe(&self, probe: &Probe) -> Result<Observed, BoxError> {
        let (mut reader, mut writer) = split(self.connect().await?);
        let steps = probe.request().http1(&self.authority, probe.path().unwrap_or(&self.path));
        let mut answer = pin!(read_answer(&mut reader));
        let mut sent = Instant::now();
        for step in steps {
            let take = async {
                match step {
                    // A failed write is not an error: what counts is the answer that the receiver sent before it
                    // closed the connection.
                    Step::Write(bytes) => _ = writer.write_all(&bytes).await,
                    Step::Pause(pause) => sleep(pause).await,
                    Step::Close => _ = writer.shutdown().await,
                    _ => {}
                }
                _ = writer.flush().await;
            };
            select! {
                () = take => sent = Instant::now(),
                answer = &mut answer => return Ok(self.observed(answer?, sent)),
            }
        }
        Ok(self.observed(answer.await?, sent))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, BoxError> {
        let connecting = async {
            let stream = TcpStream::connect((&*self.host, self.port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => {
                    let name = ServerName::try_from(self.host.clone())?;
                    Box::new(tls.connect(name, stream).await?)
                }
            };
            Ok(stream)
        };
        let late = || format!("there is no connection within {} s", CONNECT.as_secs());
        timeout(CONNECT, connecting).await.map_err(|_| late())?
    }

    fn observed(&self, answer: Answer, sent: Instant) -> Observed {
        let Answer { status, headers, body, came } = answer;
        let after = came.saturating_duration_since(sent).saturating_sub(self.without_work);
        Observed::Answer { status, headers, body: body.into(), after }
    }
}

struct Answer {
    status: u16,
    /// Their names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// When its headers had arrived.
    came: Instant,
}

async fn read_answer(mut reader: impl AsyncRead + Unpin) -> Result<Answer, BoxError> {
    let mut bytes = Vec::new();
    loop {
        if reader.read_buf(&mut bytes).await? == 0 {
            return Err("the connection was closed without an answer".into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(&bytes)? else { continue };
        let status = head.code.unwrap_or_default();
        // 100 asks for the body. It is not the answer.
        if status / 100 == 1 {
            bytes.drain(..length);
            continue;
        }
        let text = |value| String::from_utf8_lossy(value).into_owned();
        let headers = head.headers.iter().map(|it| (it.name.to_lowercase(), text(it.value)));
        let headers: Vec<_> = headers.collect();
        let (came, mut body) = (Instant::now(), bytes.split_off(length));
        _ = timeout(REST, read_rest(reader, status, &headers, &mut body)).await;
        return Ok(Answer { status, headers, body, came });
    }
}

/// Reads the rest of the body of an answer.
async fn read_rest(
    mut reader: impl AsyncRead + Unpin,
    status: u16,
    headers: &[(String, String)],
    body: &mut Vec<u8>,
) {
    let named = |name: &str| headers.iter().find(|(known, _)| known == name);
    let declared = named("content-length").and_then(|(_, value)| value.parse().ok());
    // Without a length, it ends with its last chunk, or with the connection.
    let wanted = match status {
        204 | 304 => 0,
        _ => declared.unwrap_or(LONGEST_ANSWER).min(LONGEST_ANSWER),
    };
    let is_chunked = named("transfer-encoding").is_some();
    let is_last = |body: &[u8]| body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n");
    while body.len() < wanted && !(is_chunked && is_last(body)) {
        if matches!(reader.read_buf(body).await, Ok(0) | Err(_)) {
            return;
        }
    }
    // Any further bytes belong to another answer.
    body.truncate(wanted);
}
