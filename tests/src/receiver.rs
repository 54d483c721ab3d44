//! A receiver in its own process, which tests can kill, and the vendor in front of it.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use number7_core::SIGNATURE_HEADER;

use crate::{patience::PATIENCE, sign, store::Store};

/// The frameworks that the receiver can be served by.
pub const FRAMEWORKS: [&str; 2] = ["axum", "actix-web"];

/// How the receivers of a test are started.
pub struct Setup<'a> {
    /// The program `inbox-receiver`.
    pub program: &'a str,
    /// The store of their inbox.
    pub store: &'a Store,
    /// One of [`FRAMEWORKS`].
    pub framework: &'a str,
    /// The file with a line for each effect.
    pub effects: PathBuf,
    /// How many of a hundred attempts fail.
    pub failing: u8,
    /// The vendor that they ask about overdue jobs.
    pub vendor: Option<SocketAddr>,
}

impl<'a> Setup<'a> {
    /// Receivers whose handlers do not fail, with a file of effects in this folder.
    #[must_use]
    pub fn new(program: &'a str, store: &'a Store, framework: &'a str, folder: &Path) -> Self {
        let effects = folder.join(format!("effects-{framework}"));
        Self { program, store, framework, effects, failing: 0, vendor: None }
    }

    /// Starts a receiver that will crash somewhere, or `never`.
    #[must_use]
    pub fn start(&self, crash: &str) -> Receiver {
        self.start_under(&["env"], crash)
    }

    /// Starts a receiver by another program, such as a shell that limits it.
    #[must_use]
    pub fn start_under(&self, wrapper: &[&str], crash: &str) -> Receiver {
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .arg(self.program)
            .arg(self.store.url())
            .arg(self.framework)
            .arg(&self.effects);
        command.args([crash, &self.failing.to_string()]);
        Receiver::start(command.args(self.vendor.map(|vendor| vendor.to_string())))
    }

    /// How often each key had its effect.
    #[must_use]
    pub fn effects(&self) -> HashMap<String, u32> {
        effects(&self.effects)
    }
}

/// How often each line occurs in a file.
#[must_use]
pub fn effects(file: &Path) -> HashMap<String, u32> {
    let mut effects = HashMap::new();
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        *effects.entry(line.to_owned()).or_default() += 1;
    }
    effects
}

/// A process that is killed when it is dropped.
pub struct Receiver {
    process: Child,
    addr: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Receiver {
    /// Starts a program that prints its address in the first line.
    pub fn start(command: &mut Command) -> Self {
        command.env("RUST_BACKTRACE", "0").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (log, stderr) = (Arc::<Mutex<String>>::default(), process.stderr.take().unwrap());
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            let is_shown = std::env::var_os("NUMBER7_TEST_LOG").is_some();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if is_shown {
                    eprintln!("{line}");
                }
                lines.lock().unwrap().extend([&line, "\n"]);
            }
        });
        let stdout = process.stdout.take().unwrap();
        let (says, said) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            _ = BufReader::new(stdout).read_line(&mut line);
            _ = says.send(line);
        });
        let line = said.recv_timeout(PATIENCE).unwrap_or_default();
        let Ok(addr) = line.trim().parse() else {
            _ = process.kill();
            panic!("no address: {line:?}");
        };
        Self { addr, process, log }
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The id of its process.
    #[must_use]
    pub fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The id of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, as a crash or an operator does.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Delivers once.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub fn deliver(&self, body: &str) -> io::Result<u16> {
        deliver(self.addr, body).map(|answer| answer.0)
    }

    /// Delivers once, and returns the status and the whole answer.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub fn answer(&self, body: &str) -> io::Result<(u16, String)> {
        deliver(self.addr, body)
    }

    /// Delivers without waiting for the answer, which arrives on this connection.
    #[must_use]
    pub fn send(&self, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.write_all(request(body).as_bytes()).unwrap();
        stream
    }

    /// Delivers, and resets the connection before there can be an answer.
    pub fn deliver_and_reset(&self, body: &str) {
        let stream = self.send(body);
        stream.set_nonblocking(true).unwrap();
        // Otherwise the connection would be closed in order.
        tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn request(body: &str) -> String {
    format!(
        "POST /webhook HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{SIGNATURE_HEADER}: {}\r\n\
         content-length: {}\r\n\r\n{body}",
        sign(body),
        body.len(),
    )
}

/// Delivers once, and returns the status and the whole answer.
///
/// # Errors
///
/// There is no answer.
pub fn deliver(addr: SocketAddr, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request(body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    status.map(|status| (status, answer)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
