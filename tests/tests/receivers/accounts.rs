//! A secret for each account: what axum and actix-web do in the same way.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use actix_web::{App, test, web};
use axum::extract::Path;
use futures_util::{FutureExt, future::join_all};
use number7_core::{
    Account, Accounts, Found, RejectionKind, SIGNATURE_HEADER, Secret, Verifier,
    probe::{Answer, Probe, Probes},
};
use number7_tests::{
    COMPLETED, SECRET,
    in_process::{Response, actix_app_behind, actix_response, axum_app_behind, axum_response, saw},
    probes,
    server::Server,
    socket::Socket,
};
use tower::ServiceExt;

/// The secret of an account. Its name ends with its number: `account-7`.
fn secret_of(account: &str) -> Secret {
    Secret::new(format!("{SECRET} of {account}")).unwrap()
}

/// There are ten accounts, and `down` cannot be looked up.
fn accounts(lookups: &Arc<AtomicUsize>) -> Accounts {
    let lookups = Arc::clone(lookups);
    let find = move |account: Account| {
        lookups.fetch_add(1, Relaxed);
        async move {
            tokio::task::yield_now().await;
            match account.as_str().strip_prefix("account-") {
                Some(number) if number.len() == 1 => Ok(Some(secret_of(account.as_str()).into())),
                _ if account.as_str() == "slow" => std::future::pending().await,
                _ if account.as_str() == "down" => Err(io::Error::other("the database is away")),
                _ => Ok(None),
            }
        }
    };
    Accounts::new(find)
}

/// A receiver without a socket, in either framework.
enum Receiver {
    Axum(axum::Router),
    Actix(number7_actix::VerifyNumber7),
}

fn receivers(accounts: &Accounts) -> [(&'static str, Receiver); 2] {
    let layer =
        number7_tower::VerifyNumber7::accounts(accounts.clone(), |Path(name): Path<String>| name);
    let middleware =
        number7_actix::VerifyNumber7::accounts(accounts.clone(), web::Path::<String>::into_inner);
    [("axum", Receiver::Axum(axum_app_behind(layer))), ("actix-web", Receiver::Actix(middleware))]
}

impl Receiver {
    async fn post(&self, account: &str, signature: Option<String>, body: &'static str) -> Response {
        let uri = format!("/hooks/{account}");
        match self {
            Self::Axum(app) => {
                let mut request = http::Request::post(uri);
                if let Some(signature) = signature {
                    request = request.header(SIGNATURE_HEADER, signature);
                }
                let request = request.body(axum::body::Body::from(body)).unwrap();
                axum_response(app.clone().oneshot(request).await.unwrap()).await
            }
            Self::Actix(middleware) => {
                let mut request = test::TestRequest::post().uri(&uri).set_payload(body);
                if let Some(signature) = signature {
                    request = request.insert_header((SIGNATURE_HEADER, signature));
                }
                let app = App::new().configure(actix_app_behind(middleware.clone()));
                let app = test::init_service(app).await;
                actix_response(test::call_service(&app, request.to_request()).await).await
            }
        }
    }

    async fn signed(&self, account: &str, by: &str) -> Response {
        self.post(account, Some(secret_of(by).sign(COMPLETED).to_string()), COMPLETED).await
    }
}

#[actix_web::test]
async fn each_account_is_verified_by_its_own_secret() {
    let lookups = Arc::default();
    for (framework, receiver) in receivers(&accounts(&lookups)) {
        for account in ["account-1", "account-2"] {
            let answer = receiver.signed(account, account).await;
            let expected = format!("{} for {account}", saw("job.completed"));
            assert_eq!((answer.status, &*answer.body), (200, expected.as_bytes()), "{framework}");
        }
        let answer = receiver.signed("account-1", "account-2").await;
        let expected = (401, Some(RejectionKind::SignatureMismatch));
        assert_eq!((answer.status, answer.rejection), expected, "{framework}");
    }
}

#[actix_web::test]
async fn an_unknown_account_is_answered_as_a_forged_signature_is() {
    let lookups = Arc::default();
    for (framework, receiver) in receivers(&accounts(&lookups)) {
        let mut answers = BTreeSet::new();
        for (account, kind) in [
            ("account-1", RejectionKind::SignatureMismatch),
            ("nobody", RejectionKind::UnknownAccount),
            ("no%20name", RejectionKind::MalformedAccount),
        ] {
            let answer = receiver.signed(account, "account-2").await;
            assert_eq!(answer.rejection, Some(kind), "{framework}: {account}");
            let named = (!account.contains('%')).then(|| account.to_owned());
            assert_eq!(answer.account, named, "{framework}: whose it is, if that can be a name");
            answers.insert((answer.status, answer.headers, answer.body));
        }
        assert_eq!(answers.len(), 1, "{framework}: {answers:?}");
        assert_eq!(answers.first().unwrap().0, 401, "{framework}");
    }
}

#[actix_web::test]
async fn an_extractor_that_fails_is_a_kind_of_its_own_with_the_same_answer() {
    let accounts = accounts(&Arc::default());
    let layer =
        number7_tower::VerifyNumber7::accounts(accounts.clone(), |Path(number): Path<u32>| {
            number.to_string()
        });
    let middleware = number7_actix::VerifyNumber7::accounts(accounts, |number: web::Path<u32>| {
        number.to_string()
    });
    for receiver in [Receiver::Axum(axum_app_behind(layer)), Receiver::Actix(middleware)] {
        let unknown = receiver.signed("7", "account-1").await;
        let failing = receiver.signed("account-1", "account-1").await;
        let kinds = [unknown.rejection, failing.rejection].map(Option::unwrap);
        assert_eq!(kinds, [RejectionKind::UnknownAccount, RejectionKind::MissingAccount]);
        let answer = |answer: Response| (answer.status, answer.headers, answer.body);
        assert_eq!(answer(unknown), answer(failing));
    }
}

/// A sender without a secret causes no lookup, and a sender with many deliveries causes only one.
#[actix_web::test]
async fn an_account_is_looked_up_once_and_only_for_a_request_with_a_signature() {
    for number in 0..2 {
        let lookups = Arc::default();
        let (framework, receiver) = &receivers(&accounts(&lookups))[number];
        for signature in [None, Some("no signature".to_owned())] {
            let answer = receiver.post("account-1", signature, COMPLETED).await;
            assert_eq!((answer.status, lookups.load(Relaxed)), (401, 0), "{framework}");
            assert_eq!(answer.account.as_deref(), Some("account-1"), "{framework}");
        }
        let answers = join_all((0..20).map(|_| receiver.signed("account-1", "account-1"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{framework}");
        assert_eq!(lookups.load(Relaxed), 1, "{framework}: twenty at once wait for one lookup");
        for _ in 0..2 {
            receiver.signed("nobody", "nobody").await;
        }
        assert_eq!(lookups.load(Relaxed), 2, "{framework}: that there is none is kept, too");
    }
}

#[actix_web::test]
async fn what_is_kept_is_looked_up_again_after_its_time() {
    let lookups = Arc::default();
    let accounts = accounts(&lookups).ttl(Duration::ZERO).unknown_ttl(Duration::ZERO);
    for (framework, receiver) in receivers(&accounts) {
        let before = lookups.load(Relaxed);
        for account in ["account-1", "nobody", "account-1", "nobody"] {
            receiver.signed(account, account).await;
        }
        assert_eq!(lookups.load(Relaxed) - before, 4, "{framework}");
    }
}

/// The event may have been authentic, so the vendor has to send it again.
#[actix_web::test]
async fn a_lookup_that_fails_or_is_slow_is_answered_503() {
    let lookups = Arc::default();
    let accounts = accounts(&lookups).lookup_timeout(Duration::from_millis(20));
    for (framework, receiver) in receivers(&accounts) {
        for (account, kind) in
            [("down", RejectionKind::LookupFailed), ("slow", RejectionKind::LookupTooSlow)]
        {
            let before = lookups.load(Relaxed);
            for _ in 0..2 {
                let answer = receiver.signed(account, account).await;
                assert_eq!((answer.status, answer.rejection), (503, Some(kind)), "{framework}");
                let retry = ("retry-after".to_owned(), "1".to_owned());
                assert!(answer.headers.contains(&retry), "{framework}: {:?}", answer.headers);
            }
            assert_eq!(lookups.load(Relaxed) - before, 2, "{framework}: a failure is not kept");
        }
    }
}

/// A sender that hangs up must not keep others from the account.
#[actix_web::test]
async fn a_sender_that_hangs_up_does_not_end_the_lookup_for_the_others() {
    for number in 0..2 {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let find = move |_: Account| {
            count.fetch_add(1, Relaxed);
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, Infallible>(Some(secret_of("account-1").into()))
            }
        };
        let accounts = Accounts::new(find);
        let (framework, receiver) = &receivers(&accounts)[number];
        let soon = Duration::from_millis(20);
        let left = tokio::time::timeout(soon, receiver.signed("account-1", "account-2")).await;
        assert!(left.is_err(), "{framework}: it hung up");
        assert_eq!(receiver.signed("account-1", "account-1").await.status, 200, "{framework}");
        assert_eq!(begun.load(Relaxed), 1, "{framework}: one lookup was for both");
    }
}

#[actix_web::test]
async fn a_failure_is_for_all_that_wait_for_it() {
    let lookups = Arc::default();
    for (framework, receiver) in receivers(&accounts(&lookups)) {
        let before = lookups.load(Relaxed);
        let answers = join_all((0..20).map(|_| receiver.signed("down", "down"))).await;
        assert!(answers.iter().all(|answer| answer.status == 503), "{framework}");
        assert_eq!(lookups.load(Relaxed) - before, 1, "{framework}");
    }
}

#[actix_web::test]
async fn so_many_requests_wait_for_a_lookup_and_no_more() {
    let lookups = Arc::default();
    let accounts = accounts(&lookups).max_lookups(1).lookup_timeout(Duration::from_millis(200));
    for ((framework, receiver), new) in
        receivers(&accounts).into_iter().zip(["account-2", "account-3"])
    {
        assert_eq!(receiver.signed("account-1", "account-1").await.status, 200, "{framework}");
        let others = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let known = receiver.signed("account-1", "account-1").await;
            (known, receiver.signed(new, new).await)
        };
        let (slow, (known, other)) = tokio::join!(receiver.signed("slow", "slow"), others);
        assert_eq!(slow.rejection, Some(RejectionKind::LookupTooSlow), "{framework}");
        assert_eq!(known.status, 200, "{framework}: what is kept needs no lookup");
        let expected = (503, Some(RejectionKind::TooManyLookups));
        assert_eq!((other.status, other.rejection), expected, "{framework}");
        assert_eq!(receiver.signed(new, new).await.status, 200, "{framework}");
    }
}

/// The database of the accounts, and the time.
#[derive(Default)]
struct Database {
    seconds: AtomicU64,
    lookups: AtomicUsize,
    /// The result of a lookup.
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Good,
    Down,
    Panics,
    Hangs,
    Empty,
}

/// The start of the tests' clocks.
const BEGIN: u64 = 1_800_000_000;

impl Database {
    fn new() -> Arc<Self> {
        Arc::new(Self { seconds: BEGIN.into(), ..Self::default() })
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
    }

    fn at(&self, seconds: u64) {
        self.seconds.store(BEGIN + seconds, Relaxed);
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Relaxed)
    }

    fn accounts(self: &Arc<Self>) -> Accounts {
        let (this, clock) = (Arc::clone(self), Arc::clone(self));
        let find = move |account: Account| {
            this.lookups.fetch_add(1, Relaxed);
            let state = *this.state.lock().unwrap();
            async move {
                tokio::task::yield_now().await;
                match state {
                    State::Good if account.as_str().starts_with("account-") => {
                        Ok(Some(secret_of(account.as_str()).into()))
                    }
                    State::Good | State::Empty => Ok(None),
                    State::Down => Err(io::Error::other("the database is away")),
                    State::Panics => panic!("a panic of the test"),
                    State::Hangs => std::future::pending().await,
                }
            }
        };
        let clock =
            move || SystemTime::UNIX_EPOCH + Duration::from_secs(clock.seconds.load(Relaxed));
        Accounts::new(find).clock(clock).lookup_timeout(Duration::from_millis(20))
    }
}

/// The default times: an answer is cached for a minute, and used for another hour if a lookup fails.
#[actix_web::test]
async fn an_outage_of_the_lookup_refuses_no_event_of_a_known_account() {
    for outage in [State::Down, State::Panics, State::Hangs] {
        for number in 0..2 {
            let database = Database::new();
            let (framework, receiver) = &receivers(&database.accounts())[number];
            let status = async |name: &str| receiver.signed(name, name).await.status;
            assert_eq!(status("account-1").await, 200, "{framework}");
            database.set(outage);
            for second in [60, 61, 64, 65, 600, 3659] {
                database.at(second);
                let say = format!("{framework}: {outage:?} {second}");
                assert_eq!(status("account-1").await, 200, "{say}");
                let forged = receiver.signed("account-1", "account-2").await;
                assert_eq!(forged.rejection, Some(RejectionKind::SignatureMismatch), "{say}");
            }
            assert_eq!(database.lookups(), 5, "{framework}: {outage:?}: at most every 5 seconds");
            assert_eq!(status("account-2").await, 503, "{framework}: it was never known");
            database.at(3660);
            assert_eq!(status("account-1").await, 503, "{framework}: its hour is over");
            database.set(State::Good);
            assert_eq!(status("account-1").await, 200, "{framework}: it is back");
        }
    }
}

#[actix_web::test]
async fn an_account_that_is_gone_or_forgotten_is_not_used_any_longer() {
    for number in 0..2 {
        let database = Database::new();
        let accounts = database.accounts();
        let (framework, receiver) = &receivers(&accounts)[number];
        let status = async |name: &str| receiver.signed(name, name).await.status;
        for name in ["account-1", "account-2"] {
            assert_eq!(status(name).await, 200, "{framework}");
        }
        database.set(State::Down);
        database.at(60);
        assert_eq!(status("account-1").await, 200, "{framework}");
        accounts.forget(&Account::new("account-2").unwrap());
        assert_eq!(status("account-2").await, 503, "{framework}: its last answer is forgotten");
        database.set(State::Empty);
        database.at(65);
        assert_eq!(status("account-1").await, 401, "{framework}: there is no such account");
        database.set(State::Down);
        database.at(66);
        assert_eq!(status("account-1").await, 503, "{framework}: that was for a second");
    }
}

#[actix_web::test]
async fn names_that_somebody_makes_up_take_no_place_from_accounts() {
    let database = Database::new();
    let accounts = database.accounts().max_cached(20);
    for (framework, receiver) in receivers(&accounts) {
        let known = async || {
            for number in 0..10 {
                let name = format!("account-{number}");
                assert_eq!(receiver.signed(&name, &name).await.status, 200, "{framework}");
            }
        };
        known().await;
        for number in 0..500 {
            let answer = receiver.signed(&format!("nobody-{number}"), "nobody").await;
            assert_eq!(answer.status, 401, "{framework}");
        }
        let before = database.lookups();
        known().await;
        assert_eq!(database.lookups(), before, "{framework}: all of them are kept");
    }
}

/// The lookups of unknown names hang.
#[actix_web::test]
async fn neither_one_slow_account_nor_made_up_names_take_all_the_places() {
    for number in 0..2 {
        let database = Database::new();
        let accounts =
            database.accounts().max_lookups(8).lookup_timeout(Duration::from_millis(200));
        let (framework, receiver) = &receivers(&accounts)[number];
        assert_eq!(receiver.signed("account-1", "account-1").await.status, 200, "{framework}");
        database.set(State::Hangs);

        let slow = join_all((0..8).map(|_| receiver.signed("slow", "slow")));
        let other = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            database.set(State::Good);
            receiver.signed("account-2", "account-2").await.status
        };
        let (slow, other) = tokio::join!(slow, other);
        assert_eq!(other, 200, "{framework}: one slow account leaves places for others");
        let count = |kind| slow.iter().filter(|answer| answer.rejection == Some(kind)).count();
        assert_eq!(count(RejectionKind::LookupTooSlow), 2, "{framework}: a quarter of the places");
        assert_eq!(count(RejectionKind::TooManyLookups), 6, "{framework}");

        database.set(State::Hangs);
        let names: Vec<_> = (0..20).map(|number| format!("nobody-{number}")).collect();
        let flood = join_all(names.iter().map(|name| receiver.signed(name, name)));
        let known = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let cached = receiver.signed("account-1", "account-1").await.status;
            let before = database.lookups();
            database.at(60);
            database.set(State::Good);
            let again = receiver.signed("account-1", "account-1").await.status;
            (cached, again, database.lookups() - before)
        };
        let (flood, known) = tokio::join!(flood, known);
        assert_eq!(known, (200, 200, 1), "{framework}: known accounts have places of their own");
        let refused = RejectionKind::TooManyLookups;
        let refused = flood.iter().filter(|answer| answer.rejection == Some(refused)).count();
        assert_eq!(refused, 12, "{framework}");
    }
}

#[actix_web::test]
async fn a_clock_that_is_set_neither_keeps_answers_forever_nor_loses_them() {
    for number in 0..2 {
        let database = Database::new();
        let (framework, receiver) = &receivers(&database.accounts())[number];
        let status = async |name: &str| receiver.signed(name, name).await.status;
        database.at(1_000_000);
        for name in ["account-1", "nobody"] {
            receiver.signed(name, name).await;
        }
        // Back, during an outage.
        database.set(State::Down);
        database.at(0);
        assert_eq!(status("account-1").await, 200, "{framework}: it is not lost");
        assert_eq!(database.lookups(), 3, "{framework}: but it is looked up again");
        assert_eq!(status("nobody").await, 503, "{framework}: so is what is not there");
        database.at(3599);
        assert_eq!(status("account-1").await, 200, "{framework}");
        database.at(3600);
        assert_eq!(status("account-1").await, 503, "{framework}: nor is it kept forever");
        // Forward, and back again.
        database.set(State::Good);
        for second in [1_000_000, 0] {
            database.at(second);
            let before = database.lookups();
            for _ in 0..2 {
                assert_eq!(status("account-1").await, 200, "{framework}");
            }
            assert_eq!(database.lookups(), before + 1, "{framework}");
        }
        // The account was unknown at the later time, but is known at the earlier one, and stays known.
        database.at(1_000_000);
        database.set(State::Empty);
        assert_eq!(status("account-3").await, 401, "{framework}");
        database.set(State::Good);
        for second in [0, 1_000_000] {
            database.at(second);
            assert_eq!(status("account-3").await, 200, "{framework}: {second}");
        }
    }
}

/// For example by `also_accept` with a name that the verifier already has.
#[actix_web::test]
async fn limits_that_panic_are_a_lookup_that_fails() {
    for number in 0..2 {
        let (database, panics) = (Database::new(), Arc::new(AtomicBool::new(false)));
        let may_panic = Arc::clone(&panics);
        let accounts = database.accounts().limits(move |verifier| {
            assert!(!may_panic.load(Relaxed), "a panic of the test");
            verifier
        });
        let (framework, receiver) = &receivers(&accounts)[number];
        let status = async |name: &str| receiver.signed(name, name).await.status;
        assert_eq!(status("account-1").await, 200, "{framework}");
        database.at(60);
        panics.store(true, Relaxed);
        assert_eq!(status("account-1").await, 200, "{framework}: by its last answer");
        let answer = receiver.signed("account-2", "account-2").await;
        let expected = (503, Some(RejectionKind::LookupFailed));
        assert_eq!((answer.status, answer.rejection), expected, "{framework}");
        panics.store(false, Relaxed);
        assert_eq!(status("account-2").await, 200, "{framework}: it is looked up again");
    }
}

/// A lookup that another request began, and that does not continue, as on a blocked thread.
fn blocked(accounts: &Accounts, name: &str) -> number7_core::adapter::Lookup {
    match accounts.find(Some(name), [(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap() {
        Found::Lookup(lookup) => lookup,
        other => panic!("{other:?}"),
    }
}

#[actix_web::test]
async fn a_lookup_on_a_blocked_thread_does_not_keep_others_from_looking_up() {
    for number in 0..2 {
        let database = Database::new();
        let accounts = database.accounts();
        let (framework, receiver) = &receivers(&accounts)[number];
        let status = async |name: &str| receiver.signed(name, name).await.status;
        assert_eq!(status("account-1").await, 200, "{framework}");
        database.at(60);
        let _blocked = ["account-1", "account-2"].map(|name| blocked(&accounts, name));
        assert_eq!(status("account-1").await, 200, "{framework}: by its last answer");
        let answer = receiver.signed("account-2", "account-2").await;
        assert_eq!(answer.rejection, Some(RejectionKind::LookupTooSlow), "{framework}");
        let before = database.lookups();
        database.at(65);
        for name in ["account-1", "account-2"] {
            assert_eq!(status(name).await, 200, "{framework}: {name}");
        }
        assert_eq!(database.lookups(), before + 2, "{framework}");
    }
}

#[actix_web::test]
async fn what_is_forgotten_is_not_used_by_those_that_wait_either() {
    for number in 0..2 {
        let database = Database::new();
        let accounts = database.accounts().lookup_timeout(Duration::from_secs(1));
        let (framework, receiver) = &receivers(&accounts)[number];
        assert_eq!(receiver.signed("account-1", "account-1").await.status, 200, "{framework}");
        database.at(60);
        let _blocked = blocked(&accounts, "account-1");
        let forget = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            accounts.forget(&Account::new("account-1").unwrap());
        };
        let (answer, ()) = tokio::join!(receiver.signed("account-1", "account-1"), forget);
        assert_eq!(answer.rejection, Some(RejectionKind::LookupTooSlow), "{framework}");
    }
}

/// actix-web always has a runtime.
#[std::prelude::v1::test]
fn a_layer_without_a_runtime_cannot_look_up_and_says_so() {
    let [(_, receiver), _] = receivers(&accounts(&Arc::default()));
    let answer = receiver.signed("account-1", "account-1").now_or_never().unwrap();
    let expected = (503, Some(RejectionKind::LookupFailed));
    assert_eq!((answer.status, answer.rejection), expected);
}

/// An account, by the numbers of its secrets: the current one of its owner (the previous one is accepted too), and the one that
/// the vendor signs with.
#[derive(Default)]
struct Rotated {
    set: AtomicUsize,
    signs: RwLock<usize>,
}

/// Each rotation follows `docs/secrets.md`: the lookup accepts a new secret, and when the old answer is no longer cached, the
/// secret is set at the vendor.
#[std::prelude::v1::test]
fn five_hundred_accounts_are_rotated_under_load_and_no_delivery_is_refused() {
    const TTL: Duration = Duration::from_millis(20);
    const LENGTH: Duration = Duration::from_secs(3);
    let rotated: Arc<Vec<Rotated>> = Arc::new((0..500).map(|_| Rotated::default()).collect());
    let secret =
        |name: &str, version: usize| Secret::new(format!("{SECRET} {version} of {name}")).unwrap();
    let database = Arc::clone(&rotated);
    let find = move |account: Account| {
        let number: usize = account.as_str()["account-".len()..].parse().unwrap();
        let set = database[number].set.load(Relaxed);
        async move {
            tokio::task::yield_now().await;
            let verifier = Verifier::named("new", secret(account.as_str(), set));
            Ok::<_, Infallible>(Some(match set.checked_sub(1) {
                Some(old) => verifier.also_accept("old", secret(account.as_str(), old)),
                None => verifier,
            }))
        }
    };
    let accounts = Accounts::new(find).ttl(TTL);
    let servers = Server::both_behind(
        number7_tower::VerifyNumber7::accounts(accounts.clone(), |Path(name): Path<String>| name),
        number7_actix::VerifyNumber7::accounts(accounts, web::Path::<String>::into_inner),
    );
    let (begun, random) = (Instant::now(), RandomState::new());
    let pick = |sender: usize, turn: usize| {
        usize::try_from(random.hash_one((sender, turn)) % 500).unwrap()
    };
    let (sent, switched) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for sender in 0..4 {
            let (server, rotated, sent) = (&servers[sender % 2], &rotated, &sent);
            scope.spawn(move || {
                let mut socket = Socket::connect(server.addr);
                let mut turn = 0;
                while begun.elapsed() < LENGTH {
                    turn += 1;
                    let number = pick(sender, turn);
                    let name = format!("account-{number}");
                    // The vendor does not change it during a delivery.
                    let version = rotated[number].signs.read().unwrap();
                    let signature = secret(&name, *version).sign(COMPLETED);
                    socket.write(format!(
                        "POST /hooks/{name} HTTP/1.1\r\nhost: test\r\n{SIGNATURE_HEADER}: \
                         {signature}\r\ncontent-length: {}\r\n\r\n{COMPLETED}",
                        COMPLETED.len()
                    ));
                    let status = socket.answer().unwrap().status;
                    assert_eq!(status, 200, "{}: {name}, {version}", server.framework);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        let (rotated, switched) = (&rotated, &switched);
        scope.spawn(move || {
            let mut waiting = VecDeque::new();
            let mut turn = 0;
            while begun.elapsed() < LENGTH {
                turn += 1;
                let number = pick(9, turn);
                if !waiting.iter().any(|(waits, _)| *waits == number) {
                    rotated[number].set.fetch_add(1, Relaxed);
                    waiting.push_back((number, Instant::now() + 2 * TTL));
                }
                while let Some((number, _)) = waiting.pop_front_if(|(_, at)| *at <= Instant::now())
                {
                    *rotated[number].signs.write().unwrap() += 1;
                    switched.fetch_add(1, Relaxed);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
    });
    let (sent, switched) = (sent.load(Relaxed), switched.load(Relaxed));
    assert!(sent > 500 && switched > 100, "{sent} were sent, and {switched} secrets rotated");
}

type Chunks = std::pin::Pin<
    Box<dyn futures_util::Stream<Item = Result<bytes::Bytes, actix_web::error::PayloadError>>>,
>;

/// A chunked body, or one of HTTP/2 without a declared length. It arrives as fast as it is read.
#[actix_web::test]
async fn nothing_is_read_of_a_body_while_its_account_is_looked_up() {
    use axum::body::Body;
    use bytes::Bytes;
    use futures_util::stream;
    let chunk = Bytes::from(vec![b' '; 8 * 1024]);
    let endless = |read: &Arc<AtomicUsize>| {
        let (read, chunk) = (Arc::clone(read), chunk.clone());
        stream::repeat_with(move || {
            read.fetch_add(1, Relaxed);
            Ok::<_, actix_web::error::PayloadError>(chunk.clone())
        })
    };
    for number in 0..2 {
        let find = async |account: Account| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(Some(secret_of(account.as_str()).into()))
        };
        let accounts = Accounts::new(find);
        let (framework, receiver) = &receivers(&accounts)[number];
        let (read, signature) = (Arc::default(), secret_of("other").sign(COMPLETED).to_string());
        let (stream, uri) = (endless(&read), "/hooks/account-1");
        let posted = async {
            match receiver {
                Receiver::Axum(app) => {
                    let request = http::Request::post(uri).version(http::Version::HTTP_2);
                    let body = Body::from_stream(stream);
                    let request = request.header(SIGNATURE_HEADER, signature).body(body).unwrap();
                    axum_response(app.clone().oneshot(request).await.unwrap()).await
                }
                Receiver::Actix(middleware) => {
                    let request = test::TestRequest::post()
                        .uri(uri)
                        .version(actix_web::http::Version::HTTP_2);
                    let request = request.insert_header((SIGNATURE_HEADER, signature));
                    let stream: Chunks = Box::pin(stream);
                    let stream = actix_web::dev::Payload::from(stream);
                    let request = request.to_request().replace_payload(stream).0;
                    let app = App::new().configure(actix_app_behind(middleware.clone()));
                    let app = test::init_service(app).await;
                    actix_response(test::call_service(&app, request).await).await
                }
            }
        };
        let looked = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            read.load(Relaxed)
        };
        let (answer, before) = tokio::join!(posted, looked);
        assert_eq!(before, 0, "{framework}");
        assert_eq!(answer.rejection, Some(RejectionKind::BodyTooLarge), "{framework}");
        let most = number7_core::DEFAULT_BODY_LIMIT / chunk.len() + 1;
        assert_eq!(read.load(Relaxed), most, "{framework}: up to the limit, and no more");
    }
}

/// A receiver with accounts, as a user may test it.
fn apps(accounts: &Accounts) -> (axum::Router, number7_actix::VerifyNumber7) {
    let [(_, Receiver::Axum(app)), (_, Receiver::Actix(middleware))] = receivers(accounts) else {
        unreachable!("in this order")
    };
    (app, middleware)
}

fn probes_of_accounts() -> Probes {
    Probes::new(secret_of("account-1"))
        .at("/hooks/account-1")
        .body_timeout(Duration::from_millis(300))
        .unknown_account("/hooks/nobody")
        .other_account(secret_of("account-2"))
        .failing_lookup("/hooks/down")
}

fn with_deadline(accounts: Accounts) -> Accounts {
    accounts.limits(|verifier| verifier.body_timeout(Duration::from_millis(300)))
}

#[actix_web::test]
async fn a_receiver_with_accounts_keeps_the_rules() {
    let (app, middleware) = apps(&with_deadline(accounts(&Arc::default())));
    number7_tower::assert_receiver(app, &probes_of_accounts()).await;
    let app = test::init_service(App::new().configure(actix_app_behind(middleware))).await;
    number7_actix::assert_receiver(app, &probes_of_accounts()).await;
}

#[actix_web::test]
#[should_panic(expected = "the secret of one account signs for another")]
async fn an_account_that_another_signs_for_is_found_out() {
    let all = |verifier: Verifier| verifier.also_accept("all", secret_of("account-2"));
    let (app, _) = apps(&with_deadline(accounts(&Arc::default())).limits(all));
    number7_tower::assert_receiver(app, &probes_of_accounts()).await;
}

#[actix_web::test]
#[should_panic(expected = "a lookup that fails is not answered 503")]
async fn a_lookup_whose_failure_is_hidden_is_found_out() {
    let find = async |account: Account| {
        let is_known = account.as_str() == "account-1";
        Ok::<_, Infallible>(is_known.then(|| secret_of("account-1").into()))
    };
    let (app, _) = apps(&with_deadline(Accounts::new(find)));
    number7_tower::assert_receiver(app, &probes_of_accounts()).await;
}

/// The same table as for a single secret.
#[actix_web::test]
async fn all_other_answers_are_those_of_a_receiver_with_one_secret() {
    tokio::time::pause();
    let accounts = || {
        let find = async |_| Ok::<_, io::Error>(Some(Verifier::from(number7_tests::secret())));
        Accounts::new(find)
    };
    // Only the account in the handler's answer differs.
    let assert = |framework: &str, probe: &Probe, mut answer: Response| {
        if let Answer::Accepted(_) = probe.answer() {
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            answer.body = text.strip_suffix(" for account-1").unwrap().to_owned().into();
        }
        answer.assert(framework, probe);
    };
    let name = |_: http::HeaderMap| "account-1".to_owned();
    let app = axum_app_behind(number7_tower::VerifyNumber7::accounts(accounts(), name));
    for probe in probes().table() {
        let Some(request) = number7_tower::receiver::probe_request(&probe, "/webhook") else {
            continue;
        };
        let answer = app.clone().oneshot(request).await.unwrap();
        assert("axum", &probe, axum_response(answer).await);
    }
    let name = |_: actix_web::HttpRequest| "account-1".to_owned();
    let middleware = number7_actix::VerifyNumber7::accounts(accounts(), name);
    let app = test::init_service(App::new().configure(actix_app_behind(middleware))).await;
    for probe in probes().table() {
        let Some(request) = number7_actix::receiver::probe_request(&probe, "/webhook") else {
            continue;
        };
        let answer = actix_web::dev::Service::call(&app, request).await.unwrap();
        assert("actix-web", &probe, actix_response(answer).await);
    }
}
