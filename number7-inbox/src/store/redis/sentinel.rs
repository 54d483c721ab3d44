//! A master that Sentinels watch, and that they may replace by another server.
//!
//! A Sentinel can be out of date for some seconds. So the majority counts, and the server that it names must itself say that it
//! is a master. A replaced master may also say so for up to ten seconds, so the Sentinels are asked again and again.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    aio::MultiplexedConnection, parse_redis_url,
};
use tokio::time::{sleep, timeout};

use super::{
    connection::{Connection, Node, at, connect_to, serves},
    fault::{is_authentication, timed_out},
};
use crate::model::error::{InboxError, InboxErrorKind};

/// The port of a Sentinel, unless the URL has another one.
const DEFAULT_PORT: &str = "26379";

/// How long a Sentinel may take to answer: 1 second. All are asked at once.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How often they are asked whether the master is still the same: every second.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the server that they name may take: 1.5 seconds. If it is dead, they soon name another one.
const MASTER_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The Sentinels of a service.
pub(super) struct Sentinels {
    sentinels: Vec<Sentinel>,
    service: String,
    /// How to connect to a server. The address is replaced.
    server: ConnectionInfo,
}

impl Sentinels {
    /// Reads `redis+sentinel://[user:password@]host1[:port],host2[:port]/SERVICE[/DB]`, as other clients do. `None` if
    /// the URL has another scheme.
    pub(super) fn of_url(url: &str) -> Result<Option<Self>, InboxError> {
        let (scheme, rest) = match url.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => (scheme, rest),
            _ => return Ok(None),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let path = path.strip_prefix('/').unwrap_or(path);
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        // The characters that Redis allows. A password that is not encoded in the URL may end up here, and must not be shown.
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if service.is_empty() || !service.chars().all(is_of_name) {
            let text = "the URL must name the service that the sentinels watch, as in \
                redis+sentinel://host1:26379,host2:26379/SERVICE/DB";
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        let hosts: Vec<_> = hosts.split(',').map(with_port).collect();
        let server = format!("{scheme}://{user}{}/{database}{query}", hosts[0]);
        let login = login(&server)?;
        let server = server.into_connection_info()?;
        let sentinel = |host: String| {
            let node = format!("redis://{host}").into_connection_info()?;
            let ConnectionAddr::Tcp(host, port) = node.addr().clone() else { return Ok(None) };
            let info = at(&server, (host, port)).set_redis_settings(login.clone());
            Ok(Some(Sentinel { client: Client::open(info)?, kept: Mutex::default() }))
        };
        let sentinels: Result<_, RedisError> =
            hosts.into_iter().filter_map(|host| sentinel(host).transpose()).collect();
        Ok(Some(Self { sentinels: sentinels?, service: service.to_owned(), server }))
    }

    /// Connects to the master.
    pub(super) async fn connect(&self) -> Result<(Arc<Client>, Connection), InboxError> {
        let mut answers = self.ask();
        let (mut votes, mut unknown, mut failures) = (Votes::default(), 0, Vec::new());
        let mut replica = None;
        while let Some((sentinel, answer)) = answers.next().await {
            match answer {
                Ok(Some(node)) if votes.add(&node) == self.majority() => {
                    match self.connect_to(node).await {
                        // Most Sentinels do not know the new master yet, but others may.
                        Err(error) if error.kind() == InboxErrorKind::ReadOnly => {
                            replica = Some(error);
                        }
                        connected => return connected,
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => unknown += 1,
                Err(error) => failures.push((sentinel, error)),
            }
        }
        let mut last = replica.is_none().then(|| self.unnamed(unknown, failures));
        for node in votes.of_less_than(self.majority()) {
            match self.connect_to(node).await {
                Err(error) => last = Some(error),
                connected => return connected,
            }
        }
        Err(replica.or(last).unwrap_or_else(|| InboxErrorKind::Unreachable.into()))
    }

    /// Returns when most Sentinels name another server than this one.
    pub(super) async fn replaced(&self, client: &Client) {
        loop {
            sleep(ASK_INTERVAL).await;
            let (mut answers, mut votes) = (self.ask(), Votes::default());
            while let Some((_, answer)) = answers.next().await {
                if let Ok(Some(node)) = answer
                    && votes.add(&node) == self.majority()
                {
                    let named = at(&self.server, node);
                    if named.addr() == client.get_connection_info().addr() {
                        break;
                    }
                    return;
                }
            }
        }
    }

    /// Asks all Sentinels for the master.
    fn ask(
        &self,
    ) -> FuturesUnordered<impl Future<Output = (&Sentinel, Result<Option<Node>, RedisError>)>> {
        let asked = self.sentinels.iter().map(|sentinel| async move {
            let answer = timeout(ASK_TIMEOUT, sentinel.ask(&self.service)).await;
            let answer = answer.unwrap_or_else(|_| Err(timed_out()));
            if answer.is_err() {
                sentinel.kept().take();
            }
            (sentinel, answer)
        });
        asked.collect()
    }

    fn majority(&self) -> usize {
        self.sentinels.len() / 2 + 1
    }

    /// Connects to a server that should be the master.
    async fn connect_to(&self, node: Node) -> Result<(Arc<Client>, Connection), InboxError> {
        let client = Client::open(at(&self.server, node))?;
        let connected = async {
            let mut connection = Connection::Master(connect_to(&client).await?);
            serves(&mut connection).await.map(|()| connection)
        };
        let connected = timeout(MASTER_TIMEOUT, connected).await;
        match connected.unwrap_or_else(|_| Err(timed_out().into())) {
            Ok(connection) => Ok((Arc::new(client), connection)),
            Err(error) => {
                let address = client.get_connection_info().addr();
                Err(error.at(format_args!("the master that the sentinels name, {address}")))
            }
        }
    }

    /// The error if nobody has named a master. It begins with what an operator has to change.
    fn unnamed(&self, unknown: usize, failures: Vec<(&Sentinel, RedisError)>) -> InboxError {
        let (asked, service) = (self.sentinels.len(), &self.service);
        if unknown > 0 {
            let text =
                format!("no sentinel knows the service {service}: {unknown} of {asked} answered");
            return InboxError::new(InboxErrorKind::Refused, text);
        }
        let kind = |error: &RedisError| InboxError::from(error.clone()).kind();
        let is_refusal = |(_, error): &(_, _)| kind(error) == InboxErrorKind::Refused;
        let refusal = failures.iter().find(|failure| is_refusal(failure));
        let Some((sentinel, error)) = refusal.or(failures.last()) else {
            return InboxErrorKind::Unreachable.into();
        };
        let hint = match is_authentication(error) {
            true => " (its password is sentinel_password in the URL)",
            false => "",
        };
        let address = sentinel.client.get_connection_info().addr();
        let at = format!("none of {asked} sentinels names a master; {address}{hint}");
        match refusal {
            Some(_) => InboxError::from(error.clone()).at(at),
            None => InboxError::new(InboxErrorKind::Unreachable, format!("{at}: {error}")),
        }
    }
}

struct Sentinel {
    client: Client,
    /// The connection of the last question.
    kept: Mutex<Option<MultiplexedConnection>>,
}

impl Sentinel {
    /// Asks for the master of a service, on the kept connection if it still serves.
    async fn ask(&self, service: &str) -> Result<Option<Node>, RedisError> {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let kept = self.kept().clone();
        if let Some(mut connection) = kept
            && let Ok(answer) = ask.query_async(&mut connection).await
        {
            return Ok(answer);
        }
        let mut connection = connect_to(&self.client).await?;
        let answer = ask.query_async(&mut connection).await?;
        *self.kept() = Some(connection);
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many Sentinels name each server.
#[derive(Default)]
struct Votes(Vec<(Node, usize)>);

impl Votes {
    /// Counts one vote, and returns how many there are for the same server.
    fn add(&mut self, node: &Node) -> usize {
        if let Some((_, votes)) = self.0.iter_mut().find(|(named, _)| named == node) {
            *votes += 1;
            return *votes;
        }
        self.0.push((node.clone(), 1));
        1
    }

    /// The servers without a majority, the one with the most votes first.
    fn of_less_than(mut self, majority: usize) -> impl Iterator<Item = Node> {
        self.0.retain(|(_, votes)| *votes < majority);
        self.0.sort_by_key(|(_, votes)| Reverse(*votes));
        self.0.into_iter().map(|(node, _)| node)
    }
}

fn with_port(host: &str) -> String {
    match host.rsplit_once(':') {
        // The last colon of an IPv6 address is in brackets.
        Some((_, port)) if !port.ends_with(']') => host.to_owned(),
        _ => format!("{host}:{DEFAULT_PORT}"),
    }
}

/// The Sentinels' own user and password in a URL.
fn login(url: &str) -> Result<RedisConnectionInfo, InboxError> {
    let mut login = RedisConnectionInfo::default();
    // In a password, + more likely means itself than a space.
    let url = parse_redis_url(&url.replace('+', "%2B"));
    for (name, value) in url.iter().flat_map(|url| url.query_pairs()) {
        login = match &*name {
            "sentinel_username" => login.set_username(value),
            "sentinel_password" => login.set_password(value),
            _ if name.starts_with("sentinel") => {
                let text = "the URL may have sentinel_username and sentinel_password, and no other sentinel";
                return Err(InboxError::new(InboxErrorKind::Invalid, text));
            }
            _ => login,
        }
    }
    Ok(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Sentinels {
        Sentinels::of_url(url).unwrap().unwrap()
    }

    fn addresses(sentinels: &Sentinels) -> Vec<String> {
        let address = |one: &Sentinel| one.client.get_connection_info().addr().to_string();
        sentinels.sentinels.iter().map(address).collect()
    }

    #[test]
    fn the_sentinels_and_the_service_are_in_the_url() {
        for (url, hosts, service, database) in [
            ("redis+sentinel://one/main", &["one:26379"][..], "main", 0),
            (
                "redis+sentinel://one:1,two,[::1],[::1]:4/my.main-1_a/3",
                &["one:1", "two:26379", "::1:26379", "::1:4"],
                "my.main-1_a",
                3,
            ),
            ("redis+sentinel://one/main/?wait_replicas=1", &["one:26379"], "main", 0),
            (
                "redis+sentinel://:let-me-in@10.0.0.1,10.0.0.2:26380/main/2#any",
                &["10.0.0.1:26379", "10.0.0.2:26380"],
                "main",
                2,
            ),
        ] {
            let sentinels = of(url);
            assert_eq!(addresses(&sentinels), hosts, "{url}");
            assert_eq!(sentinels.service, service, "{url}");
            assert_eq!(sentinels.server.redis_settings().db(), database, "{url}");
        }
        for url in ["redis://one,two/main", "redis:+sentinel://one/main", "postgres://one/main"] {
            assert!(Sentinels::of_url(url).unwrap().is_none(), "{url}");
        }
    }

    #[test]
    fn the_servers_have_one_password_and_the_sentinels_another() {
        let login = |info: &RedisConnectionInfo| {
            [info.username().map(str::to_owned), info.password().map(str::to_owned)]
        };
        let some = |text: &str| Some(text.to_owned());
        for (url, of_servers, of_sentinels) in [
            ("redis+sentinel://one,two/main", [None, None], [None, None]),
            (
                "redis+sentinel://me:p%40s%2Fs@one,two/main",
                [some("me"), some("p@s/s")],
                [None, None],
            ),
            (
                "redis+sentinel://:pass@one,two/main?protocol=3&sentinel_password=a+b%2F%20c",
                [None, some("pass")],
                [None, some("a+b/ c")],
            ),
            (
                "redis+sentinel://one,two/main?sentinel_username=me&sentinel_password=pass",
                [None, None],
                [some("me"), some("pass")],
            ),
        ] {
            let sentinels = of(url);
            assert_eq!(login(sentinels.server.redis_settings()), of_servers, "{url}");
            for sentinel in &sentinels.sentinels {
                let info = sentinel.client.get_connection_info().redis_settings();
                assert_eq!(login(info), of_sentinels, "{url}");
            }
        }
    }

    #[test]
    fn a_url_that_is_wrong_is_refused_without_what_is_in_it() {
        for url in [
            "redis+sentinel://",
            "redis+sentinel://one:26379",
            "redis+sentinel://one,two/",
            "redis+sentinel://one,two//0",
            "redis+sentinel://:secret@one,two?wait_replicas=1",
            "redis+sentinel://one,two/ma%20in",
            "redis+sentinel://me:1/secret@one,two/main",
            "redis+sentinel://one/main?sentinel_user=secret",
            "redis+sentinel://one/main?sentinels=secret",
        ] {
            let error = Sentinels::of_url(url).err().unwrap();
            assert_eq!(error.kind(), InboxErrorKind::Invalid, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        // As in URLs of a single server.
        for url in [
            "redis+sentinel://:secret@/main",
            "redis+sentinel://:secret@one,,two/main",
            "redis+sentinel://:secret@one:port/main",
            "redis+sentinel://one,two:port/main?sentinel_password=secret",
            "redis+sentinel://:secret@one/main/zero",
            "redis+sentinel://:secret@one/main/0/1",
            "redis+sentinel://:secret@0.0.0.0/main",
        ] {
            let error = Sentinels::of_url(url).err().unwrap();
            assert_eq!(error.kind(), InboxErrorKind::Refused, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
