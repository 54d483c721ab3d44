//! The table of answers, put to both frameworks in process and over real sockets.
#![allow(clippy::unwrap_used)]

use number7_core::RejectionKind;
use number7_tests::{
    COMPLETED,
    cases::{self, Answer},
    in_process::{actix, axum, saw},
    server::Server,
    socket::Socket,
    verifier,
};

#[tokio::test]
async fn axum_answers_as_the_table_says() {
    for case in cases::table() {
        axum(verifier(), &case).await.assert("axum", &case);
    }
}

#[actix_web::test]
async fn actix_answers_as_the_table_says() {
    for case in cases::table() {
        actix(verifier(), &case).await.assert("actix-web", &case);
    }
}

#[test]
fn real_sockets_are_answered_as_the_table_says() {
    for server in Server::both(verifier) {
        for case in cases::table() {
            let mut socket = Socket::connect(server.addr);
            socket.write_case(&case);
            let answer = socket.answer().unwrap_or_else(|| panic!("no answer to {}", case.name));
            let expected = match case.answer {
                Answer::Accepted(event) => (200, saw(event)),
                Answer::Refused(status, _) => (status, String::new()),
            };
            assert_eq!(
                (answer.status, answer.body),
                expected,
                "{}: {}",
                server.framework,
                case.name
            );
        }
    }
}

#[test]
fn a_connection_goes_on_after_a_good_delivery() {
    let good = cases::case("good", COMPLETED, Answer::Accepted("job.completed"));
    for server in Server::both(verifier) {
        let mut socket = Socket::connect(server.addr);
        for _ in 0..3 {
            socket.write_case(&good);
            assert_eq!(socket.answer().unwrap().status, 200, "{}", server.framework);
        }
    }
}

#[test]
fn every_401_is_the_same_bytes() {
    for server in Server::both(verifier) {
        let unauthorized = cases::table()
            .into_iter()
            .filter(|case| matches!(case.answer, Answer::Refused(401, _)));
        let mut answers: Vec<_> = unauthorized
            .map(|case| {
                let mut socket = Socket::connect(server.addr);
                socket.write_case(&case);
                let mut answer = socket.answer().unwrap();
                answer.headers.retain(|(name, _)| name != "date");
                answer
            })
            .collect();
        assert!(answers.len() > 20);
        answers.dedup();
        assert_eq!(answers.len(), 1, "{}: {answers:#?}", server.framework);
    }
}

#[tokio::test]
async fn only_the_reason_tells_one_401_from_another() {
    let mut kinds = Vec::new();
    for case in cases::table() {
        let response = axum(verifier(), &case).await;
        if response.status == 401 {
            assert_eq!(response.headers, [("content-length".to_owned(), "0".to_owned())]);
            kinds.extend(response.rejection);
        }
    }
    for kind in [
        RejectionKind::MissingSignature,
        RejectionKind::RepeatedSignature,
        RejectionKind::MalformedSignature,
        RejectionKind::SignatureMismatch,
    ] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

#[test]
fn the_table_is_the_same_wherever_it_is_documented() {
    let table = |readme: &'static str| {
        let table = readme.split("| check | answer |").nth(1).unwrap();
        table.lines().skip(1).take_while(|line| line.starts_with('|')).collect::<Vec<_>>()
    };
    let of_the_project = table(include_str!("../../README.md"));
    assert_eq!(table(include_str!("../../number7-core/README.md")), of_the_project);
    assert_eq!(of_the_project.len(), 16);
}
