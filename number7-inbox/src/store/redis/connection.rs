//! A connection to a server, to the master that Sentinels name, or to a cluster.

use std::collections::BTreeSet;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError,
    RedisFuture, Role, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

use super::fault::{code, serves_no_more};
use crate::model::error::{InboxError, InboxErrorKind};

/// How many commands can wait to be sent. Further ones wait before that.
const QUEUE: usize = 1_024;

/// A host and a port.
pub(super) type Node = (String, u16);

/// To one server, to the master that Sentinels name, or to the nodes of a cluster.
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

pub(super) async fn connect_to(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    // Another crate may enable another provider, and then rustls does not choose one.
    #[cfg(feature = "redis-tls")]
    if let ConnectionAddr::TcpTls { .. } = address(client) {
        _ = rustls::crypto::ring::default_provider().install_default();
    }
    // The inbox has its own time limits.
    let settings = AsyncConnectionConfig::new();
    let settings = settings.set_connection_timeout(None).set_response_timeout(None);
    let settings = settings.set_pipeline_buffer_size(QUEUE);
    client.get_multiplexed_async_connection_with_config(&settings).await
}

pub(super) fn address(client: &Client) -> &ConnectionAddr {
    client.get_connection_info().addr()
}

/// Whether the server, or some node of the cluster, accepts commands of this connection. A master must be a master.
pub(super) async fn serves(connection: &mut Connection) -> Result<(), InboxError> {
    if let Connection::Master(_) = connection
        && let Ok(Role::Replica { .. }) = redis::cmd("ROLE").query_async(connection).await
    {
        let text = "it is a replica, and no longer a master";
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

pub(super) async fn nodes(connection: &mut Connection) -> Result<BTreeSet<Node>, RedisError> {
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

/// The same connection to another address.
pub(super) fn at(info: &ConnectionInfo, (host, port): Node) -> ConnectionInfo {
    info.clone().set_addr(match info.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    })
}

#[cfg(test)]
mod tests {
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
}
