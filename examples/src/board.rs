//! apalis' dashboard over the store of an inbox, to look at and not to change.

use std::{io, net::SocketAddr};

use apalis_board::axum::{
    framework::{ApiBuilder, RegisterRoute},
    ui::ServeUI,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header::HOST},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use number7_inbox::Inbox;

/// The queue of an inbox without a name.
const QUEUE: &str = "number7";

/// The dashboard at `/` and its API at `/api/v1`, for a server that listens at this address.
///
/// It has no login. Whoever reaches it sees every event.
///
/// # Errors
///
/// The inbox is on Redis, of which apalis-redis 1.0 shows the dashboard zeros and errors.
pub fn board(inbox: &Inbox, addr: SocketAddr) -> io::Result<Router> {
    let api = ApiBuilder::new(Router::new());
    let api = if let Some(storage) = inbox.sqlite_storage() {
        api.register(QUEUE, storage)
    } else if let Some(storage) = inbox.postgres_storage() {
        api.register(QUEUE, storage)
    } else {
        let text = "the dashboard cannot show an inbox on Redis: use `number7 inbox watch`";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    };
    Ok(Router::new()
        .nest("/api/v1", api.build())
        .fallback_service(ServeUI::new())
        .layer(from_fn_with_state(addr, refuse)))
}

/// Refuses what writes: the API could put events into the inbox that nobody has signed. On the
/// loopback it also refuses pages of other sites, which reach it by a name of theirs.
async fn refuse(State(addr): State<SocketAddr>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let local = [addr.to_string(), format!("localhost:{}", addr.port())];
    if addr.ip().is_loopback() && !local.iter().any(|local| Some(&**local) == host) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}
