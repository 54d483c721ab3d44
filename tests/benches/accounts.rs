//! What accounts cost, and whether the time of an answer reveals which of them exist.
//!
//! `cargo bench -p number7-tests --bench accounts` prints, for both frameworks on a socket of the loopback:
//!
//! - the time of a request in a flood of unknown names, which all differ, against a flood of forged signatures;
//! - the time of an authentic request with 500 accounts in turn, against one account;
//! - the medians of the answers to a wrong signature for an account that exists and for one that does not, in a random
//!   order, and Welch's t of both without the slowest tenth: a |t| over 4.5 would reveal the difference;
//! - the memory of 100,000 accounts.
//!
//! Alternatives are measured in turn, and the smallest time of each counts.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by a panic")]

use std::{
    convert::Infallible,
    fs,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use actix_web::web;
use axum::extract::Path;
use number7_core::{Account, Accounts, DEFAULT_ACCOUNT_TTL, Found, SIGNATURE_HEADER, Secret};
use number7_tests::{COMPLETED, SECRET, server::Server, socket::Socket};

const ROUNDS: usize = 7;
const REQUESTS: usize = 4_000;
const SAMPLES: usize = 40_000;

fn secret_of(account: &str) -> Secret {
    Secret::new(format!("{SECRET} of {account}")).unwrap()
}

fn accounts() -> Accounts {
    let find = async |account: Account| {
        let is_known = account.as_str().starts_with("account-");
        Ok::<_, Infallible>(is_known.then(|| secret_of(account.as_str()).into()))
    };
    // So that both are cached, or neither is.
    Accounts::new(find).unknown_ttl(DEFAULT_ACCOUNT_TTL)
}

/// Sends requests one after another on a connection.
struct Sender(Socket);

impl Sender {
    fn send(&mut self, name: &str, signature: &str, status: u16) {
        let length = COMPLETED.len();
        self.0.write(format!(
            "POST /hooks/{name} HTTP/1.1\r\nhost: test\r\n{SIGNATURE_HEADER}: {signature}\r\n\
             content-length: {length}\r\n\r\n{COMPLETED}"
        ));
        assert_eq!(self.0.answer().unwrap().status, status, "{name}");
    }
}

/// The smallest time of a request of each kind.
fn compare(sends: [&mut dyn FnMut(usize); 2]) -> [Duration; 2] {
    let mut best = [Duration::MAX; 2];
    for round in 0..ROUNDS {
        for (kind, best) in best.iter_mut().enumerate() {
            let begun = Instant::now();
            (0..REQUESTS).for_each(|number| sends[kind](round * REQUESTS + number));
            *best = (*best).min(begun.elapsed() / u32::try_from(REQUESTS).unwrap());
        }
    }
    best
}

fn print(name: &str, framework: &str, [one, other]: [Duration; 2]) {
    let ratio = other.as_secs_f64() / one.as_secs_f64();
    println!("{name:44} {framework:10} {one:>10.2?} {other:>10.2?} {ratio:>6.3}");
}

fn main() {
    memory();
    let accounts = accounts();
    let servers = Server::both_behind(
        number7_tower::VerifyNumber7::accounts(accounts.clone(), |Path(name): Path<String>| name),
        number7_actix::VerifyNumber7::accounts(accounts, web::Path::<String>::into_inner),
    );
    for server in &servers {
        floods(server);
        many(server);
        timing(server);
    }
}

fn floods(server: &Server) {
    let [mut one, mut other] = [(); 2].map(|()| Sender(Socket::connect(server.addr)));
    let forged = "0".repeat(64);
    let times = compare([&mut |_| one.send("account-1", &forged, 401), &mut |number| {
        other.send(&format!("nobody-{number}"), &forged, 401)
    }]);
    print("forged, and unknown names", server.framework, times);
}

fn many(server: &Server) {
    let [mut one, mut other] = [(); 2].map(|()| Sender(Socket::connect(server.addr)));
    let signed: Vec<_> = (0..500)
        .map(|number| {
            let name = format!("account-{number}");
            let signature = secret_of(&name).sign(COMPLETED).to_string();
            (name, signature)
        })
        .collect();
    let send = |sender: &mut Sender, number: usize| {
        let (name, signature) = &signed[number];
        sender.send(name, signature, 200);
    };
    (0..500).for_each(|number| send(&mut one, number));
    let times = compare([&mut |_| send(&mut one, 7), &mut |number| send(&mut other, number % 500)]);
    print("one account, and 500 in turn", server.framework, times);
}

fn timing(server: &Server) {
    let mut sender = Sender(Socket::connect(server.addr));
    let forged = "0".repeat(64);
    let random = RandomState::new();
    let mut samples = [vec![], vec![]];
    for number in 0..SAMPLES {
        let is_known = random.hash_one(number) & 1 == 0;
        let name = if is_known { "account-1" } else { "account_1" };
        let begun = Instant::now();
        sender.send(name, &forged, 401);
        samples[usize::from(is_known)].push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let [(unknown, a), (known, b)] = samples.map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        let median = samples[samples.len() / 2];
        samples.truncate(samples.len() * 9 / 10);
        (median, samples)
    });
    println!(
        "{:44} {:10} {known:>8.2}µs {unknown:>8.2}µs {:>6.3}  t = {:.2}",
        "a wrong signature: known, and unknown",
        server.framework,
        unknown / known,
        welch(&a, &b)
    );
}

#[allow(clippy::cast_precision_loss, reason = "they are not so many")]
fn welch(a: &[f64], b: &[f64]) -> f64 {
    let of = |samples: &[f64]| {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    };
    let ((a, error_a), (b, error_b)) = (of(a), of(b));
    (a - b) / (error_a + error_b).sqrt()
}

fn memory() {
    const MANY: usize = 100_000;
    let accounts = accounts();
    let before = resident();
    for number in 0..MANY {
        let headers = [(SIGNATURE_HEADER, &[b'0'; 64][..])];
        let name = format!("account-{number}");
        let Found::Verifier(_) = accounts.find(Some(&name), headers).unwrap() else {
            panic!("the lookup ends at once")
        };
    }
    let kib = resident() - before;
    println!("{MANY} accounts: {} MiB, {} bytes each", kib / 1024, kib * 1024 / MANY);
    drop(accounts);
}

/// The memory of this process in KiB, as Linux counts it.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
