//! A Redis that Sentinels watch: what happens to an inbox when they replace its master, or cannot be asked.
#![allow(clippy::unwrap_used)]
#![cfg_attr(no_redis, allow(dead_code, unused_imports))]

use std::time::{Duration, Instant};

use number7_core::{Acceptance, Rejection};
use number7_inbox::{Inbox, InboxErrorKind, MIN_LEASE, STORE_TIMEOUT};
use number7_tests::{
    delivery,
    engine::{Engine, Server},
    running::{Handled, PATIENCE, Running, accepted_at_last, until},
    store::{redis_command, redis_script},
};
use redis::{FromRedisValue, RedisError};
use tokio::{task::block_in_place, time::sleep};

/// How soon after the Sentinels have named another master it accepts, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// How long opening may take, and how much longer on a busy machine.
const IN_TIME: Duration = STORE_TIMEOUT.saturating_add(Duration::from_secs(3));

const IS_MASTER: &str = "string.find(redis.call('INFO', 'replication'), 'role:master')";

/// A master, its replica, and the Sentinels that watch them.
struct Watched {
    servers: [Server; 2],
    sentinels: Vec<Server>,
}

impl Watched {
    async fn start() -> Self {
        let start = |args: &[&str]| {
            let args = [args, &["--repl-diskless-sync-delay", "0"]].concat();
            block_in_place(|| Server::start_with(Engine::Redis, &args))
        };
        let master = start(&[]);
        let replica = start(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        let sentinel = |_| block_in_place(|| Server::sentinel(&master, &[]));
        let sentinels = (0..3).map(sentinel).collect();
        let watched = Self { servers: [master, replica], sentinels };
        until(async || watched.has_replica(0).await).await;
        for sentinel in 0..3 {
            until(async || watched.knows_all(sentinel).await).await;
        }
        watched
    }

    /// The URL of the inbox.
    fn url(&self) -> String {
        url_of(&self.sentinels, "main")
    }

    fn url_of(&self, server: usize) -> String {
        self.servers[server].url(self.servers[server].port(), "0")
    }

    /// The server that a Sentinel names.
    async fn master(&self, sentinel: usize) -> usize {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
        let (_, port): (String, u16) = ask_it(&self.sentinels[sentinel], &ask).await.unwrap();
        self.servers.iter().position(|server| server.port() == port).unwrap()
    }

    /// Whether a server has a replica that is up to date.
    async fn has_replica(&self, server: usize) -> bool {
        let info = ask_it::<String>(&self.servers[server], &["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("state=online"))
    }

    /// Whether a Sentinel knows the replica and the other Sentinels.
    async fn knows_all(&self, sentinel: usize) -> bool {
        let info: String = ask_it(&self.sentinels[sentinel], &["INFO", "sentinel"]).await.unwrap();
        info.contains("slaves=1,sentinels=3")
    }

    /// Waits until all Sentinels name this server.
    async fn promoted(&self, server: usize) {
        for sentinel in 0..3 {
            until(async || self.master(sentinel).await == server).await;
        }
    }
}

fn url_of(sentinels: &[Server], service: &str) -> String {
    let host = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port());
    let hosts: Vec<_> = sentinels.iter().map(host).collect();
    format!("redis+sentinel://{}/{service}", hosts.join(","))
}

/// Asks a server or a Sentinel, which may be about to close its connections.
async fn ask_it<T: FromRedisValue>(server: &Server, command: &[&str]) -> Result<T, RedisError> {
    let client = redis::Client::open(server.url(server.port(), "")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut cmd = redis::Cmd::new();
    command.iter().for_each(|arg| _ = cmd.arg(*arg));
    cmd.query_async(&mut connection).await
}

async fn accept(inbox: &Inbox, job: &str) -> Result<Acceptance, Rejection> {
    inbox.accept(&delivery("job.completed", job)).await
}

/// Deliveries, one after the other, and which of them were accepted.
struct Load {
    inbox: Inbox,
    accepted: Vec<String>,
    refused: usize,
}

impl Load {
    fn on(inbox: &Inbox) -> Self {
        Self { inbox: inbox.clone(), accepted: Vec::new(), refused: 0 }
    }

    /// Delivers until a future ends.
    async fn during(&mut self, future: impl Future<Output = ()>) {
        tokio::pin!(future);
        loop {
            tokio::select! {
                () = &mut future => return,
                () = self.deliver() => {}
            }
        }
    }

    async fn deliver(&mut self) {
        let job = format!("job_{}_{}", self.accepted.len(), self.refused);
        match accept(&self.inbox, &job).await {
            Ok(_) => self.accepted.push(job),
            Err(_) => self.refused += 1,
        }
        sleep(Duration::from_millis(5)).await;
    }

    /// Waits until all accepted events are handled. The end of an attempt may be lost in a failover, so an event
    /// may be handled again.
    async fn all_handled(&self, handled: &Handled) {
        for job in &self.accepted {
            until(async || handled.of(&format!("job.completed:{job}")) > 0).await;
        }
    }
}

/// Nothing dies. Only the other inbox tells the worker that there are events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn an_inbox_follows_its_master_when_sentinels_are_told_to_replace_it() {
    let watched = Watched::start().await;
    let inbox = Inbox::open(&format!("{}?wait_replicas=1", watched.url())).await.unwrap();
    let other = Inbox::options().poll_interval(2 * PATIENCE).open(&watched.url()).await.unwrap();
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&other).lease(MIN_LEASE));
    let third = Inbox::open(&watched.url()).await.unwrap();
    let mut load = Load::on(&inbox);
    load.during(sleep(Duration::from_millis(500))).await;
    let failover = async {
        ask_it::<()>(&watched.sentinels[0], &["SENTINEL", "FAILOVER", "main"]).await.unwrap();
        watched.promoted(1).await;
    };
    load.during(failover).await;
    let begun = Instant::now();
    until(async || {
        let job = format!("job_third_{}", begun.elapsed().as_millis());
        accepted_at_last(&third, &job).await;
        let is_there = ["HEXISTS", "{number7}:keys", &format!("job.completed:{job}")];
        ask_it::<bool>(&watched.servers[1], &is_there).await.is_ok_and(|is_there| is_there)
    })
    .await;
    let took = begun.elapsed();
    assert!(took < SOON / 2, "{took:?}");
    for number in 0..3 {
        let begun = Instant::now();
        let job = format!("job_heard_{number}");
        accept(&third, &job).await.unwrap();
        until(async || handled.of(&format!("job.completed:{job}")) > 0).await;
        assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
    }
    // The Sentinels leave the old master in its role for ten seconds. Until then there is no replica to wait for.
    let begun = Instant::now();
    load.during(async { _ = accepted_at_last(&inbox, "job_after").await }).await;
    let waited = begun.elapsed();
    eprintln!(
        "accepts after {took:?}, waits {waited:?}; refused {} and accepted {}",
        load.refused,
        load.accepted.len()
    );
    assert!(waited < 3 * SOON, "{waited:?}");
    load.during(sleep(Duration::from_secs(1))).await;
    load.all_handled(&handled).await;
    until(async || handled.of("job.completed:job_after") > 0).await;
    worker.stop().await;
}

/// When it returns, it believes for some seconds that it is still the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn the_death_of_a_master_loses_nothing_that_a_replica_has() {
    let mut watched = Watched::start().await;
    let waiting = Inbox::open(&format!("{}?wait_replicas=1", watched.url())).await.unwrap();
    let inbox = Inbox::open(&watched.url()).await.unwrap();
    let mut load = Load::on(&waiting);
    load.during(sleep(Duration::from_secs(1))).await;
    let killed = Instant::now();
    watched.servers[0].signal("KILL");
    load.during(watched.promoted(1)).await;
    let promoted = Instant::now();
    let took = accepted_at_last(&inbox, "job_after").await;
    eprintln!("promoted after {:?}, accepts again {took:?} later", promoted - killed);
    assert!(took < SOON, "{took:?}");
    let handled = Handled::default();
    let worker = Running::start(handled.worker(&inbox).lease(MIN_LEASE));
    load.all_handled(&handled).await;
    // An event that was refused may have been stored nevertheless.
    until(async || inbox.stats().await.unwrap().ready == 0).await;
    worker.stop().await;

    block_in_place(|| {
        watched.servers[0].kill();
        watched.servers[0].restart();
    });
    let as_master = format!("return {IS_MASTER} and redis.call('HLEN', key('keys')) or -1");
    let had: i64 = redis_script(&watched.url_of(0), &as_master).await;
    assert!(had > 0, "it is a replica already");
    let opened = Inbox::open(&watched.url()).await.unwrap();
    let (back, mut number) = (Instant::now(), 0);
    let waits = tokio::spawn(async move { accepted_at_last(&waiting, "job_waited").await });
    while ask_it::<String>(&watched.servers[0], &["INFO", "replication"])
        .await
        .is_ok_and(|info| info.contains("role:master"))
    {
        for inbox in [&inbox, &opened] {
            accept(inbox, &format!("job_back_{number}")).await.unwrap();
            number += 1;
        }
        sleep(Duration::from_millis(20)).await;
        let has = ask_it::<i64>(&watched.servers[0], &["HLEN", "{number7}:keys"]).await;
        let info = ask_it::<String>(&watched.servers[0], &["INFO", "replication"]).await;
        if info.is_ok_and(|info| info.contains("role:master")) {
            assert_eq!(has.unwrap(), had, "it was written to");
        }
    }
    let demoted = back.elapsed();
    waits.await.unwrap();
    eprintln!(
        "{number} accepted in {demoted:?} until it was demoted; all waited {:?}",
        back.elapsed()
    );
    assert!(number > 2, "it came back as a replica");
    until(async || watched.has_replica(1).await).await;
    assert_eq!(inbox.stats().await.unwrap().ready, number as u64 + 1);
}

/// A demoted server keeps its connections, unless a Sentinel demoted it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn a_replica_is_left_although_nothing_is_written() {
    let watched = Watched::start().await;
    let inbox = Inbox::open(&watched.url()).await.unwrap();
    accept(&inbox, "job_1").await.unwrap();
    redis_command(&watched.url_of(0), &["REPLICAOF", "127.0.0.1", "1"]).await;
    let begun = Instant::now();
    until(async || match inbox.stats().await {
        Ok(_) => false,
        Err(error) => error.to_string().contains("it is a replica, and no longer a master"),
    })
    .await;
    eprintln!("left, and said so, after {:?}", begun.elapsed());
    redis_command(&watched.url_of(0), &["REPLICAOF", "NO", "ONE"]).await;
    let took = accepted_at_last(&inbox, "job_2").await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn sentinels_that_are_away_are_not_missed_as_long_as_one_is_left() {
    let mut watched = Watched::start().await;
    let opens = async |watched: &Watched, what: &str| {
        let begun = Instant::now();
        let inbox = Inbox::open(&watched.url()).await.unwrap().named("a").unwrap();
        accept(&inbox, what).await.unwrap();
        eprintln!("{what}: opened after {:?}", begun.elapsed());
        assert!(begun.elapsed() < IN_TIME, "{what}: {:?}", begun.elapsed());
    };
    opens(&watched, "all").await;
    watched.sentinels[0].signal("STOP");
    opens(&watched, "one_silent").await;
    watched.sentinels[1].signal("STOP");
    opens(&watched, "two_silent").await;
    block_in_place(|| watched.sentinels[..2].iter_mut().for_each(Server::kill));
    opens(&watched, "two_dead").await;

    let url = format!("{}?sentinel_password=let-me-in", watched.url());
    let inbox = Inbox::open(&watched.url()).await.unwrap();
    block_in_place(|| watched.sentinels[2].kill());
    // Open connections stay open.
    accept(&inbox, "job_1").await.unwrap();
    let begun = Instant::now();
    let error = Inbox::open(&url).await.unwrap_err();
    eprintln!("{error} after {:?}", begun.elapsed());
    assert_eq!(error.kind(), InboxErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("none of 3 sentinels"), "{error}");
    assert!(begun.elapsed() < IN_TIME && !error.to_string().contains("let-me-in"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn opening_says_what_is_wrong_and_keeps_the_passwords_to_itself() {
    let start = || Server::start_with(Engine::Redis, &["--requirepass", "let-me-in"]);
    let mut master = block_in_place(start);
    let watch = [
        "sentinel auth-pass main let-me-in",
        "requirepass open-sesame",
        "user asks on >open-sesame -@all +sentinel|get-master-addr-by-name",
    ];
    let sentinel = block_in_place(|| Server::sentinel(&master, &watch));
    let sentinel = format!("127.0.0.1:{}", sentinel.port());
    let login = "sentinel_password=open-sesame";
    let right = format!("redis+sentinel://:let-me-in@{sentinel}/main/1?{login}");
    let inbox = Inbox::open(&right).await.unwrap();
    accept(&inbox, "job_1").await.unwrap();
    Inbox::open(&format!("{right}&sentinel_username=asks")).await.unwrap();
    let direct = format!("redis://:let-me-in@127.0.0.1:{}/1", master.port());
    assert_eq!(Inbox::open(&direct).await.unwrap().stats().await.unwrap().ready, 1);

    let refused = async |url: String, kind: InboxErrorKind, text: &str| {
        let begun = Instant::now();
        let error = Inbox::open(&url).await.unwrap_err();
        eprintln!("{error} after {:?}", begun.elapsed());
        assert!(begun.elapsed() < IN_TIME, "{url}: {:?}", begun.elapsed());
        assert!(error.kind() == kind && error.to_string().contains(text), "{url}: {error}");
        for secret in ["let-me-in", "open-sesame", "wrong"] {
            assert!(!error.to_string().contains(secret), "{error}");
        }
    };
    let server = format!("127.0.0.1:{}", master.port());
    for (hosts, query, kind, text) in [
        (
            format!("redis+sentinel://:let-me-in@{sentinel}/another"),
            login,
            InboxErrorKind::Refused,
            "no sentinel knows the service another: 1 of 1",
        ),
        (
            format!("redis+sentinel://:let-me-in@{sentinel}/main"),
            "",
            InboxErrorKind::Refused,
            "sentinel_password",
        ),
        (
            format!("redis+sentinel://:let-me-in@{sentinel}/main"),
            "sentinel_password=wrong",
            InboxErrorKind::Refused,
            "authentication failed",
        ),
        (
            format!("redis+sentinel://:wrong@{sentinel}/main"),
            login,
            InboxErrorKind::Refused,
            "authentication failed",
        ),
        (
            format!("redis+sentinel://{sentinel}/main"),
            login,
            InboxErrorKind::Refused,
            "authentication failed",
        ),
        (
            // It is not a Sentinel.
            format!("redis+sentinel://{server}/main"),
            "sentinel_password=let-me-in",
            InboxErrorKind::Refused,
            "SENTINEL",
        ),
        (
            "redis+sentinel://:let-me-in@127.0.0.1:1,127.0.0.1:2/main".into(),
            login,
            InboxErrorKind::Unreachable,
            "none of 2 sentinels",
        ),
        (
            format!("redis+sentinel://:let-me-in@{sentinel}"),
            login,
            InboxErrorKind::Invalid,
            "SERVICE",
        ),
    ] {
        refused(format!("{hosts}?{query}"), kind, text).await;
    }
    block_in_place(|| master.kill());
    refused(right, InboxErrorKind::Unreachable, &format!("the sentinels name, {server}")).await;
}
