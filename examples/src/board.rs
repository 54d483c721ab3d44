//! apalis' dashboard over the store of an inbox, to look at and not to change.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use apalis_board::axum::{
    framework::{ApiBuilder, RegisterRoute},
    sse::TracingBroadcaster,
    ui::ServeUI,
};
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{
        Method, StatusCode,
        header::{ALLOW, HOST},
        uri::Authority,
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use number7_inbox::Inbox;

use crate::Failure;

/// The queue of an inbox without a name.
const QUEUE: &str = "number7";

/// The dashboard at `/` and its API at `/api/v1`, for a server that listens at this address.
///
/// It has no login. Whoever reaches it sees every event.
///
/// It opens the store a second time. Some of its pages count all events, which takes seconds if there
/// are a million. On the connections of the receiver's inbox nothing could be accepted meanwhile.
///
/// # Errors
///
/// The store cannot be opened, or is Redis, of which apalis-redis 1.0 shows the dashboard zeros and
/// errors.
pub async fn board(store: &str, addr: SocketAddr) -> Result<Router, Failure> {
    let inbox = Inbox::open(store).await?;
    let api = ApiBuilder::new(Router::new());
    let api = if let Some(storage) = inbox.sqlite_storage() {
        api.register(QUEUE, storage)
    } else if let Some(storage) = inbox.postgres_storage() {
        api.register(QUEUE, storage)
    } else {
        let text = "the dashboard cannot show an inbox on Redis: use `number7 inbox watch`";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text).into());
    };
    // The dashboard says that the system is unhealthy if it gets no stream of log entries. This one stays
    // empty, because it is for the log of apalis' own workers.
    let api = api.build().layer(Extension(TracingBroadcaster::create()));
    Ok(Router::new()
        .nest("/api/v1", api.fallback(StatusCode::NOT_FOUND))
        .fallback_service(ServeUI::new())
        .layer(from_fn_with_state(addr.ip(), refuse)))
}

/// Refuses what writes: the API could put events into the inbox that nobody has signed. On the
/// loopback it also refuses pages of other sites, which reach it by a name of theirs.
async fn refuse(State(ip): State<IpAddr>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if ip.to_canonical().is_loopback() && !host.is_some_and(is_local) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

/// Whether a `Host` names the loopback, at any port: a tunnel may begin at another one.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}
