//! A connection that is replaced once it no longer serves.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError,
    RedisFuture, Role, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tracing::instrument::WithSubscriber;

use super::{
    super::{CONNECT_TIMEOUT, STORE_TIMEOUT, driver::Driver},
    sentinel::{Node, Sentinels, at},
};
use crate::model::error::{InboxError, InboxErrorKind};

/// The pauses between tries to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How soon a connection is replaced at the earliest: a server that refuses everything, such as a replica,
/// is asked for no more than four in a second.
const SHORTEST_LIFE: Duration = Duration::from_millis(250);

/// How often a connection is tried that nobody may be using, so that one that has died is not found by a
/// delivery.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// How often a command is sent again to another node of a cluster, which moves its keys or lost its master. What
/// happens twice then, such as a claim whose answer was lost, is what happens if a connection breaks.
const CLUSTER_RETRIES: u32 = 3;

/// How many commands wait to be sent; the others wait for their turn.
const QUEUE: usize = 1_024;

/// The connection, which many use at once, and which one task replaces.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    target: Target,
    /// The nodes of a cluster that were seen, because the one that the URL names may be away.
    nodes: Mutex<BTreeSet<Node>>,
    state: watch::Sender<State>,
}

/// What a URL names.
#[derive(Clone)]
pub(super) enum Target {
    /// A server, which may be a node of a cluster.
    Server(Arc<Client>),
    /// Those that know the server.
    Sentinels(Arc<Sentinels>),
}

impl Target {
    pub(super) fn of_url(url: &str) -> Result<Self, InboxError> {
        Ok(match Sentinels::of_url(url)? {
            Some(sentinels) => Self::Sentinels(Arc::new(sentinels)),
            None => Self::Server(Arc::new(Client::open(url)?)),
        })
    }
}

enum State {
    Connected(Numbered),
    /// And why the last connection was left, or the last try has failed.
    Connecting(Option<InboxError>),
}

#[derive(Clone)]
struct Numbered {
    number: u64,
    client: Arc<Client>,
    connection: Connection,
}

/// To one server, to the master that sentinels name, or to the nodes of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Master(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) | Self::Master(server) => server.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) | Self::Master(server) => {
                server.req_packed_commands(cmd, offset, count)
            }
            Self::Cluster(cluster) => cluster.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl Link {
    /// Begins to connect, on the thread of a driver and for as long as that lives.
    pub(super) fn start(target: Target, driver: &Driver) -> Self {
        let state = watch::Sender::new(State::Connecting(None));
        let link = Self(Arc::new(Shared { target, nodes: Mutex::default(), state }));
        driver.runtime().spawn(Arc::clone(&link.0).keep().with_current_subscriber());
        link
    }

    pub(super) fn is_cluster(&self) -> bool {
        !self.0.nodes().is_empty()
    }

    /// Waits for the first connection, which a server may refuse that has to be set otherwise.
    pub(super) async fn opened(&self) -> Result<(), InboxError> {
        let is_over = |state: &State| match state {
            State::Connected(_) => true,
            State::Connecting(error) => {
                error.as_ref().is_some_and(|error| error.kind() == InboxErrorKind::Refused)
            }
        };
        self.wait_for(STORE_TIMEOUT, is_over).await.map(|_| ())
    }

    /// Runs an operation in time. If it shows that the connection no longer serves, the next operation waits
    /// for another.
    pub(super) async fn run<T, F>(
        &self,
        operation: impl FnOnce(Connection) -> F,
    ) -> Result<T, InboxError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        self.try_once(Instant::now() + STORE_TIMEOUT, operation).await?.map_err(Into::into)
    }

    /// Runs an operation that may happen twice: if the connection no longer serves, it is repeated on the next
    /// one.
    pub(super) async fn run_again<T, F>(
        &self,
        operation: impl Fn(Connection) -> F,
    ) -> Result<T, InboxError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let deadline = Instant::now() + STORE_TIMEOUT;
        match self.try_once(deadline, &operation).await? {
            Err(error) if serves_no_more(&error) && !error.is_timeout() => {
                self.try_once(deadline, operation).await?.map_err(Into::into)
            }
            answer => answer.map_err(Into::into),
        }
    }

    async fn try_once<T, F>(
        &self,
        deadline: Instant,
        operation: impl FnOnce(Connection) -> F,
    ) -> Result<Result<T, RedisError>, InboxError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let patience = CONNECT_TIMEOUT.min(deadline - Instant::now());
        let is_connected = |state: &State| matches!(state, State::Connected(_));
        let Numbered { number, connection, .. } = self.wait_for(patience, is_connected).await?;
        let answer = timeout_at(deadline, operation(connection)).await;
        let answer = answer.unwrap_or_else(|_| Err(timed_out()));
        if let Err(error) = &answer
            && serves_no_more(error)
        {
            self.0.leave(number, error.clone().into());
        }
        Ok(answer)
    }

    /// What it is connected to.
    pub(super) async fn client(&self) -> Result<Arc<Client>, InboxError> {
        let is_connected = |state: &State| matches!(state, State::Connected(_));
        Ok(self.wait_for(CONNECT_TIMEOUT, is_connected).await?.client)
    }

    /// Waits until it is connected to another server than this one.
    pub(super) async fn moved_from(&self, client: &Client) {
        let is_other = |state: &State| match state {
            State::Connected(current) => address(&current.client) != address(client),
            State::Connecting(_) => false,
        };
        let mut state = self.0.state.subscribe();
        _ = state.wait_for(is_other).await;
    }

    async fn wait_for(
        &self,
        patience: Duration,
        is_over: impl FnMut(&State) -> bool,
    ) -> Result<Numbered, InboxError> {
        let mut state = self.0.state.subscribe();
        _ = timeout(patience, state.wait_for(is_over)).await;
        match &*state.borrow() {
            State::Connected(connection) => Ok(connection.clone()),
            State::Connecting(Some(error)) => Err(error.copy()),
            State::Connecting(None) => {
                Err(InboxError::new(InboxErrorKind::Unreachable, "there is no connection yet"))
            }
        }
    }
}

impl Shared {
    /// Connects, again and again.
    async fn keep(self: Arc<Self>) {
        let mut last = None::<Arc<Client>>;
        for number in 0.. {
            let (client, connection) = self.connect(number > 0).await;
            let (is, was) = (address(&client), last.as_deref().map(address));
            if was.is_some_and(|was| was != is) {
                tracing::info!(target: "number7", master = %is, "connected to another Redis");
            }
            last = Some(Arc::clone(&client));
            let since = Instant::now();
            let connected = Numbered { number, client, connection };
            let mut state = self.state.subscribe();
            self.state.send_replace(State::Connected(connected.clone()));
            let left = state.wait_for(|state| matches!(state, State::Connecting(_)));
            tokio::select! {
                _ = left => {}
                error = self.ping(connected.connection) => self.leave(number, error),
                error = self.replaced(&connected.client) => self.leave(number, error),
            }
            sleep_until(since + SHORTEST_LIFE).await;
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeSet<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody uses this connection any more, if it is still the current one.
    fn leave(&self, number: u64, error: InboxError) {
        self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Connected(current) if current.number == number);
            if is_current {
                *state = State::Connecting(Some(error));
            }
            is_current
        });
    }

    /// Tries until there is a connection. The log has one line of each reason why there is none, unless it
    /// is the first, whose caller gets the error.
    async fn connect(&self, is_logged: bool) -> (Arc<Client>, Connection) {
        let (mut pause, mut said) = (FIRST_PAUSE, None);
        loop {
            let tried = timeout(CONNECT_TIMEOUT, self.try_to_connect()).await;
            let error = match tried.unwrap_or_else(|_| Err(timed_out().into())) {
                Ok(connected) => {
                    if is_logged && said.is_some() {
                        tracing::info!(target: "number7", "connected to Redis again");
                    }
                    return connected;
                }
                Err(error) => error,
            };
            let text = error.to_string();
            self.state.send_replace(State::Connecting(Some(error)));
            if is_logged && said.as_ref() != Some(&text) {
                tracing::warn!(
                    target: "number7",
                    "cannot connect to Redis again, and will keep trying: {text}"
                );
            }
            said = Some(text);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_to_connect(&self) -> Result<(Arc<Client>, Connection), InboxError> {
        match &self.target {
            Target::Server(client) => Ok((Arc::clone(client), self.connect_to(client).await?)),
            Target::Sentinels(sentinels) => sentinels.connect().await,
        }
    }

    /// Connects to a server, or to the cluster that it is a node of.
    async fn connect_to(&self, client: &Client) -> Result<Connection, InboxError> {
        let known = self.nodes().clone();
        if !known.is_empty() {
            return Ok(self.try_to_join(client, known).await?);
        }
        let mut connection = connect_to(client).await?;
        let mut info = redis::cmd("INFO");
        // What may not be asked is no cluster, as far as we know.
        let info = info.arg("cluster").query_async::<String>(&mut connection).await;
        if info.is_ok_and(|info| info.contains("cluster_enabled:1")) {
            return Ok(self.try_to_join(client, known).await?);
        }
        let mut connection = Connection::Server(connection);
        serves(&mut connection).await.map(|()| connection)
    }

    /// Connects to a cluster, by the nodes that were seen and the one of the URL.
    async fn try_to_join(
        &self,
        client: &Client,
        known: BTreeSet<Node>,
    ) -> Result<Connection, RedisError> {
        let of_url = client.get_connection_info();
        let others = known.into_iter().map(|node| at(of_url, node));
        let builder = ClusterClient::builder(others.chain([of_url.clone()]));
        let builder =
            builder.connection_timeout(CONNECT_TIMEOUT / 2).response_timeout(STORE_TIMEOUT);
        let builder = builder.retries(CLUSTER_RETRIES);
        let mut connection = Connection::Cluster(builder.build()?.get_async_connection().await?);
        *self.nodes() = nodes(&mut connection).await?;
        Ok(connection)
    }

    /// Returns when sentinels name another master.
    async fn replaced(&self, client: &Client) -> InboxError {
        match &self.target {
            Target::Server(_) => pending().await,
            Target::Sentinels(sentinels) => sentinels.replaced(client).await,
        }
        InboxError::new(InboxErrorKind::Unreachable, "the sentinels name another master")
    }

    /// Returns when the connection no longer serves.
    async fn ping(&self, mut connection: Connection) -> InboxError {
        loop {
            sleep(PING_INTERVAL).await;
            let answer = timeout(CONNECT_TIMEOUT, serves(&mut connection)).await;
            if let Err(error) = answer.unwrap_or_else(|_| Err(timed_out().into())) {
                return error;
            }
        }
    }
}

pub(super) async fn connect_to(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    // Another crate may enable another provider, and then rustls does not choose.
    #[cfg(feature = "redis-tls")]
    if let ConnectionAddr::TcpTls { .. } = address(client) {
        _ = rustls::crypto::ring::default_provider().install_default();
    }
    // The times are ours.
    let settings = AsyncConnectionConfig::new();
    let settings = settings.set_connection_timeout(None).set_response_timeout(None);
    let settings = settings.set_pipeline_buffer_size(QUEUE);
    client.get_multiplexed_async_connection_with_config(&settings).await
}

fn address(client: &Client) -> &ConnectionAddr {
    client.get_connection_info().addr()
}

/// Whether the server takes commands of this connection, or some node of the cluster does. A master has to be one.
pub(super) async fn serves(connection: &mut Connection) -> Result<(), InboxError> {
    if let Connection::Master(_) = connection
        && let Ok(Role::Replica { .. }) = redis::cmd("ROLE").query_async(connection).await
    {
        let text = "it is a replica, and not a master any more";
        return Err(InboxError::new(InboxErrorKind::ReadOnly, text));
    }
    let answer = match connection {
        Connection::Server(_) | Connection::Master(_) => {
            redis::cmd("PING").exec_async(connection).await
        }
        Connection::Cluster(_) => nodes(connection).await.map(drop),
    };
    match answer {
        Err(error) if serves_no_more(&error) && code(&error) != Some("NOPERM") => Err(error.into()),
        _ => Ok(()),
    }
}

async fn nodes(connection: &mut Connection) -> Result<BTreeSet<Node>, RedisError> {
    let mut nodes = redis::cmd("CLUSTER");
    let nodes = nodes.arg("NODES").query_async::<String>(connection).await?;
    Ok(nodes.lines().filter_map(node).collect())
}

/// A node in the answer to `CLUSTER NODES`: `id host:port@bus,name flags …`.
fn node(line: &str) -> Option<Node> {
    let (address, _) = line.split(' ').nth(1)?.split_once('@')?;
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// Whether an error says that another connection may do better: this one is broken, or its server is not the
/// one that it was.
pub(super) fn serves_no_more(error: &RedisError) -> bool {
    let of_another_server = matches!(
        code(error),
        Some(
            "NOAUTH"
                | "WRONGPASS"
                | "NOPERM"
                | "LOADING"
                | "MASTERDOWN"
                | "READONLY"
                | "MISCONF"
                | "NOREPLICAS"
                | "UNBLOCKED"
                | "CLUSTERDOWN"
                | "MOVED"
        )
    );
    let is_broken =
        matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed);
    of_another_server || is_broken
}

/// The code of an error. Before Redis 7 that of a script has the one that ended it in its text.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && let Some((_, inner)) = error.detail().and_then(|detail| detail.rsplit_once(": -"))
    {
        return inner.split_once(' ').map(|(code, _)| code);
    }
    error.code()
}

/// Whether an error is about the user or the password.
pub(super) fn is_authentication(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(code(error), Some("NOAUTH" | "WRONGPASS"))
        // What is said of the choice of a database.
        || error.detail().is_some_and(|detail| detail.contains("Authentication required"))
}

pub(super) fn timed_out() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// What redis says, sorted.
impl From<RedisError> for InboxError {
    fn from(error: RedisError) -> Self {
        if is_authentication(&error) {
            let said = match error.kind() {
                // The rest of its text says nothing more.
                ErrorKind::AuthenticationFailed => {
                    "Redis refused the user or the password".to_owned()
                }
                _ => error.to_string(),
            };
            return Self::new(InboxErrorKind::Refused, format!("authentication failed: {said}"));
        }
        let kind = match code(&error) {
            Some("READONLY" | "NOREPLICAS") => InboxErrorKind::ReadOnly,
            Some("LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "UNBLOCKED") => {
                InboxErrorKind::Unreachable
            }
            // The disk of the append-only file or the snapshot is full or broken.
            Some("OOM" | "MISCONF") => InboxErrorKind::Full,
            _ if error.is_timeout() => InboxErrorKind::TooSlow,
            _ if error.is_io_error() || error.is_connection_dropped() => {
                InboxErrorKind::Unreachable
            }
            _ => InboxErrorKind::Refused,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    #[test]
    fn the_nodes_of_a_cluster_are_read() {
        let of = |line: &str| node(line).map(|(host, port)| format!("{host} {port}"));
        for (address, expected) in [
            ("127.0.0.1:7001@17001", Some("127.0.0.1 7001")),
            ("10.0.0.1:6379@16379,name.example", Some("10.0.0.1 6379")),
            ("::1:6379@16379", Some("::1 6379")),
            (":0@0", None),
            ("", None),
        ] {
            let line = format!("a1b2 {address} master - 0 1 2 connected 0-5460");
            assert_eq!(of(&line).as_deref(), expected, "{address}");
        }
    }

    fn error(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn what_is_refused_by_another_server_is_told_from_what_is_wrong() {
        let refused = [
            ("NOAUTH Authentication required.", InboxErrorKind::Refused),
            ("WRONGPASS invalid username-password pair", InboxErrorKind::Refused),
            ("NOPERM this user has no permissions", InboxErrorKind::Refused),
            ("LOADING Redis is loading the dataset in memory", InboxErrorKind::Unreachable),
            ("MASTERDOWN Link with MASTER is down", InboxErrorKind::Unreachable),
            ("READONLY You can't write against a read only replica.", InboxErrorKind::ReadOnly),
            (
                "ERR Error running script (call to f_1): @user_script:5: @user_script: 5: \
                -READONLY You can't write against a read only replica.",
                InboxErrorKind::ReadOnly,
            ),
            ("MISCONF Redis is configured to save RDB snapshots", InboxErrorKind::Full),
        ];
        for (line, kind) in refused {
            let error = error(line);
            assert!(serves_no_more(&error), "{line}");
            let error = InboxError::from(error);
            assert_eq!(error.kind(), kind, "{line}");
            let is_authentication = line.starts_with("NOAUTH") || line.starts_with("WRONGPASS");
            assert_eq!(error.to_string().contains("authentication"), is_authentication, "{error}");
        }
        for line in ["OOM command not allowed", "ERR unknown command", "WRONGTYPE Operation"] {
            assert!(!serves_no_more(&error(line)), "{line}");
        }
    }
}
