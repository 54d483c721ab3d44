//! A connection that is replaced once it no longer serves.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Client, RedisError, cluster::ClusterClient};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tracing::instrument::WithSubscriber;

use super::{
    super::{CONNECT_TIMEOUT, STORE_TIMEOUT, driver::Driver},
    connection::{Connection, Node, address, at, connect_to, nodes, serves},
    fault::{serves_no_more, timed_out},
    sentinel::Sentinels,
};
use crate::model::error::{InboxError, InboxErrorKind};

/// The first pause between tries to connect, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How soon a connection is replaced at the earliest. So a server that refuses everything, such as a replica, gets no more than
/// four connections a second.
const SHORTEST_LIFE: Duration = Duration::from_millis(250);

/// How often a connection is pinged, even if nobody uses it, so that a delivery is not the first to notice that it is dead.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// How often a command is sent again to another node of a cluster, which moves its keys or has lost its master. A command may
/// happen twice because of that, as it may when a connection breaks.
const CLUSTER_RETRIES: u32 = 3;

/// The connection. Many use it at once, and one task replaces it.
#[derive(Clone)]
pub(super) struct Link(Arc<Shared>);

struct Shared {
    target: Target,
    /// The known nodes of a cluster, because the one in the URL may be away.
    nodes: Mutex<BTreeSet<Node>>,
    state: watch::Sender<State>,
}

/// The server or servers that a URL names.
#[derive(Clone)]
pub(super) enum Target {
    /// A server, which may be a node of a cluster.
    Server(Arc<Client>),
    /// The Sentinels that know the server.
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
    /// With the reason why the last connection was dropped, or the last try failed.
    Connecting(Option<InboxError>),
}

#[derive(Clone)]
struct Numbered {
    number: u64,
    client: Arc<Client>,
    connection: Connection,
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

    /// Waits for the first connection. It fails if the server must be configured differently.
    pub(super) async fn opened(&self) -> Result<(), InboxError> {
        let is_over = |state: &State| match state {
            State::Connected(_) => true,
            State::Connecting(error) => {
                error.as_ref().is_some_and(|error| error.kind() == InboxErrorKind::Refused)
            }
        };
        self.wait_for(STORE_TIMEOUT, is_over).await.map(|_| ())
    }

    /// Runs an operation within its time limit. If it shows that the connection no longer serves, the next
    /// operation waits for another one.
    pub(super) async fn run<T, F>(
        &self,
        operation: impl FnOnce(Connection) -> F,
    ) -> Result<T, InboxError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        self.try_once(Instant::now() + STORE_TIMEOUT, operation).await?.map_err(Into::into)
    }

    /// Runs an operation that may happen twice. If the connection no longer serves, the operation is repeated on the next one.
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

    /// The server that it is connected to.
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

    /// Drops this connection, if it is still the current one.
    fn leave(&self, number: u64, error: InboxError) {
        self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Connected(current) if current.number == number);
            if is_current {
                *state = State::Connecting(Some(error));
            }
            is_current
        });
    }

    /// Tries until there is a connection. Each reason why there is none is logged once, except for the first connection,
    /// because its caller gets the error.
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

    /// Connects to a server, or to the cluster that the server belongs to.
    async fn connect_to(&self, client: &Client) -> Result<Connection, InboxError> {
        let known = self.nodes().clone();
        if !known.is_empty() {
            return Ok(self.try_to_join(client, known).await?);
        }
        let mut connection = connect_to(client).await?;
        let mut info = redis::cmd("INFO");
        // If this may not be asked, assume that there is no cluster.
        let info = info.arg("cluster").query_async::<String>(&mut connection).await;
        if info.is_ok_and(|info| info.contains("cluster_enabled:1")) {
            return Ok(self.try_to_join(client, known).await?);
        }
        let mut connection = Connection::Server(connection);
        serves(&mut connection).await.map(|()| connection)
    }

    /// Connects to a cluster, by its known nodes and the one in the URL.
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

    /// Returns when Sentinels name another master.
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
