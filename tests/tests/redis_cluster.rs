//! A Redis Cluster: which node an inbox is on, and what happens when that node dies or gives it away.
#![allow(clippy::unwrap_used)]
#![cfg_attr(no_redis, allow(dead_code, unused_imports))]

use std::time::{Duration, Instant};

use number7_core::{Acceptance, Rejection};
use number7_inbox::{Filter, Inbox, MIN_LEASE, State};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    running::{Handled, Running, accepted_at_last, until},
    store::{redis_command, redis_script},
};
use tokio::{task::block_in_place, time::sleep};

/// How soon after the death of a master its replica serves, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const MODE: [&str; 6] =
    ["--cluster-enabled", "yes", "--databases", "1", "--cluster-node-timeout", "1000"];

/// Three masters that share the slots, and a replica of the one that has the unnamed inbox.
struct Cluster {
    nodes: Vec<Server>,
    /// The index of the node that has the inbox.
    owner: usize,
}

impl Cluster {
    async fn start() -> Self {
        let start = || (0..4).map(|_| Server::start_with(Engine::Redis, &MODE)).collect::<Vec<_>>();
        let nodes = block_in_place(start);
        let url = |node: usize| nodes[node].url(nodes[node].port(), "0");
        for (node, slots) in [(0, ["0", "5460"]), (1, ["5461", "10922"]), (2, ["10923", "16383"])] {
            redis_command(&url(node), &["CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1]]).await;
            let epoch = (node + 1).to_string();
            redis_command(&url(node), &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        for other in &nodes[1..] {
            let port = other.port().to_string();
            redis_command(&url(0), &["CLUSTER", "MEET", "127.0.0.1", &port]).await;
        }
        let slot: usize =
            redis_script(&url(0), "return redis.call('CLUSTER', 'KEYSLOT', key('keys'))").await;
        let owner = slot / 5_461;
        let id: String = redis_script(&url(owner), "return redis.call('CLUSTER', 'MYID')").await;
        until(async || knows(&url(3), 3).await).await;
        redis_command(&url(3), &["CLUSTER", "REPLICATE", &id]).await;
        let is_replica = "return string.find(redis.call('INFO', 'replication'),
            'master_link_status:up') and 1 or 0";
        until(async || redis_script::<i64>(&url(3), is_replica).await == 1).await;
        for node in 0..4 {
            until(async || knows(&url(node), 3).await).await;
        }
        Self { nodes, owner }
    }

    fn url(&self, node: usize) -> String {
        self.nodes[node].url(self.nodes[node].port(), "0")
    }
}

/// Whether a node sees a working cluster with this many masters that have slots.
async fn knows(url: &str, size: usize) -> bool {
    let info: String = redis_script(url, "return redis.call('CLUSTER', 'INFO')").await;
    info.contains("cluster_state:ok")
        && info.contains(&format!("cluster_size:{size}\r"))
        && info.contains("cluster_known_nodes:4\r")
}

async fn accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

/// Each inbox is on the node that has its slot, whichever node the URL names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn inboxes_are_spread_over_the_nodes_and_each_is_whole() {
    let cluster = Cluster::start().await;
    for node in 0..4 {
        let inbox = Inbox::open(&cluster.url(node)).await.unwrap();
        accept(&inbox, &format!("job_{node}")).await.unwrap();
        inbox.ping().await.unwrap();
        assert_eq!(inbox.stats().await.unwrap().ready, node as u64 + 1);
    }
    let inbox = Inbox::open(&cluster.url(0)).await.unwrap();
    for name in ["a", "b", "c", "d"] {
        let inbox = inbox.named(name).unwrap();
        let handled = Handled::default();
        let worker = Running::start(handled.worker(&inbox));
        accept(&inbox, "job_1").await.unwrap();
        inbox.expect_job("job_2", Duration::ZERO).await.unwrap();
        until(async || handled.events() == 1).await;
        until(async || inbox.stats().await.unwrap().overdue == 1).await;
        assert_eq!(inbox.overdue(None, 10).await.unwrap().entries.len(), 1);
        worker.stop().await;
        let done = inbox.list(State::Done, &Filter::new(), None, 10).await.unwrap();
        assert_eq!(done.entries.len(), 1);
    }
    assert_eq!(inbox.stats().await.unwrap().ready, 4);
}

/// The master that has the inbox, and that the URL names, is killed. Its replica is promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn the_death_of_a_master_is_an_outage_and_no_more() {
    let mut cluster = Cluster::start().await;
    let owner = cluster.owner;
    let waiting = Inbox::open(&format!("{}?wait_replicas=1", cluster.url(owner))).await.unwrap();
    let inbox = Inbox::open(&cluster.url(owner)).await.unwrap();
    for number in 0..20 {
        accept(&waiting, &format!("job_{number}")).await.unwrap();
    }
    block_in_place(|| cluster.nodes[owner].kill());
    let took = accepted_at_last(&inbox, "job_after").await;
    assert!(took < SOON, "{took:?}");
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    until(async || handled.events() >= 21).await;
    for number in 0..20 {
        assert_eq!(handled.of(&format!("job.completed:job_{number}")), 1, "{number}");
    }
    // It returns as the replica of its former replica.
    assert!(accept(&waiting, "job_waiting").await.is_err());
    block_in_place(|| cluster.nodes[owner].restart());
    accepted_at_last(&waiting, "job_waiting").await;
    worker.stop().await;
}

/// An operator makes the replica the master. Nothing dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn no_delivery_is_refused_because_another_node_takes_over() {
    let cluster = Cluster::start().await;
    let inbox = Inbox::open(&cluster.url(0)).await.unwrap();
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox));
    let (begun, mut number) = (Instant::now(), 0);
    let is_master =
        "return string.find(redis.call('INFO', 'replication'), 'role:master') and 1 or 0";
    while begun.elapsed() < Duration::from_secs(4) {
        if number == 50 {
            redis_command(&cluster.url(3), &["CLUSTER", "FAILOVER"]).await;
        }
        accept(&inbox, &format!("job_{number}")).await.unwrap();
        number += 1;
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(redis_script::<i64>(&cluster.url(3), is_master).await, 1);
    until(async || handled.events() == number).await;
    worker.stop().await;
}

/// They are on several nodes, and only one of these has a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn inboxes_wait_for_their_own_replicas() {
    let cluster = Cluster::start().await;
    let url = format!("{}?wait_replicas=1&wait_ms=200", cluster.url(0));
    let inbox = Inbox::open(&url).await.unwrap();
    let all: Vec<_> = ["a", "b", "c", "d"].map(|name| inbox.named(name).unwrap()).into();
    let accepted = futures_util::future::join_all(
        all.iter().chain([&inbox]).map(|inbox| accept(inbox, "job_1")),
    );
    let accepted = accepted.await;
    assert_eq!(accepted[4].as_ref().unwrap(), &Acceptance::New);
    for refused in accepted[..4].iter().filter_map(|accepted| accepted.as_ref().err()) {
        assert!(refused.log_text().contains("0 of 1 replicas"), "{}", refused.log_text());
    }
    assert!(accepted[..4].iter().any(Result::is_err), "all are on one node");
}
