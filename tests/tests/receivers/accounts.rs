//! A secret for each account: what axum and actix-web do alike.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use actix_web::{App, test, web};
use axum::extract::Path;
use futures_util::future::join_all;
use number7_core::{
    Account, Accounts, RejectionKind, SIGNATURE_HEADER, Secret, Verifier,
    probe::{Answer, Probe, Probes},
};
use number7_tests::{
    COMPLETED, SECRET,
    in_process::{Response, actix_app_behind, actix_response, axum_app_behind, axum_response, saw},
    probes,
};
use tower::ServiceExt;

/// The secret of an account whose name ends with its number: `account-7`.
fn secret_of(account: &str) -> Secret {
    Secret::new(format!("{SECRET} of {account}")).unwrap()
}

/// There are ten, and `down` cannot be looked up.
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
    Accounts::new(find, SystemTime::now)
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
            ("no%20name", RejectionKind::UnknownAccount),
            ("%FF", RejectionKind::UnknownAccount),
        ] {
            let answer = receiver.signed(account, "account-2").await;
            assert_eq!(answer.rejection, Some(kind), "{framework}: {account}");
            answers.insert((answer.status, answer.headers, answer.body));
        }
        assert_eq!(answers.len(), 1, "{framework}: {answers:?}");
        assert_eq!(answers.first().unwrap().0, 401, "{framework}");
    }
}

/// A sender without a secret makes no work, and neither does one that sends a lot.
#[actix_web::test]
async fn an_account_is_looked_up_once_and_only_for_a_request_with_a_signature() {
    for number in 0..2 {
        let lookups = Arc::default();
        let (framework, receiver) = &receivers(&accounts(&lookups))[number];
        for signature in [None, Some("no signature".to_owned())] {
            let answer = receiver.post("account-1", signature, COMPLETED).await;
            assert_eq!((answer.status, lookups.load(Relaxed)), (401, 0), "{framework}");
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

/// Nobody knows whether the event was authentic, so the vendor has to send it again.
#[actix_web::test]
async fn a_lookup_that_fails_or_is_slow_is_answered_503() {
    let lookups = Arc::default();
    let accounts = accounts(&lookups).lookup_deadline(Duration::from_millis(20));
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

/// Somebody who hangs up must not keep an account from the others.
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
        let accounts = Accounts::new(find, SystemTime::now);
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
    let accounts = accounts(&lookups).max_lookups(1).lookup_deadline(Duration::from_millis(200));
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

/// A receiver whose accounts have rules that a user's own test can check.
fn apps(accounts: &Accounts) -> (axum::Router, number7_actix::VerifyNumber7) {
    let [(_, Receiver::Axum(app)), (_, Receiver::Actix(middleware))] = receivers(accounts) else {
        unreachable!("in this order")
    };
    (app, middleware)
}

fn probes_of_accounts() -> Probes {
    Probes::new(secret_of("account-1"))
        .at("/hooks/account-1")
        .body_deadline(Duration::from_millis(300))
        .unknown_account("/hooks/nobody")
        .other_account(secret_of("account-2"))
        .failing_lookup("/hooks/down")
}

fn with_deadline(accounts: Accounts) -> Accounts {
    accounts.limits(|verifier| verifier.body_deadline(Duration::from_millis(300)))
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
    let (app, _) = apps(&with_deadline(Accounts::new(find, SystemTime::now)));
    number7_tower::assert_receiver(app, &probes_of_accounts()).await;
}

/// The same table as for one secret.
#[actix_web::test]
async fn all_other_answers_are_those_of_a_receiver_with_one_secret() {
    tokio::time::pause();
    let accounts = || {
        let find = async |_| Ok::<_, io::Error>(Some(Verifier::from(number7_tests::secret())));
        Accounts::new(find, SystemTime::now)
    };
    // What the handler says of the account is all that differs.
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
        let Some(request) = number7_tower::probe_request(&probe, "/webhook") else { continue };
        let answer = app.clone().oneshot(request).await.unwrap();
        assert("axum", &probe, axum_response(answer).await);
    }
    let name = |_: actix_web::HttpRequest| "account-1".to_owned();
    let middleware = number7_actix::VerifyNumber7::accounts(accounts(), name);
    let app = test::init_service(App::new().configure(actix_app_behind(middleware))).await;
    for probe in probes().table() {
        let Some(request) = number7_actix::probe_request(&probe, "/webhook") else { continue };
        let answer = actix_web::dev::Service::call(&app, request).await.unwrap();
        assert("actix-web", &probe, actix_response(answer).await);
    }
}
