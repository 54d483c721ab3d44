//! A sender that writes bytes. It knows no HTTP, so it gets nothing right by accident.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

use number7_core::{
    SIGNATURE_HEADER,
    probe::{Probe, Step},
};

/// How long an answer may take before the test fails. No good answer takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a receiver.
pub struct Socket(TcpStream);

/// An answer, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From the status line.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As long as `Content-Length` says.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl Socket {
    /// Connects.
    #[must_use]
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Writes bytes. If the receiver has already closed the connection, [`answer`](Self::answer) shows that.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        match self.0.write_all(bytes.as_ref()) {
            Err(error) if !closed(error.kind()) => panic!("{error}"),
            _ => {}
        }
    }

    /// Writes bytes to a receiver that must accept all of them.
    ///
    /// # Errors
    ///
    /// It has closed the connection.
    pub fn write_all(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref())
    }

    /// Writes a whole signed request at once, so that its body does not arrive later than its head.
    pub fn write_request(&mut self, signature: &str, body: &str) {
        self.write(head(signature, body.len()) + body);
    }

    /// Writes the head of a signed request with a body of this many bytes.
    pub fn write_head(&mut self, signature: &str, length: usize) {
        self.write(head(signature, length));
    }

    /// Sends a probe to a receiver, and reads the answer.
    #[must_use]
    pub fn probe(addr: SocketAddr, probe: &Probe) -> Option<Answer> {
        let mut socket = Self::connect(addr);
        for step in probe.request().http1("test", "/webhook") {
            match step {
                Step::Write(bytes) => socket.write(bytes),
                Step::Pause(pause) => sleep(pause),
                Step::Close => socket.end(),
                Step::Stall => {}
                other => panic!("{other:?} is new to the tests"),
            }
            if socket.is_answered() {
                break;
            }
        }
        socket.answer()
    }

    /// Ends the sender's half of the connection.
    pub fn end(&mut self) {
        drop(self.0.shutdown(Shutdown::Write));
    }

    /// Ends the connection by a reset, like a crashing process or a proxy that gives up.
    pub fn reset(self) {
        socket2::SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether an answer, or the end of the connection, has arrived.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads the answer. `None` if the connection ends without one.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte()?);
        }
        let head = String::from_utf8(head).unwrap();
        let (status, headers) = head.trim_end().split_once("\r\n").unwrap_or((head.trim_end(), ""));
        let headers: Vec<_> = headers
            .lines()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, headers, body: String::new() };
        let length: usize =
            answer.header("content-length").map_or(0, |value| value.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if closed(error.kind()) => None,
            // A signal interrupts a read with a timeout in this way.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.byte(),
            Err(error) => panic!("no answer: {error}"),
        }
    }
}

fn closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

fn head(signature: &str, length: usize) -> String {
    format!(
        "POST /webhook HTTP/1.1\r\nhost: test\r\n{SIGNATURE_HEADER}: {signature}\r\n\
         content-length: {length}\r\n\r\n"
    )
}
