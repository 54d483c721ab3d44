//! The layer without axum: a plain hyper service.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use number7_tests::{COMPLETED, sign, socket::Socket, verifier};
use number7_tower::{Delivery, VerifyNumber7};
use tokio::{net::TcpListener, task::spawn_blocking};
use tower::{ServiceBuilder, ServiceExt};

async fn handle(request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let delivery = request.extensions().get::<Delivery>().unwrap();
    Ok(Response::new(delivery.event().unwrap().name().to_owned().into()))
}

#[tokio::test]
async fn a_plain_hyper_service_receives() {
    let service = ServiceBuilder::new()
        .layer(VerifyNumber7::new(verifier()).put_back_as::<Full<Bytes>>())
        .service_fn(handle);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let io = TokioIo::new(listener.accept().await.unwrap().0);
            let service = TowerToHyperService::new(service.clone().boxed_clone());
            tokio::spawn(http1::Builder::new().serve_connection(io, service));
        }
    });
    spawn_blocking(move || {
        for (signature, status, body) in
            [(sign(COMPLETED), 200, "job.completed"), (sign("another body"), 401, "")]
        {
            let mut socket = Socket::connect(addr);
            socket.write_head(&signature, COMPLETED.len());
            socket.write(COMPLETED);
            let answer = socket.answer().unwrap();
            assert_eq!((answer.status, &*answer.body), (status, body));
        }
    })
    .await
    .unwrap();
    server.abort();
}
