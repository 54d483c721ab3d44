//! The board of an inbox, over real sockets: what its pages show and do, on every store.
//!
//! `NUMBER7_FINISHED` is the number of finished events in the test of how long a page takes: 1,000,000 for many. That test
//! fails if a page takes longer than 200 ms.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, HashSet},
    env,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, routing::post_service};
use number7_core::SIGNATURE_HEADER;
use number7_inbox::{AcceptedEvent, Board, Failure, Inbox, State};
use number7_tests::{
    body,
    engine::{Engine, Server},
    gate::Gate,
    on_every_store,
    running::{PATIENCE, Running, accept, accept_again, dead_letters, until},
    sign,
    socket::{Answer, Socket},
    store::{Store, fill},
    verifier,
};
use number7_tower::{AcceptNumber7, VerifyNumber7};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;

/// A job whose id contains markup, reverses the text around it, and ends a parameter of a URL.
const HOSTILE: &str = "<script>alert(1)</script>\u{202e}gpj\u{200b}&key=x#'%00+y";

/// The error of its handler.
const HOSTILE_ERROR: &str = "</pre><img src=x onerror=alert(1)>\u{1b}[2J\u{9b}31m\u{2066}\r\nend";

/// A board at a path. It is served until this is dropped.
struct Served {
    addr: SocketAddr,
    path: &'static str,
    task: JoinHandle<()>,
}

impl Served {
    async fn start(board: Board) -> Self {
        Self::app(board.router(), "").await
    }

    async fn app(app: Router, path: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { addr, path, task }
    }

    fn send(&self, method: &str, page: &str, headers: &[&str], body: &str) -> Answer {
        let mut head = format!("{method} {}/{page} HTTP/1.1\r\nconnection: close\r\n", self.path);
        for header in headers {
            head += &format!("{header}\r\n");
        }
        let form = "content-type: application/x-www-form-urlencoded";
        head += &format!("{form}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let mut socket = Socket::connect(self.addr);
        socket.write(head);
        socket.answer().unwrap()
    }

    fn get(&self, page: &str) -> Answer {
        self.send("GET", page, &["host: 127.0.0.1"], "")
    }

    /// A page that must exist.
    #[track_caller]
    fn page(&self, page: &str) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.get(page);
            assert_eq!(answer.status, 200, "{page}: {}", answer.body);
            if !answer.body.contains("The events are being counted") || begun.elapsed() > PATIENCE {
                return answer.body;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends a form of the board, as a browser does.
    fn post(&self, page: &str, body: &str) -> Answer {
        let own = ["host: 127.0.0.1", "sec-fetch-site: same-origin"];
        self.send("POST", page, &own, body)
    }

    /// Opens the page of an action by its link, and sends its form.
    #[track_caller]
    fn act(&self, page: &str, link: &str, body: &str) -> (String, String) {
        let plan = self.page(&link_to(&self.page(page), link));
        let action = between(&plan, "method=\"post\" action=\"", "\"");
        let done = self.post(&unescaped(action), body);
        assert_eq!(done.status, 200, "{}", done.body);
        (plan, done.body)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[track_caller]
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin} in {text}"));
    rest.split_once(end).unwrap().0
}

fn unescaped(attribute: &str) -> String {
    attribute
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

fn links(page: &str) -> Vec<String> {
    page.split("href=\"").skip(1).map(|rest| unescaped(rest.split_once('"').unwrap().0)).collect()
}

/// The first link whose text begins like this.
#[track_caller]
fn link_to(page: &str, text: &str) -> String {
    let (before, _) =
        page.split_once(&format!(">{text}")).unwrap_or_else(|| panic!("no {text} in {page}"));
    links(before).pop().unwrap()
}

/// The text of a page, without its markup.
fn text(page: &str) -> String {
    let pieces = page.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let text = unescaped(&pieces.collect::<Vec<_>>().join(" "));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace(" ,", ",").replace(" .", ".").replace(" :", ":")
}

/// An inbox with an event in every state but quarantined, one that was signed twice, and an overdue job.
async fn one_of_each(inbox: &Inbox) -> (Running, Gate) {
    accept_again(inbox).await;
    for job in ["done", "dead", HOSTILE, "later", "in_hand"] {
        accept(inbox, "job.completed", job).await;
    }
    inbox.expect_job("job_late<b>", Duration::ZERO).await.unwrap();
    let gate = Gate::default();
    let handlers = gate.clone();
    let worker = inbox.worker(move |event: AcceptedEvent| {
        let gate = handlers.clone();
        async move {
            match event.key().split_once(':').unwrap().1 {
                "dead" => return Err(Failure::permanent("it will never work")),
                HOSTILE => return Err(Failure::permanent(HOSTILE_ERROR)),
                "later" => return Err("not yet".into()),
                "in_hand" => gate.pass().await,
                _ => {}
            }
            Ok(())
        }
    });
    let hour = Duration::from_secs(3_600);
    let worker = Running::start(worker.backoff(hour, hour));
    gate.begun().await;
    until(async || {
        let stats = inbox.stats().await.unwrap();
        (stats.done, stats.dead, stats.scheduled, stats.overdue) == (2, 2, 1, 1)
    })
    .await;
    (worker, gate)
}

async fn pages_show_what_is_in_an_inbox(store: Store) {
    let inbox = store.open().await;
    let (worker, gate) = one_of_each(&inbox).await;
    let board = Served::start(Board::new(inbox.clone())).await;

    let overview = board.page("overview");
    let shown = text(&overview);
    for part in ["0 ready", "1 scheduled", "1 running", "2 done", "2 dead", "Oldest ready none"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("Overdue jobs 1, the oldest for"), "{shown}");
    let name = inbox.workers().await.unwrap()[0].name().to_owned();
    let of_worker = &shown[shown.find(&name).unwrap()..];
    assert!(of_worker.contains("ago 1 job.completed:in_hand"), "{of_worker}");

    for (state, key) in
        [("scheduled", "later"), ("running", "in_hand"), ("done", "done"), ("dead", "dead")]
    {
        let listed = board.page(&format!("list?inbox=&state={state}"));
        let event = board.page(&link_to(&listed, &format!("<bdi>job.completed:{key}")));
        assert!(text(&event).contains(&format!("State {state},")), "{event}");
        assert!(event.contains(&body("job.completed", key).replace('"', "&quot;")), "{event}");
    }
    let dead = text(&board.page("event?inbox=&key=job.completed:dead"));
    assert!(dead.contains("Attempt 1, ") && dead.contains("it will never work"), "{dead}");
    assert!(dead.contains("\"event\": \"job.completed\", \"jobId\": \"dead\""), "{dead}");

    let twice = text(&board.page("event?inbox=&key=job.completed:job_1"));
    let first = body("job.completed", "job_1");
    let later = first.replace("invoice", "grn");
    let (of_first, of_later) = twice.split_once("Signed again with other bytes").unwrap();
    for (part, body) in [(of_first, first), (of_later, later)] {
        assert!(part.contains(&body) && part.contains(&sign(&body)), "{part}");
        assert!(part.contains("Signed by the secret primary"), "{part}");
    }
    let overdue = text(&board.page(&link_to(&overview, "1</a>")));
    assert!(overdue.contains("job_late<b>"), "{overdue}");
    gate.open();
    worker.stop().await;
}

async fn what_others_wrote_is_visible_and_harmless(store: Store) {
    let inbox = store.open().await;
    let (worker, gate) = one_of_each(&inbox).await;
    let board = Served::start(Board::new(inbox.clone()).allow_actions()).await;
    let list = board.page("list?inbox=&state=dead");
    let link = link_to(&list, "<bdi>job.completed:&lt;script");
    let error = board.page("list?inbox=&state=dead&error=%3Cimg+src%3Dx");
    let plan = board.page(&link_to(&board.page(&link), "Requeue this event"));
    let unknown = board.get("event?inbox=&key=%3Cscript%3E%E2%80%AE").body;
    for page in [&list, &board.page(&link), &error, &plan, &unknown] {
        assert!(page.contains("&lt;script") || page.contains("&lt;img"), "{page}");
        let markup = page.replace("<time ", "").to_lowercase();
        assert!(!markup.contains("<script") && !markup.contains("<img"), "{page}");
        let invisible = page.chars().find(|char| {
            (char.is_control() && *char != '\n') || "\u{202e}\u{200b}\u{2066}".contains(*char)
        });
        assert_eq!(invisible, None, "{page}");
    }
    let event = text(&board.page(&link));
    for shown in ["U+202E", "U+200B", "U+001B [2J", "U+009B 31m", "U+2066", "U+000D end"] {
        assert!(event.contains(shown), "{shown}: {event}");
    }
    let (_, done) = board.act(&link, "Discard this event", "");
    assert!(text(&done).contains("1 event of"), "{done}");
    let key = format!("job.completed:{HOSTILE}");
    assert_eq!(inbox.show(&key).await.unwrap().unwrap().state(), State::Done);
    gate.open();
    worker.stop().await;
}

async fn bodies_are_shown_as_they_were_signed(store: Store) {
    let inbox = store.open().await;
    // Numbers and repeated keys stay as they are, escapes stay escapes, and brackets do not become megabytes of spaces.
    let odd = r#"{"event":"job.odd","jobId":"odd","n":1.00000000000000000001,"a":1,"a":[],"s":"\u202e\"{,:"#;
    let bodies = [
        ("odd", odd.to_owned() + "\"}"),
        (
            "deep",
            format!(
                r#"{{"event":"job.odd","jobId":"deep","x":{}{}}}"#,
                "[".repeat(100),
                "]".repeat(100)
            ),
        ),
        (
            "wide",
            format!(r#"{{"event":"job.odd","jobId":"wide","x":"{}"}}"#, "\u{202e}".repeat(15_000)),
        ),
    ];
    let board = Served::start(Board::new(inbox.clone())).await;
    for (job, body) in bodies {
        let delivery = verifier().verify(sign(&body), body.clone()).unwrap();
        inbox.accept(&delivery).await.unwrap();
        let page = board.page(&format!("event?key=job.odd:{job}"));
        assert!(page.len() < 3_000_000, "{job}: {}", page.len());
        if job == "odd" {
            let shown = unescaped(&page);
            assert!(shown.contains(&body), "{shown}");
            let lines = "\"n\": 1.00000000000000000001,\n  \"a\": 1,\n  \"a\": [],\n  \"s\": \"\\u202e\\\"{,:\"\n}";
            assert!(shown.contains(lines), "{shown}");
        }
    }
}

async fn the_page_of_an_event_has_the_trace_that_it_came_with(store: Store) {
    let inbox = store.open().await;
    let body = body("job.completed", "job_1");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let webhook = post_service(AcceptNumber7::new(inbox.clone()));
    let receiver = Router::new().route("/", webhook).layer(VerifyNumber7::new(verifier()));
    let request = Request::post("/").header(SIGNATURE_HEADER, sign(&body));
    let request = request.header("traceparent", parent).header("tracestate", "a=1");
    let answer = receiver.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let entry = inbox.show("job.completed:job_1").await.unwrap().unwrap();
    assert_eq!(entry.traceparent(), Some(parent));
    let board = Served::start(Board::new(inbox)).await;
    let shown = text(&board.page("event?key=job.completed:job_1"));
    assert!(shown.contains(&format!("traceparent {parent} tracestate a=1")), "{shown}");
}

async fn lists_go_on_from_page_to_page_and_keep_their_filter(store: Store) {
    let inbox = store.open().await;
    for number in 0..120 {
        let event = if number % 3 == 0 { "job.failed" } else { "job.completed" };
        accept(&inbox, event, &format!("job_{number}")).await;
    }
    let board = Served::start(Board::new(inbox)).await;
    for (filter, events) in
        [("", 120), ("&event=job.completed", 80), ("&job=job_7", 1), ("&accepted_before=1h", 0)]
    {
        let (mut page, mut keys) =
            (board.page(&format!("list?inbox=&state=ready{filter}")), HashSet::new());
        loop {
            let listed = page.split("class=\"key\" href=\"").skip(1);
            for key in listed.map(|rest| rest.split_once('"').unwrap().0.to_owned()) {
                assert!(keys.insert(key.clone()), "{key} is listed twice");
            }
            if !page.contains("Next page") {
                break;
            }
            page = board.page(&link_to(&page, "Next page"));
        }
        assert_eq!(keys.len(), events, "{filter}");
    }
    for (query, status) in [
        ("state=ready&accepted_after=yesterday", 400),
        ("state=ready&origin=stolen", 400),
        ("state=ready&after=dead:1.1", 400),
        ("state=lost", 404),
        ("state=ready&inbox=other", 404),
    ] {
        assert_eq!(board.get(&format!("list?{query}")).status, status, "{query}");
    }
}

async fn actions_say_what_they_do_and_then_do_it(store: Store) {
    let inbox = store.open().await;
    let (worker, gate) = one_of_each(&inbox).await;
    let board = Served::start(Board::new(inbox.clone()).allow_actions()).await;
    let state = async |key: &str| inbox.show(key).await.unwrap().unwrap().state();
    // Otherwise the worker would claim the ready events.
    let (plan, done) = board.act("overview", "Pause", "length=1h&why=%3Cb%3E&by=me");
    assert!(text(&plan).contains("wait. Workers seen 1 Running events 1"), "{plan}");
    assert!(text(&done).contains("by me, ends in 1h 0m: <b>"), "{done}");
    assert_eq!(inbox.paused().await.unwrap().unwrap().by, "me");
    let refused = board.post("pause?inbox=", "length=soon&by=me");
    assert_eq!(refused.status, 400, "{}", refused.body);

    let (plan, done) = board.act("event?inbox=&key=job.completed:later", "Run now", "");
    assert!(text(&plan).contains("1 event of"), "{plan}");
    assert!(text(&done).contains("ready now"), "{done}");
    assert_eq!(state("job.completed:later").await, State::Ready);

    let filtered = "list?inbox=&state=dead&error=never+work";
    let (plan, _) = board.act(filtered, "Requeue all", "limit=10");
    assert!(text(&plan).contains("1 event of") && plan.contains("job.completed:dead"), "{plan}");
    assert_eq!(state("job.completed:dead").await, State::Ready);
    assert_eq!(dead_letters(&inbox).await.len(), 1);

    // Two events are done, and one at a time is changed.
    let plan = board.page(&link_to(&board.page("list?inbox=&state=done"), "Rerun all"));
    assert!(text(&plan).contains("2 events of"), "{plan}");
    assert_eq!(inbox.stats().await.unwrap().done, 2, "a plan changes nothing");
    let (_, done) = board.act("list?inbox=&state=done", "Rerun all", "limit=1");
    assert!(
        text(&done).contains("1 event of") && text(&done).contains("There may be more"),
        "{done}"
    );
    assert_eq!(inbox.stats().await.unwrap().done, 1);
    // If a page is sent again, it does not change events that have left the state.
    let wrong = text(&board.page("change?inbox=&key=job.completed:dead&change=discard"));
    assert!(wrong.contains("The event is ready. Discard is for events that are dead"), "{wrong}");
    assert_eq!(board.post("change?inbox=&change=requeue", "limit=many").status, 400);
    assert_eq!(board.post("change?inbox=&change=explode", "").status, 400);

    let (plan, _) = board.act("overview", "Resume", "");
    assert!(
        text(&plan).contains("will go on at once. Workers seen 1 Running events 1 Ready events 3"),
        "{plan}"
    );
    assert_eq!(inbox.paused().await.unwrap(), None);
    gate.open();
    until(async || inbox.stats().await.unwrap().ready == 0).await;
    worker.stop().await;
}

async fn a_rerun_that_is_sent_twice_runs_nothing_twice(store: Store) {
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let worker = Running::start(inbox.worker(async |_| Ok::<_, Failure>(())));
    let is_done = async |runs| {
        let entry = inbox.show("job.completed:job_1").await.unwrap().unwrap();
        entry.state() == State::Done && entry.runs() == runs
    };
    until(async || is_done(1).await).await;
    let board = Served::start(Board::new(inbox.clone()).allow_actions()).await;
    // Some stores have whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let plan = board.page("change?inbox=&change=rerun&key=job.completed:job_1");
    let action = unescaped(between(&plan, "method=\"post\" action=\"", "\""));
    assert!(text(&board.post(&action, "").body).contains("1 event of"));
    until(async || is_done(2).await).await;
    assert!(text(&board.post(&action, "").body).contains("0 events of"));
    assert!(is_done(2).await);
    worker.stop().await;
}

async fn without_actions_nothing_can_be_changed(store: Store) {
    let inbox = store.open().await;
    let (worker, gate) = one_of_each(&inbox).await;
    let board = Served::start(Board::new(inbox.clone())).await;
    for page in ["overview", "list?inbox=&state=dead", "event?inbox=&key=job.completed:dead"] {
        assert!(!board.page(page).contains("method=\"post\""), "{page}");
        for action in ["change?", "pause?", "resume?"] {
            assert!(!board.page(page).contains(action), "{page}");
        }
    }
    for page in
        ["change?inbox=&change=requeue", "pause?inbox=", "resume?inbox=", "overview", "list"]
    {
        let answer = board.post(page, "by=me");
        assert!([404, 405].contains(&answer.status), "{page}: {}", answer.status);
    }
    assert_eq!(dead_letters(&inbox).await.len(), 2);
    assert_eq!(inbox.paused().await.unwrap(), None);
    gate.open();
    worker.stop().await;
}

async fn several_inboxes_are_apart_below_a_path(store: Store) {
    let (inbox, path) = (store.open().await, "/ops/board");
    let other = inbox.named("other").unwrap();
    let (worker, gate) = one_of_each(&other).await;
    let pages = Board::new(inbox.clone()).also(other.clone()).allow_actions().router();
    let board = Served::app(Router::new().nest(path, pages), path).await;
    let entrance = board.send("GET", "", &["host: 127.0.0.1"], "");
    assert!([303, 404].contains(&entrance.status), "{}", entrance.status);
    let mut socket = Socket::connect(board.addr);
    socket.write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    let entrance = socket.answer().unwrap();
    assert_eq!((entrance.status, entrance.header("location")), (303, Some("./board/overview")));

    // Every link of every page leads to a page.
    let (mut known, mut open) = (BTreeSet::new(), vec!["overview".to_owned()]);
    while let Some(page) = open.pop() {
        let leads_to = links(&board.page(&page));
        assert!(
            leads_to.iter().all(|link| !link.starts_with('/') && !link.contains("//")),
            "{leads_to:?}"
        );
        open.extend(leads_to.into_iter().filter(|link| known.insert(link.clone())));
    }
    assert!(known.len() > 30, "{known:?}");
    assert!(known.iter().any(|link| link.starts_with("event?inbox=other&")), "{known:?}");
    assert!(!known.iter().any(|link| link.starts_with("event?key=")), "{known:?}");
    assert_eq!(board.get("event?inbox=&key=job.completed:dead").status, 404);

    assert_eq!(board.post("pause?inbox=other", "by=me").status, 200);
    assert_eq!(inbox.paused().await.unwrap(), None);
    assert!(other.paused().await.unwrap().is_some());
    other.resume().await.unwrap();
    gate.open();
    worker.stop().await;
}

async fn pages_are_quick_among_many_finished_events(store: Store) {
    let events = env::var("NUMBER7_FINISHED").ok().map(|events| events.parse().unwrap());
    let limit = Duration::from_millis(if events.is_some() { 200 } else { 2_000 });
    let inbox = store.open().await;
    fill(&store, events.unwrap_or(20_000)).await;
    let board = Served::start(Board::new(inbox.clone()).allow_actions()).await;
    let mut slow = Vec::new();
    for page in [
        "overview",
        "list?state=done",
        "list?state=done&job=nowhere",
        "list?state=done&error=nowhere&since_after=1m",
        "list?state=dead",
        "change?change=rerun",
        "change?change=rerun&job=nowhere",
        "change?change=rerun&key=job.completed:filled_9",
        "change?change=requeue",
        "event?key=job.completed:filled_9",
        "pause?",
        "overdue?",
    ] {
        let begun = Instant::now();
        assert_eq!(board.get(page).status, 200, "{page}");
        let took = begun.elapsed();
        if took > limit {
            slow.push((page, took));
        }
        println!("{page}: {took:?}");
    }
    assert!(slow.is_empty(), "{slow:?}");
}

on_every_store!(
    and in memory:
    pages_show_what_is_in_an_inbox,
    what_others_wrote_is_visible_and_harmless,
    bodies_are_shown_as_they_were_signed,
    the_page_of_an_event_has_the_trace_that_it_came_with,
    lists_go_on_from_page_to_page_and_keep_their_filter,
    actions_say_what_they_do_and_then_do_it,
    a_rerun_that_is_sent_twice_runs_nothing_twice,
    without_actions_nothing_can_be_changed,
    several_inboxes_are_apart_below_a_path;
    pages_are_quick_among_many_finished_events,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sites_read_and_change_nothing() {
    let inbox = Inbox::memory();
    let pages = Board::new(inbox.clone()).host("Ops.example.com").host("2001:db8::1");
    let board = Served::start(pages.allow_actions()).await;
    for (host, status) in [
        ("host: 127.0.0.1:7707", 200),
        ("host: LOCALHOST", 200),
        ("host: [::1]:80", 200),
        ("host: ops.example.com", 200),
        ("host: [2001:db8::1]", 200),
        ("host: evil.example", 421),
        ("host: 127.0.0.1.evil.example", 421),
        ("host: localhost@evil.example", 421),
        ("host: ", 421),
        ("host: localhost\r\nhost: evil.example", 400),
        ("accept: */*", 421),
    ] {
        let answer = board.send("GET", "overview", &[host], "");
        let status = if host.contains("\r\n") { &[400, 421][..] } else { &[status] };
        assert!(status.contains(&answer.status), "{host}: {}", answer.status);
    }
    let target = board.send("GET", "overview", &["host: localhost"], "");
    assert_eq!(target.status, 200);
    for (headers, status) in [
        (&["sec-fetch-site: cross-site"][..], 403),
        (&["sec-fetch-site: same-site"], 403),
        (&["origin: https://evil.example"], 403),
        (&["origin: null"], 403),
        (&["sec-fetch-site: same-origin", "origin: http://localhost"], 200),
        (&["origin: http://localhost"], 200),
    ] {
        let headers = [&["host: localhost"], headers].concat();
        let answer = board.send("POST", "pause?inbox=", &headers, "by=me");
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(inbox.resume().await.unwrap(), status == 200, "{headers:?}");
    }
    // A link, an image or a form of another site that uses GET.
    let get = board.send("GET", "pause?inbox=&by=me", &["host: localhost"], "");
    assert_eq!((get.status, inbox.paused().await.unwrap()), (200, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_tells_the_browser_to_be_strict() {
    let board = Served::start(Board::new(Inbox::memory()).allow_actions()).await;
    let evil = board.send("GET", "overview", &["host: evil.example"], "");
    let foreign = ["host: localhost", "origin: https://evil.example"];
    let answers = [
        (200, board.get("overview")),
        (303, board.get("")),
        (200, board.get("board.css")),
        (404, board.get("nowhere")),
        (400, board.get("list?state=ready&origin=x")),
        (405, board.post("overview", "")),
        (403, board.send("POST", "pause?inbox=", &foreign, "by=me")),
        (421, evil),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{status}");
        }
        assert!(
            !answer.body.contains("<style") && !answer.body.contains(" style="),
            "{}",
            answer.body
        );
    }
}

#[test]
fn what_a_board_cannot_be_is_refused() {
    for (host, is_host) in [
        ("ops.example.com", true),
        ("10.0.0.1", true),
        ("::1", true),
        ("[::1]", true),
        ("", false),
        ("ops.example.com:80", false),
        ("http://ops.example.com", false),
        ("me@ops", false),
        ("a/b", false),
    ] {
        assert_eq!(Board::is_host(host), is_host, "{host}");
    }
    let twice = || Board::new(Inbox::memory()).also(Inbox::memory());
    assert!(std::panic::catch_unwind(twice).is_err());
}

async fn a_store_that_is_down_is_a_page(engine: Engine) {
    let mut server = Server::start(engine);
    let store = match engine {
        Engine::Postgres => Store::postgres_on(&server, server.port()).await,
        _ => Store::redis_on(&server, server.port()),
    };
    let inbox = store.open().await;
    accept(&inbox, "job.completed", "job_1").await;
    let up = Inbox::memory().named("up").unwrap();
    let board = Served::start(Board::new(inbox).also(up).allow_actions()).await;
    server.kill();
    for page in [
        "overview",
        "list?inbox=&state=ready",
        "overdue?inbox=",
        "event?inbox=&key=job.completed:job_1",
        "change?inbox=&change=requeue",
        "pause?inbox=",
        "resume?inbox=",
    ] {
        let answer = board.get(page);
        assert_eq!(answer.status, 503, "{page}: {}", answer.body);
        assert!(answer.body.contains("The store does not answer"), "{page}: {}", answer.body);
    }
    assert_eq!(board.post("pause?inbox=", "by=me").status, 503);
    // The inbox that is up is still shown.
    assert!(text(&board.get("overview").body).contains("up (memory) 0 ready"));
    server.restart();
    until(async || board.get("overview").status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_postgres, ignore = "PostgreSQL is not installed: see CONTRIBUTING.md")]
async fn postgres_that_is_down_is_a_page() {
    a_store_that_is_down_is_a_page(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "redis-server is not installed: see CONTRIBUTING.md")]
async fn redis_that_is_down_is_a_page() {
    a_store_that_is_down_is_a_page(Engine::Redis).await;
}

#[test]
#[cfg_attr(
    no_chromium,
    ignore = "chromium, node or playwright-core is not installed: see CONTRIBUTING.md"
)]
fn a_browser_has_nothing_to_complain_about() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let screenshots = format!("{root}/target/board-screenshots");
    std::fs::create_dir_all(&screenshots).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::sqlite();
    let inbox = runtime.block_on(store.open());
    let (other, (worker, gate)) =
        (inbox.named("staging").unwrap(), runtime.block_on(one_of_each(&inbox)));
    runtime.block_on(fill(&store, 1_000));
    // So that the chart has bars.
    let minutes =
        "UPDATE number7_events SET finished_at = finished_at - 60000 * (id * id % 13 + id % 3)";
    runtime.block_on(store.sql(&format!("{minutes} WHERE job LIKE 'filled%'")));
    let pages = Board::new(inbox).also(other).host("board.test").allow_actions();
    let board = runtime.block_on(Served::start(pages));
    const CHROMIUM: Option<&str> = option_env!("CHROMIUM");
    let driven = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/board.js"))
        .args([&format!("http://{}/", board.addr), &screenshots])
        .arg(format!("{root}/target/recipes/node_modules/playwright-core"))
        .arg(CHROMIUM.expect("chromium is not installed"))
        .output()
        .unwrap();
    let problems = String::from_utf8_lossy(&driven.stdout);
    assert_eq!(problems.trim(), "[]", "{}", String::from_utf8_lossy(&driven.stderr));
    gate.open();
    runtime.block_on(worker.stop());
}
