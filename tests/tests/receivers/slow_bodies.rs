//! Bodies that arrive slowly, many at once, on real sockets.
#![allow(clippy::unwrap_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use number7_core::{
    DEFAULT_BODY_TIMEOUT, DEFAULT_MAX_HELD_BODIES, SIGNATURE_HEADER, adapter::DRAIN_LIMIT,
};
use number7_tests::{COMPLETED, in_process::saw, server::Server, sign, socket::Socket, verifier};

/// Short for the tests, but long enough for a busy machine where a body must arrive in time.
const DEADLINE: Duration = Duration::from_millis(600);

/// A request whose body stops half-way.
fn stalled(server: &Server) -> Socket {
    let mut socket = Socket::connect(server.addr);
    socket.write_head(&sign(COMPLETED), COMPLETED.len());
    socket.write(&COMPLETED[..50]);
    socket
}

#[track_caller]
fn assert_good_passes(server: &Server) {
    let mut socket = Socket::connect(server.addr);
    socket.write_request(&sign(COMPLETED), COMPLETED);
    let answer = socket.answer().unwrap();
    let expected = (200, saw("job.completed"));
    assert_eq!((answer.status, answer.body), expected, "{}", server.framework);
}

/// The table tests senders that are too late. This tests that nobody is refused too early.
#[test]
fn a_body_that_does_not_come_is_refused_at_the_deadline_and_not_before() {
    for server in Server::both(|| verifier().body_timeout(DEADLINE)) {
        let start = Instant::now();
        let answer = stalled(&server).answer().unwrap();
        assert_eq!((answer.status, &*answer.body), (408, ""), "{}", server.framework);
        assert!(start.elapsed() >= DEADLINE, "{} answered early", server.framework);
    }
}

#[test]
fn a_body_that_is_not_wanted_is_not_asked_for() {
    for server in Server::both(verifier) {
        let mut socket = Socket::connect(server.addr);
        socket.write("POST /webhook HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut status = socket.answer().unwrap().status;
        if server.framework == "actix-web" {
            // It asks for every body before any middleware can refuse the request.
            assert_eq!(status, 100);
            status = socket.answer().unwrap().status;
        }
        assert_eq!(status, 401, "{}", server.framework);
    }
}

/// A stranger cannot hold a connection by a chunked body that never ends, and the receiver does not keep reading it.
#[test]
fn a_refused_connection_with_an_unfinished_chunked_body_is_closed() {
    let unsigned = String::new();
    let forged = format!("{SIGNATURE_HEADER}: {}\r\n", "0".repeat(64));
    for server in Server::both(|| verifier().body_timeout(DEADLINE).body_limit(1024)) {
        for (header, chunk, status) in [
            (&unsigned, "1\r\nx\r\n", 401),
            (&forged, "1\r\nx\r\n", 408),
            (&forged, &*large(), 413),
        ] {
            let mut stream = TcpStream::connect(server.addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let head = "POST /webhook HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n";
            stream.write_all(format!("{head}{header}\r\n{chunk}").as_bytes()).unwrap();
            let mut answer = String::new();
            // A reset is also an end.
            let ended = stream.read_to_string(&mut answer);
            let is_timeout = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(!is_timeout, "{} keeps the connection after {status}", server.framework);
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{}: {answer}", server.framework);
        }
    }
}

/// A chunk that exceeds the limit of the test.
fn large() -> String {
    format!("800\r\n{}\r\n", "x".repeat(2_048))
}

#[test]
fn three_hundred_stalled_connections_keep_no_good_one_out() {
    for server in Server::both(verifier) {
        let stalled: Vec<_> = (0..300).map(|_| stalled(&server)).collect();
        for _ in 0..20 {
            assert_good_passes(&server);
        }
        drop(stalled);
    }
    const { assert!(DEFAULT_MAX_HELD_BODIES > 300) }
}

#[test]
fn one_body_more_than_may_be_held_is_answered_503_and_good_ones_still_pass() {
    let deadline = Duration::from_secs(3);
    for server in Server::both(|| verifier().max_held_bodies(3).body_timeout(deadline)) {
        let mut held: Vec<_> = (0..4).map(|_| stalled(&server)).collect();
        // Before the deadline, only the sender without a place is answered.
        let refused = loop {
            match held.iter().position(Socket::is_answered) {
                Some(refused) => break refused,
                None => sleep(Duration::from_millis(5)),
            }
        };
        let answer = held.remove(refused).answer().unwrap();
        assert_eq!((answer.status, &*answer.body), (503, ""), "{}", server.framework);
        assert_eq!(answer.header("retry-after"), Some("1"), "{}", server.framework);
        // There is no place to wait for the rest of its body, either.
        assert_eq!(answer.header("connection"), Some("close"), "{}", server.framework);
        assert_good_passes(&server);
        for socket in &mut held {
            assert_eq!(socket.answer().unwrap().status, 408, "{}", server.framework);
        }
        let mut again = stalled(&server);
        again.write(&COMPLETED[50..]);
        assert_eq!(again.answer().unwrap().status, 200, "{}", server.framework);
    }
}

#[test]
fn a_sender_that_goes_away_gives_its_place_back() {
    for server in Server::both(|| verifier().max_held_bodies(1)) {
        let start = Instant::now();
        for _ in 0..3 {
            drop(stalled(&server));
        }
        // The server needs a moment to notice that they are gone.
        let mut socket = stalled(&server);
        sleep(Duration::from_millis(50));
        while socket.is_answered() && start.elapsed() < DEFAULT_BODY_TIMEOUT {
            assert_eq!(socket.answer().unwrap().status, 503, "{}", server.framework);
            socket = stalled(&server);
            sleep(Duration::from_millis(50));
        }
        socket.write(&COMPLETED[50..]);
        assert_eq!(socket.answer().unwrap().status, 200, "{}", server.framework);
        assert!(start.elapsed() < DEFAULT_BODY_TIMEOUT, "the deadline gave it back");
    }
}

/// nginx does this with a body that it has buffered: it writes all of it, and only then reads. If it cannot write, it answers
/// 502. A receiver that closes a connection with unread bytes resets it, and the answer is lost.
#[test]
fn the_answer_reaches_a_sender_that_writes_its_whole_body_before_it_reads() {
    const TIMES: usize = 50;
    for server in Server::both(verifier) {
        let signed = format!("{SIGNATURE_HEADER}: {}\r\n", sign(COMPLETED));
        for (status, headers) in [(401, ""), (413, &*signed)] {
            for bytes in [65_537, 200_000, 900_000, DRAIN_LIMIT] {
                let head = format!("POST /webhook HTTP/1.1\r\nhost: test\r\n{headers}");
                let declared =
                    format!("{head}content-length: {bytes}\r\n\r\n{}", "x".repeat(bytes));
                // The chunk itself exceeds the limit, and arrives in more than one read.
                let in_chunks = format!(
                    "{head}transfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
                    "x".repeat(bytes)
                );
                for request in [declared, in_chunks] {
                    for _ in 0..TIMES {
                        let what = format!("{}: {bytes} bytes", server.framework);
                        let mut socket = Socket::connect(server.addr);
                        // Time to refuse it by its head, while most of it has not arrived.
                        let (first, rest) = request.split_at(16 * 1024);
                        let written = socket.write_all(first).and_then(|()| {
                            sleep(Duration::from_millis(2));
                            socket.write_all(rest)
                        });
                        written.unwrap_or_else(|error| panic!("{what}: {error}"));
                        let answer = socket.answer().map(|answer| answer.status);
                        assert_eq!(answer, Some(status), "{what}");
                    }
                }
            }
        }
    }
}
