//! Bodies that do not simply arrive: they stall, drip, break off and lie, on real sockets.
#![allow(clippy::unwrap_used)]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use number7_core::{DEFAULT_BODY_DEADLINE, DEFAULT_BODY_LIMIT, DEFAULT_MAX_HELD_BODIES, Verifier};
use number7_tests::{COMPLETED, in_process::saw, server::Server, sign, socket::Socket, verifier};

/// Short for the tests, and long enough that no busy machine misses it where it must not.
const DEADLINE: Duration = Duration::from_millis(600);

fn impatient() -> Verifier {
    verifier().body_deadline(DEADLINE)
}

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
    socket.write_head(&sign(COMPLETED), COMPLETED.len());
    socket.write(COMPLETED);
    let answer = socket.answer().unwrap();
    let expected = (200, saw("job.completed"));
    assert_eq!((answer.status, answer.body), expected, "{}", server.framework);
}

/// Sends a request's head, lets the test go on with the body, and expects 408 not before the
/// deadline, whatever the body does.
#[track_caller]
fn assert_408(server: &Server, length: usize, mut body: impl FnMut(&mut Socket)) {
    let start = Instant::now();
    let mut socket = Socket::connect(server.addr);
    socket.write_head(&sign(COMPLETED), length);
    body(&mut socket);
    let answer = socket.answer().unwrap();
    assert_eq!((answer.status, &*answer.body), (408, ""), "{}", server.framework);
    assert!(start.elapsed() >= DEADLINE, "{} answered early", server.framework);
}

#[test]
fn a_body_that_never_begins_is_answered_408() {
    for server in Server::both(impatient) {
        assert_408(&server, COMPLETED.len(), |_| {});
    }
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    for server in Server::both(impatient) {
        assert_408(&server, COMPLETED.len(), |socket| socket.write(&COMPLETED[..50]));
    }
}

#[test]
fn a_body_that_drips_is_answered_408_by_the_total_time() {
    for server in Server::both(impatient) {
        assert_408(&server, COMPLETED.len(), |socket| {
            // It has bytes for 16 deadlines, and stops at the answer, which has to come long before.
            let start = Instant::now();
            for byte in COMPLETED.bytes() {
                if socket.is_answered() {
                    break;
                }
                socket.write([byte]);
                sleep(DEADLINE / 8);
            }
            assert!(start.elapsed() < DEADLINE * 8, "{}", server.framework);
        });
    }
}

#[test]
fn a_length_that_is_more_than_the_body_is_answered_408() {
    for server in Server::both(impatient) {
        assert_408(&server, COMPLETED.len() + 1, |socket| socket.write(COMPLETED));
    }
}

#[test]
fn a_length_that_is_less_than_the_body_is_answered_401() {
    for server in Server::both(impatient) {
        let mut socket = Socket::connect(server.addr);
        socket.write_head(&sign(COMPLETED), COMPLETED.len() - 1);
        socket.write(COMPLETED);
        assert_eq!(socket.answer().unwrap().status, 401, "{}", server.framework);
    }
}

#[test]
fn a_body_that_arrives_late_but_in_time_is_accepted() {
    for server in Server::both(verifier) {
        let mut socket = stalled(&server);
        sleep(Duration::from_millis(100));
        socket.write(&COMPLETED[50..]);
        assert_eq!(socket.answer().unwrap().status, 200, "{}", server.framework);
    }
}

#[test]
fn a_body_that_breaks_off_is_never_accepted() {
    for server in Server::both(verifier) {
        let mut socket = stalled(&server);
        socket.end();
        // Whether a server still answers a sender that is half gone is its own affair.
        if let Some(answer) = socket.answer() {
            assert_eq!(answer.status, 400, "{}", server.framework);
        }
    }
}

#[test]
fn broken_chunks_are_never_accepted() {
    for server in Server::both(verifier) {
        for chunk in ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n"] {
            let mut socket = Socket::connect(server.addr);
            socket.write(format!(
                "POST /webhook HTTP/1.1\r\nhost: test\r\nx-number7ai-signature: {}\r\n\
                 transfer-encoding: chunked\r\n\r\n{chunk}",
                sign("{}")
            ));
            if let Some(answer) = socket.answer() {
                assert_eq!(answer.status, 400, "{}: {chunk:?}", server.framework);
            }
        }
    }
}

#[test]
fn a_signature_in_a_trailer_is_none() {
    for server in Server::both(verifier) {
        let mut socket = Socket::connect(server.addr);
        socket.write(format!(
            "POST /webhook HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\
             trailer: x-number7ai-signature\r\n\r\n2\r\n{{}}\r\n0\r\nx-number7ai-signature: {}\r\n\r\n",
            sign("{}")
        ));
        assert_eq!(socket.answer().unwrap().status, 401, "{}", server.framework);
    }
}

#[test]
fn a_declared_length_over_the_limit_is_answered_before_the_body() {
    for server in Server::both(verifier) {
        for length in [DEFAULT_BODY_LIMIT + 1, 10_000_000_000, usize::MAX / 2] {
            let mut socket = Socket::connect(server.addr);
            socket.write_head(&sign(COMPLETED), length);
            assert_eq!(socket.answer().unwrap().status, 413, "{}: {length}", server.framework);
        }
    }
}

#[test]
fn a_body_that_is_not_wanted_is_not_asked_for() {
    for server in Server::both(verifier) {
        let mut socket = Socket::connect(server.addr);
        socket.write("POST /webhook HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
        let mut status = socket.answer().unwrap().status;
        if server.framework == "actix-web" {
            // It asks for every body before any middleware can object.
            assert_eq!(status, 100);
            status = socket.answer().unwrap().status;
        }
        assert_eq!(status, 401, "{}", server.framework);
    }
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
    for server in Server::both(|| verifier().max_held_bodies(3).body_deadline(deadline)) {
        let mut held: Vec<_> = (0..4).map(|_| stalled(&server)).collect();
        // Nobody is answered before the deadline but the one for whom there is no place.
        let refused = loop {
            match held.iter().position(Socket::is_answered) {
                Some(refused) => break refused,
                None => sleep(Duration::from_millis(5)),
            }
        };
        let answer = held.remove(refused).answer().unwrap();
        assert_eq!((answer.status, &*answer.body), (503, ""), "{}", server.framework);
        assert_eq!(answer.header("retry-after"), Some("1"), "{}", server.framework);
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
        // It takes the server a moment to see that they are gone.
        let mut socket = stalled(&server);
        sleep(Duration::from_millis(50));
        while socket.is_answered() && start.elapsed() < DEFAULT_BODY_DEADLINE {
            assert_eq!(socket.answer().unwrap().status, 503, "{}", server.framework);
            socket = stalled(&server);
            sleep(Duration::from_millis(50));
        }
        socket.write(&COMPLETED[50..]);
        assert_eq!(socket.answer().unwrap().status, 200, "{}", server.framework);
        assert!(start.elapsed() < DEFAULT_BODY_DEADLINE, "the deadline gave it back");
    }
}
