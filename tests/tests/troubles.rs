//! Two receivers under load, which suffer one trouble after another. Each event that was answered 200 is handled. Soon after
//! the end of each trouble, both accept and work again, and have logged what it was.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    net::SocketAddr,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use number7_tests::{
    body,
    engine::{Engine, Server},
    proxy::{Network, Proxy},
    receiver::{FRAMEWORKS, Receiver, Setup, deliver},
    store::{Store, redis_command},
};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::{runtime::Handle, task::block_in_place};

/// How long each trouble lasts: longer than the lease of the receivers.
const TROUBLE: Duration = Duration::from_secs(5);

/// How soon both receivers must accept and work again. On a quiet machine it takes a second or two. The limit is for busy ones.
const RECOVERY: Duration = Duration::from_secs(30);

/// The pause between two deliveries of a sender.
const PACE: Duration = Duration::from_millis(20);

/// A kind of trouble.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The processes are stopped, as on a machine that sleeps.
    Sleep,
    /// SQLite: another program holds the write lock.
    Locked,
    /// SQLite: no file may grow.
    DiskFull,
    /// The network drops everything.
    Silent,
    /// The network breaks all connections.
    Down,
    /// The server is stopped.
    ServerStops,
    /// The server is killed, and started again.
    ServerDies,
    /// PostgreSQL: an operator ends all sessions, again and again.
    SessionsEnd,
    /// Redis: it requires a password.
    Password,
    /// Redis: it is demoted.
    Demoted,
    /// Redis: it is at its `maxmemory`.
    MemoryFull,
}

impl Trouble {
    /// Texts of which a line of the log must contain one, unless the trouble may stay unnoticed.
    fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Sleep | Self::SessionsEnd => &[],
            Self::Locked => &["locked by another writer"],
            // A file that must not grow causes an I/O error.
            Self::DiskFull => &["disk I/O error", "the store is full"],
            Self::Silent | Self::ServerStops => &["did not answer in time", "cannot be reached"],
            Self::Down | Self::ServerDies => &["cannot be reached"],
            Self::Password => &["authentication"],
            Self::Demoted => &["read-only"],
            Self::MemoryFull => &["the store is full"],
        }
    }
}

/// A store with two receivers on it, and everything in between.
struct World<'a> {
    store: &'a Store,
    receivers: [Receiver; 2],
    /// `None` for a store without a server.
    server: Option<&'a mut Server>,
    proxy: Option<&'a Proxy>,
}

impl World<'_> {
    fn signal(&self, signal: &str) {
        for receiver in &self.receivers {
            let flag = format!("-{signal}");
            assert!(
                Command::new("kill").args([&flag, &receiver.pid()]).status().unwrap().success()
            );
        }
    }

    /// Limits the length of files, in bytes.
    fn limit_files(&self, limit: &str) {
        for receiver in &self.receivers {
            let size = format!("--fsize={limit}:unlimited");
            let set = Command::new("prlimit").args(["--pid", &receiver.pid(), &size]).status();
            assert!(set.unwrap().success());
        }
    }

    fn set(&self, network: Network) {
        self.proxy.unwrap().set(network);
    }

    /// Runs a command on the server itself.
    fn redis(&self, command: &[&str]) {
        let server = self.server.as_ref().unwrap();
        Handle::current().block_on(redis_command(&server.url(server.port(), "0"), command));
    }

    /// Causes the trouble, and ends it.
    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Sleep => {
                self.signal("STOP");
                sleep(TROUBLE);
                self.signal("CONT");
            }
            Trouble::Locked => Handle::current().block_on(async {
                let mut other = self.store.sqlite_connection().await;
                let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
                tokio::time::sleep(TROUBLE).await;
                lock.rollback().await.unwrap();
            }),
            Trouble::DiskFull => {
                self.limit_files("4096");
                sleep(TROUBLE);
                self.limit_files("unlimited");
            }
            Trouble::Silent | Trouble::Down => {
                let is_silent = matches!(trouble, Trouble::Silent);
                self.set(if is_silent { Network::Silent } else { Network::Down });
                sleep(TROUBLE);
                self.set(Network::Good);
            }
            Trouble::ServerStops => {
                self.server.as_ref().unwrap().signal("STOP");
                sleep(TROUBLE);
                self.server.as_ref().unwrap().signal("CONT");
            }
            Trouble::ServerDies => {
                self.server.as_mut().unwrap().kill();
                sleep(TROUBLE);
                self.server.as_mut().unwrap().restart();
            }
            Trouble::SessionsEnd => {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
                let begun = Instant::now();
                while begun.elapsed() < TROUBLE {
                    Handle::current().block_on(self.store.sql(end));
                    sleep(Duration::from_millis(300));
                }
            }
            Trouble::Password => {
                self.redis(&["CONFIG", "SET", "requirepass", "changed"]);
                self.redis_with_password(&["CLIENT", "KILL", "TYPE", "normal"]);
                sleep(TROUBLE);
                self.redis_with_password(&["CONFIG", "SET", "requirepass", ""]);
            }
            Trouble::Demoted => {
                self.redis(&["REPLICAOF", "127.0.0.1", "1"]);
                sleep(TROUBLE);
                self.redis(&["REPLICAOF", "NO", "ONE"]);
            }
            Trouble::MemoryFull => {
                self.redis(&["CONFIG", "SET", "maxmemory", "1"]);
                sleep(TROUBLE);
                self.redis(&["CONFIG", "SET", "maxmemory", "0"]);
            }
        }
    }

    fn redis_with_password(&self, command: &[&str]) {
        let url = format!("redis://:changed@127.0.0.1:{}/0", self.server.as_ref().unwrap().port());
        Handle::current().block_on(redis_command(&url, command));
    }
}

/// Senders that deliver one event after the other, and no event twice.
struct Load {
    next: AtomicU32,
    is_over: AtomicBool,
    /// The keys that were answered 200.
    accepted: Mutex<HashSet<String>>,
    refused: AtomicU32,
}

impl Load {
    /// Delivers a new event to a receiver. Returns its key, if it was accepted.
    fn deliver_to(&self, addr: SocketAddr) -> Option<String> {
        let job = format!("job_{}", self.next.fetch_add(1, Ordering::Relaxed));
        match deliver(addr, &body("job.completed", &job)) {
            Ok((200, _)) => {
                let key = format!("job.completed:{job}");
                self.accepted.lock().unwrap().insert(key.clone());
                Some(key)
            }
            // actix-web itself answers 408 if its process was stopped for five seconds in the middle of a head. The
            // vendor retries after both.
            Ok((408 | 503, _)) | Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok((status, _)) => panic!("{status}"),
        }
    }
}

/// The period of the deliveries. It also ends if the test fails.
struct Sending<'a>(&'a Load);

impl<'a> Sending<'a> {
    fn start(load: &'a Load) -> Self {
        load.is_over.store(false, Ordering::Relaxed);
        Self(load)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

async fn suffer_all(
    store: &Store,
    mut server: Option<&mut Server>,
    proxy: Option<&Proxy>,
    troubles: &[Trouble],
) {
    let folder = TempDir::new().unwrap();
    // Both write their effects into the same file.
    let setup = |framework| Setup {
        effects: folder.path().join("effects"),
        ..Setup::new(env!("CARGO_BIN_EXE_inbox-receiver"), store, framework, folder.path())
    };
    let setups = FRAMEWORKS.map(setup);
    let load = Load {
        next: AtomicU32::new(0),
        is_over: AtomicBool::new(false),
        accepted: Mutex::default(),
        refused: AtomicU32::new(0),
    };
    block_in_place(|| {
        let limitable = ["sh", "-c", r#"trap "" XFSZ; exec "$0" "$@""#];
        let receivers = setups.each_ref().map(|setup| setup.start_under(&limitable, "never"));
        let mut world = World { store, receivers, server: server.take(), proxy };
        for trouble in troubles {
            let logged = world.receivers.each_ref().map(|receiver| receiver.log().len());
            let addrs = world.receivers.each_ref().map(Receiver::addr);
            let ended = thread::scope(|scope| {
                let _sending = Sending::start(&load);
                for addr in addrs {
                    let load = &load;
                    scope.spawn(move || send(load, addr));
                }
                sleep(PACE * 20);
                world.suffer(*trouble);
                let ended = Instant::now();
                for receiver in &world.receivers {
                    await_recovery(&load, receiver, &setups[0], *trouble, ended);
                }
                ended
            });
            let (took, refused) = (ended.elapsed(), load.refused.swap(0, Ordering::Relaxed));
            eprintln!("{}: {trouble:?}: back after {took:?}, {refused} refused", store.url());
            for (receiver, logged) in world.receivers.iter().zip(logged) {
                let log = receiver.log().split_off(logged);
                let has_text = |line: &str| trouble.texts().iter().any(|text| line.contains(text));
                let is_told = trouble.texts().is_empty() || log.lines().any(has_text);
                assert!(is_told, "{trouble:?} is not in the log:\n{log}");
            }
        }
        Handle::current().block_on(store.settled(RECOVERY));
        drop(world);
    });
    let effects = setups[0].effects();
    let accepted = load.accepted.into_inner().unwrap();
    let lost: Vec<_> = accepted.iter().filter(|key| !effects.contains_key(*key)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), accepted.len());
    assert!(accepted.len() > troubles.len() * 20, "{} were accepted", accepted.len());
}

fn send(load: &Load, addr: SocketAddr) {
    while !load.is_over.load(Ordering::Relaxed) {
        load.deliver_to(addr);
        sleep(PACE);
    }
}

/// Waits until the receiver has accepted an event, and one of the two has handled it.
fn await_recovery(
    load: &Load,
    receiver: &Receiver,
    setup: &Setup<'_>,
    trouble: Trouble,
    ended: Instant,
) {
    let late = |what| {
        assert!(ended.elapsed() < RECOVERY, "{what} after {trouble:?}: {}", receiver.log());
        sleep(PACE);
    };
    let key = loop {
        match load.deliver_to(receiver.addr()) {
            Some(key) => break key,
            None => late("nothing is accepted"),
        }
    };
    while !setup.effects().contains_key(&key) {
        late("nothing is handled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_goes_on_after_each_trouble() {
    let troubles = [Trouble::Sleep, Trouble::Locked, Trouble::DiskFull];
    suffer_all(&Store::sqlite(), None, None, &troubles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_goes_on_after_each_trouble() {
    use Trouble::{Down, ServerDies, ServerStops, SessionsEnd, Silent, Sleep};
    let mut server = block_in_place(|| Server::start(Engine::Postgres));
    let proxy = Proxy::start(server.port()).await;
    let store = Store::postgres_on(&server, proxy.port()).await;
    let troubles = [Sleep, Silent, Down, ServerStops, SessionsEnd, ServerDies];
    suffer_all(&store, Some(&mut server), Some(&proxy), &troubles).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn redis_goes_on_after_each_trouble() {
    use Trouble::{Demoted, Down, MemoryFull, Password, ServerDies, ServerStops, Silent, Sleep};
    let mut server = block_in_place(|| Server::start(Engine::Redis));
    let proxy = Proxy::start(server.port()).await;
    let store = Store::redis_on(&server, proxy.port());
    let troubles = [Sleep, Silent, Down, ServerStops, Password, Demoted, MemoryFull, ServerDies];
    suffer_all(&store, Some(&mut server), Some(&proxy), &troubles).await;
}
