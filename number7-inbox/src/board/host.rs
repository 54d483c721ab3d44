//! The hosts that the board answers for.

use axum::{
    extract::{Request, State},
    http::{StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, failure::Failure};

pub(super) const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Refuses a request for an unknown host. Another site may have a name that resolves to this address, and could
/// otherwise read the answer.
pub(super) async fn check(State(board): State<Shared>, request: Request, next: Next) -> Response {
    let is_ours = |host: &str| board.hosts.iter().any(|known| host.eq_ignore_ascii_case(known));
    match hosts(&request) {
        Some(hosts) if hosts.iter().all(|host| is_ours(host.host())) => next.run(request).await,
        _ => {
            let text = "This board is not known by the host of your request. If the host is right, name it: \
                Board::host in a program, --host of number7 inbox board.";
            Failure::new(StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    }
}

/// The hosts in a request: one header, and also the target with HTTP/2 or through a proxy. `None` if there is none,
/// or if it is not a host.
fn hosts(request: &Request) -> Option<Vec<Authority>> {
    let headers = request.headers().get_all(header::HOST).iter();
    let named = headers.map(|host| Authority::try_from(host.as_bytes()).ok());
    let target = request.uri().authority().cloned().map(Some);
    named.chain(target).collect::<Option<Vec<_>>>().filter(|hosts| !hosts.is_empty())
}

/// A host in the form of [`Authority::host`]. `None` if it is not a host.
pub(super) fn normalized(host: &str) -> Option<String> {
    let is_bare_address = host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if is_bare_address { format!("[{host}]") } else { host.to_owned() };
    let authority: Authority = host.parse().ok()?;
    (authority.host() == host).then_some(host)
}
