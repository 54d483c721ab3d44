//! The layer without axum: a plain hyper service.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use number7_tests::{COMPLETED, sign, socket::Socket, verifier};
use number7_tower::{Delivery, VerifyNumber7};
use tokio::{net::TcpListener, task::spawn_blocking};
use tower::{ServiceBuilder, ServiceExt};

/// hyper's `Incoming` cannot be made from bytes, so the request's body is either of the two.
enum RequestBody {
    Incoming(Incoming),
    Verified(Full<Bytes>),
}

impl From<Bytes> for RequestBody {
    fn from(body: Bytes) -> Self {
        Self::Verified(body.into())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Incoming(body) => Pin::new(body).poll_frame(cx),
            Self::Verified(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }
}

async fn handle(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let delivery = request.extensions().get::<Delivery>().unwrap();
    Ok(Response::new(delivery.event().unwrap().name().to_owned().into()))
}

#[tokio::test]
async fn a_plain_hyper_service_receives() {
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(RequestBody::Incoming))
        .layer(VerifyNumber7::new(verifier()))
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
