//! A failing network: a proxy in front of a server.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What the network does to the connections through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It forwards everything.
    Good,
    /// It drops everything without a word, forever on old connections.
    Silent,
    /// It breaks every connection, and refuses new ones.
    Down,
    /// It forwards this many bytes of what is next sent to the server, and then breaks the connection before the
    /// server can answer.
    CutAfter(usize),
    /// It forwards everything, but holds back the first message with this text until the network is good again, even if the
    /// client is gone by then.
    Late(&'static str),
    /// It forwards everything, except the answer to the first message with this text.
    Unanswered(&'static str),
    /// It forwards everything, with this delay in each direction.
    Slow(Duration),
}

/// The message whose answer is lost.
#[derive(Default)]
struct Lost {
    begun: AtomicBool,
    arrived: AtomicBool,
}

/// How many connections were opened, how many are open now, and the most that were open at a time.
#[derive(Default)]
struct Count {
    opened: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

/// One more connection, until it is dropped.
struct Counted(Arc<Count>);

impl Counted {
    fn one(count: &Arc<Count>) -> Self {
        count.opened.fetch_add(1, Ordering::Relaxed);
        let open = count.open.fetch_add(1, Ordering::Relaxed) + 1;
        count.most.fetch_max(open, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A proxy that ends with the test.
pub struct Proxy {
    addr: SocketAddr,
    server: Arc<AtomicU16>,
    network: watch::Sender<Network>,
    lost: Arc<Lost>,
    count: Arc<Count>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts in front of a port on the loopback.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (network, seen) = watch::channel(Network::Good);
        let server = Arc::new(AtomicU16::new(port));
        let behind = Arc::clone(&server);
        let lost = Arc::new(Lost::default());
        let of_all = Arc::clone(&lost);
        let count = Arc::new(Count::default());
        let counts = Arc::clone(&count);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (port, lost) = (behind.load(Ordering::Relaxed), Arc::clone(&of_all));
                let (counted, seen) = (Counted::one(&counts), seen.clone());
                tokio::spawn(async move {
                    _ = carry(client, port, seen, lost).await;
                    drop(counted);
                });
            }
        });
        Self { addr, server, network, lost, count, task }
    }

    /// Forwards new connections to another server. Old ones stay.
    pub fn redirect(&self, port: u16) {
        self.server.store(port, Ordering::Relaxed);
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections were made through it, and the most at a time.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        (self.count.opened.load(Ordering::Relaxed), self.count.most.load(Ordering::Relaxed))
    }

    /// Whether the server has sent the answer that is lost.
    #[must_use]
    pub fn has_lost_an_answer(&self) -> bool {
        self.lost.arrived.load(Ordering::Relaxed)
    }

    /// Changes the behavior for old and new connections.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    mut client: TcpStream,
    port: u16,
    mut seen: watch::Receiver<Network>,
    lost: Arc<Lost>,
) -> io::Result<()> {
    if *seen.borrow_and_update() == Network::Down {
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut up, mut down) = (vec![0; 16_384], vec![0; 16_384]);
    loop {
        let network = *seen.borrow_and_update();
        match network {
            Network::Down => return Ok(()),
            // Dropped data stays dropped, even if the network changes later.
            Network::Silent => loop {
                if client.read(&mut up).await? == 0 {
                    return Ok(());
                }
            },
            Network::Good
            | Network::CutAfter(_)
            | Network::Late(_)
            | Network::Unanswered(_)
            | Network::Slow(_) => {}
        }
        let delay = async || {
            if let Network::Slow(delay) = network {
                sleep(delay).await;
            }
        };
        select! {
            biased;
            changed = seen.changed() => {
                // The proxy has ended.
                if changed.is_err() {
                    return Ok(());
                }
            }
            read = client.read(&mut up) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                if let Network::CutAfter(bytes) = network {
                    return server.write_all(&up[..read.min(bytes)]).await;
                }
                if let Network::Late(text) | Network::Unanswered(text) = network
                    && up[..read].windows(text.len()).any(|part| part == text.as_bytes())
                    && !lost.begun.swap(true, Ordering::Relaxed)
                {
                    if let Network::Late(_) = network {
                        // Until the proxy ends, if it is never good again.
                        _ = seen.wait_for(|network| *network == Network::Good).await;
                    }
                    server.write_all(&up[..read]).await?;
                    let is_answered = server.read(&mut down).await? > 0;
                    lost.arrived.store(is_answered, Ordering::Relaxed);
                    return Ok(());
                }
                delay().await;
                server.write_all(&up[..read]).await?;
            }
            read = server.read(&mut down) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                delay().await;
                client.write_all(&down[..read]).await?;
            }
        }
    }
}
