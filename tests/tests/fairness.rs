//! During the search for the cause of a mismatch, the thread serves others.
#![allow(clippy::unwrap_used)]

use std::{cell::Cell, rc::Rc, time::SystemTime};

use actix_web::{App, dev::Service, test as actix_test};
use axum::{body::Body, http::Request};
use number7_core::{SIGNATURE_HEADER, Verifier};
use number7_tests::{
    COMPLETED,
    in_process::{actix_app, axum_app},
    sign, verifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};
use tower::ServiceExt;

/// How many round trips another connection makes during one diagnosis of some hundred steps. With a search that has
/// no steps, it makes none.
const ROUND_TRIPS: u32 = 100;

fn diagnosing() -> Verifier {
    verifier().clock(|| SystemTime::UNIX_EPOCH).diagnose()
}

/// A body that makes a diagnosis as long as possible.
fn large_body() -> String {
    COMPLETED.replace("job_abc123", &"x".repeat(16_000))
}

/// Counts the round trips of a connection on this thread, until it is dropped.
async fn other_connection() -> Rc<Cell<u32>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().await.unwrap().0;
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let trips = Rc::new(Cell::new(0));
    let counted = Rc::clone(&trips);
    spawn_local(echo(server, || ()));
    spawn_local(async move {
        let mut client = client;
        client.write_all(b"x").await.unwrap();
        echo(client, || counted.set(counted.get() + 1)).await;
    });
    trips
}

async fn echo(mut stream: TcpStream, mut each: impl FnMut()) {
    while let Ok(byte) = stream.read_u8().await {
        each();
        stream.write_u8(byte).await.unwrap();
    }
}

#[tokio::test]
async fn axum_serves_others_during_a_diagnosis() {
    let serve = async {
        let trips = other_connection().await;
        let request = Request::post("/webhook").header(SIGNATURE_HEADER, sign("{}"));
        let request = request.body(Body::from(large_body())).unwrap();
        let response = spawn_local(axum_app(diagnosing()).oneshot(request)).await.unwrap().unwrap();
        (response.status().as_u16(), trips.get())
    };
    let local = LocalSet::new();
    let (status, trips) = local.run_until(serve).await;
    assert_eq!(status, 401);
    assert!(trips >= ROUND_TRIPS, "{trips} round trips");
}

#[actix_web::test]
async fn actix_serves_others_during_a_diagnosis() {
    let serve = async {
        let app = actix_test::init_service(App::new().configure(actix_app(diagnosing()))).await;
        let trips = other_connection().await;
        let request = actix_test::TestRequest::post().uri("/webhook").set_payload(large_body());
        let request = request.insert_header((SIGNATURE_HEADER, sign("{}"))).to_request();
        let response = spawn_local(app.call(request)).await.unwrap().unwrap();
        (response.status().as_u16(), trips.get())
    };
    let (status, trips) = serve.await;
    assert_eq!(status, 401);
    assert!(trips >= ROUND_TRIPS, "{trips} round trips");
}
