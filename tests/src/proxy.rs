//! A network that fails: a proxy in front of a server.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, sink},
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::JoinHandle,
};

/// What the network does to the connections through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It carries all.
    Good,
    /// It swallows everything, of old connections for ever, and says so to nobody.
    Silent,
    /// It breaks every connection, and refuses new ones.
    Down,
    /// It carries so many bytes of what is next sent to the server, and then breaks the connection
    /// before the server can answer.
    CutAfter(usize),
    /// It holds back what an old connection sends to the server, from a message with this text on, until
    /// it is good again, even if nobody waits for an answer by then. It carries all of new ones.
    Late(&'static str),
}

/// A proxy that ends with the test.
pub struct Proxy {
    addr: SocketAddr,
    server: Arc<AtomicU16>,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands in front of a port of the loopback.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (network, seen) = watch::channel(Network::Good);
        let server = Arc::new(AtomicU16::new(port));
        let behind = Arc::clone(&server);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, behind.load(Ordering::Relaxed), seen.clone()));
            }
        });
        Self { addr, server, network, task }
    }

    /// Carries new connections to another server; old ones stay where they are.
    pub fn redirect(&self, port: u16) {
        self.server.store(port, Ordering::Relaxed);
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Changes what happens to old and new connections.
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
) -> io::Result<()> {
    if *seen.borrow_and_update() == Network::Down {
        return Ok(());
    }
    let is_new_and_late = matches!(*seen.borrow(), Network::Late(_));
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut up, mut down) = (vec![0; 16_384], vec![0; 16_384]);
    loop {
        let network = *seen.borrow_and_update();
        match network {
            Network::Down => return Ok(()),
            // What is swallowed stays swallowed, whatever the network does later.
            Network::Silent => loop {
                if client.read(&mut up).await? == 0 {
                    return Ok(());
                }
            },
            Network::Good | Network::CutAfter(_) | Network::Late(_) => {}
        }
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
                if let Network::Late(text) = network
                    && !is_new_and_late
                    && up[..read].windows(text.len()).any(|part| part == text.as_bytes())
                {
                    return hold(up[..read].to_vec(), client, server, seen).await;
                }
                server.write_all(&up[..read]).await?;
            }
            read = server.read(&mut down) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                client.write_all(&down[..read]).await?;
            }
        }
    }
}

/// Sends what was read, and what the client says after that, once the network is good. The answer goes
/// nowhere.
async fn hold(
    mut held: Vec<u8>,
    mut client: TcpStream,
    mut server: TcpStream,
    mut seen: watch::Receiver<Network>,
) -> io::Result<()> {
    let read = async {
        _ = client.read_to_end(&mut held).await;
        pending().await
    };
    select! {
        () = read => {}
        _ = seen.wait_for(|network| *network == Network::Good) => {}
    }
    server.write_all(&held).await?;
    copy(&mut server, &mut sink()).await.map(drop)
}
