//! Probes, on a real connection.

use std::{pin::pin, sync::Arc, time::Duration};

use number7_core::probe::{Probe, Seen, Step};
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

/// How much of an answer is read: 64 KiB. It is compared with others, and not shown.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long the rest of an answer may take after its head.
const REST: Duration = Duration::from_secs(2);

/// Where the receiver is.
pub(crate) struct Target {
    host: String,
    port: u16,
    /// As the header `Host` has it.
    authority: String,
    path: String,
    tls: Option<TlsConnector>,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

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
        }
    }

    /// Connects, and says how long one way there and back takes.
    pub(crate) async fn connect(&self) -> Result<(Box<dyn Stream>, Duration), BoxError> {
        let begun = Instant::now();
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let round_trip = begun.elapsed();
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => (Box::new(stream), round_trip),
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())?;
                (Box::new(tls.connect(name, stream).await?), round_trip)
            }
        })
    }

    /// Sends a probe, and waits so long for what becomes of it.
    pub(crate) async fn probe(&self, probe: &Probe, patience: Duration) -> Seen {
        match timeout(patience, self.try_probe(probe)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) => Seen::Closed,
            Err(_) => Seen::Silence(patience),
        }
    }

    async fn try_probe(&self, probe: &Probe) -> Result<Seen, BoxError> {
        let (stream, round_trip) = self.connect().await?;
        let (mut reader, mut writer) = split(stream);
        let steps = probe.request().http1(&self.authority, &self.path);
        let mut answer = pin!(read_answer(&mut reader));
        let mut sent = Instant::now();
        for step in steps {
            let take = async {
                match step {
                    // That the receiver closed shows in its answer, or in that there is none.
                    Step::Write(bytes) => _ = writer.write_all(&bytes).await,
                    Step::Pause(pause) => sleep(pause).await,
                    Step::Close => _ = writer.shutdown().await,
                    _ => {}
                }
                _ = writer.flush().await;
            };
            select! {
                () = take => sent = Instant::now(),
                answer = &mut answer => return Ok(seen(answer?, sent, round_trip)),
            }
        }
        Ok(seen(answer.await?, sent, round_trip))
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// When its head was there.
    came: Instant,
}

fn seen(answer: Answer, sent: Instant, round_trip: Duration) -> Seen {
    let Answer { status, body, came } = answer;
    let after = came.saturating_duration_since(sent).saturating_sub(round_trip);
    Seen::Answer { status, body: body.into(), after }
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
        // 100 asks for the body, and is no answer.
        if status / 100 == 1 {
            bytes.drain(..length);
            continue;
        }
        let declared =
            head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let declared = declared.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
        let (came, mut body) = (Instant::now(), bytes.split_off(length));
        // A body that is chunked, or ends with the connection, is read for as long as it comes.
        let wanted = declared.unwrap_or(LONGEST_ANSWER).min(LONGEST_ANSWER);
        let rest = async {
            while body.len() < wanted && !body.ends_with(b"\r\n0\r\n\r\n") {
                if matches!(reader.read_buf(&mut body).await, Ok(0) | Err(_)) {
                    return;
                }
            }
        };
        _ = timeout(REST, rest).await;
        // What comes behind it is another answer.
        body.truncate(wanted);
        return Ok(Answer { status, body, came });
    }
}
