use std::time::Duration;

use bytes::Bytes;

/// The request of a [`Probe`](super::Probe): a POST.
#[derive(Clone, Debug)]
pub struct Request {
    headers: Vec<(&'static str, Vec<u8>)>,
    pieces: Vec<Bytes>,
    /// How long to wait between the pieces of the body.
    pause: Duration,
    ending: Ending,
}

/// How the body of a probe is framed, and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// `Content-Length` with the true length.
    Length,
    /// `Transfer-Encoding: chunked`, a chunk for each piece.
    Chunked,
    /// `Content-Length` with this length. The rest of the body never arrives, and the connection stays open.
    Stalled(u64),
    /// `Content-Length` with this length. The sender closes its half of the connection before that.
    BrokenOff(u64),
    /// The pieces include the framing, and the headers declare it. HTTP libraries do not send this.
    Raw,
}

/// The steps that send a [`Request`], one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Write these bytes.
    Write(Bytes),
    /// Wait for this long, unless an answer arrives.
    Pause(Duration),
    /// Send nothing more, and leave the connection open.
    Stall,
    /// Break off: close the sender's half of the connection.
    Close,
}

impl Request {
    pub(super) fn new(headers: Vec<(&'static str, Vec<u8>)>, body: impl Into<Bytes>) -> Self {
        Self { headers, pieces: vec![body.into()], pause: Duration::ZERO, ending: Ending::Length }
    }

    /// The headers, without those that the ending adds.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (*name, &**value))
    }

    /// The whole body.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match &*self.pieces {
            [piece] => piece.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// How the body is framed, and how it ends.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Whether the whole body is sent, at once, and with correct framing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.ending, Ending::Length | Ending::Chunked) && self.pause.is_zero()
    }

    /// The declared length, if there is one. It may be wrong on purpose.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        match self.ending {
            Ending::Length => Some(self.body().len() as u64),
            Ending::Stalled(length) | Ending::BrokenOff(length) => Some(length),
            Ending::Chunked | Ending::Raw => None,
        }
    }

    /// How to send the body, without its framing.
    #[must_use]
    pub fn body_steps(&self) -> Vec<Step> {
        self.steps(Bytes::new(), Bytes::clone, b"")
    }

    /// How to send it on a connection by HTTP/1.1.
    #[must_use]
    pub fn http1(&self, host: &str, path: &str) -> Vec<Step> {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
        for (name, value) in self.headers() {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if let Some(length) = self.declared_length() {
            head.extend(format!("content-length: {length}\r\n").as_bytes());
        }
        if self.ending != Ending::Chunked {
            head.extend(b"\r\n");
            return self.steps(head.into(), Bytes::clone, b"");
        }
        head.extend(b"transfer-encoding: chunked\r\n\r\n");
        let chunk = |piece: &Bytes| match piece.is_empty() {
            true => Bytes::new(),
            false => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat().into(),
        };
        self.steps(head.into(), chunk, b"0\r\n\r\n")
    }

    fn steps(
        &self,
        head: Bytes,
        framed: impl Fn(&Bytes) -> Bytes,
        end: &'static [u8],
    ) -> Vec<Step> {
        let mut steps = vec![Step::Write(head)];
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 && !self.pause.is_zero() {
                steps.push(Step::Pause(self.pause));
            }
            steps.push(Step::Write(framed(piece)));
        }
        steps.push(Step::Write(Bytes::from_static(end)));
        match self.ending {
            Ending::Stalled(_) => steps.push(Step::Stall),
            Ending::BrokenOff(_) => steps.push(Step::Close),
            Ending::Length | Ending::Chunked | Ending::Raw => {}
        }
        steps.retain(|step| !matches!(step, Step::Write(bytes) if bytes.is_empty()));
        steps
    }

    pub(super) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(super) fn without(mut self, header: &str) -> Self {
        self.headers.retain(|(name, _)| *name != header);
        self
    }

    pub(super) fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { pieces: vec![body.into()], ..self }
    }

    /// Cuts the body into pieces of this many bytes.
    pub(super) fn cut(self, bytes: usize) -> Self {
        let body = self.body();
        let starts = (0..body.len()).step_by(bytes);
        let pieces = starts.map(|at| body.slice(at..body.len().min(at + bytes))).collect();
        Self { pieces, ..self }
    }

    pub(super) fn in_chunks(self, bytes: usize) -> Self {
        self.cut(bytes).ending_by(Ending::Chunked)
    }

    pub(super) fn ending_by(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    pub(super) fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}
