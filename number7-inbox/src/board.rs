mod change;
mod chart;
mod event;
mod failure;
mod headers;
mod host;
mod json;
mod list;
mod overdue;
mod overview;
mod page;
mod pause;
mod request;
mod text;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn_with_state, map_response},
    routing::get,
};
use tower_http::csrf::CsrfLayer;

use crate::inbox::Inbox;

/// A page for operators, as a [`Router`] of axum. It shows how much is in an inbox, what is stuck and why, and each event with
/// its bytes, errors and signatures. If you [allow actions](Self::allow_actions), operators can also requeue, rerun, run now
/// and discard events, and pause and resume the inbox.
///
/// **It has no login.** Anybody who reaches it sees every event, and may change them if you allow actions. So serve it on the
/// loopback, or mount it behind your own authentication, as in the example. `number7 inbox board` serves it without
/// a program of your own, and asks for a password.
///
/// It answers only requests whose `Host` is `localhost`, `127.0.0.1`, `[::1]` or one that you [name](Self::host), so that
/// another site cannot read it by DNS rebinding. Its pages have no script, load nothing from elsewhere, and work at any path.
///
/// # Example
///
/// ```
/// use axum::{
///     Router,
///     extract::Request,
///     http::StatusCode,
///     middleware::{Next, from_fn},
///     response::Response,
/// };
/// use number7_inbox::{Board, Inbox};
///
/// fn app(inbox: Inbox) -> Router {
///     let board = Board::new(inbox).host("ops.example.com").allow_actions();
///     Router::new().nest("/ops/board", board.router().layer(from_fn(operators_only)))
/// }
///
/// async fn operators_only(request: Request, next: Next) -> Result<Response, StatusCode> {
///     match is_operator(&request) {
///         true => Ok(next.run(request).await),
///         false => Err(StatusCode::UNAUTHORIZED),
///     }
/// }
/// # fn is_operator(_: &Request) -> bool { false }
/// # _ = app;
/// ```
#[derive(Clone, Debug)]
#[must_use = "it serves nothing before its router is mounted"]
pub struct Board {
    inboxes: Vec<Inbox>,
    hosts: Vec<String>,
    allows_actions: bool,
}

type Shared = Arc<Board>;

impl Board {
    /// The board of an inbox. It changes nothing unless you [allow actions](Self::allow_actions).
    pub fn new(inbox: Inbox) -> Self {
        let hosts = host::LOOPBACK.map(str::to_owned).to_vec();
        Self { inboxes: vec![inbox], hosts, allows_actions: false }
    }

    /// Shows one more inbox, such as one with another [name](Inbox::named) in the same store.
    ///
    /// # Panics
    ///
    /// It shows an inbox of this name already.
    pub fn also(mut self, inbox: Inbox) -> Self {
        let is_new = self.inbox(&inbox.name).is_none();
        assert!(is_new, "a board cannot show two inboxes that are both named {:?}", inbox.name);
        self.inboxes.push(inbox);
        self
    }

    /// Also answers requests for this host: a name or an address, without a port.
    ///
    /// # Panics
    ///
    /// It [is not a host](Self::is_host).
    pub fn host(mut self, host: impl AsRef<str>) -> Self {
        let name = host::normalized(host.as_ref());
        self.hosts.push(name.expect("a host is a name or an address, without a scheme or a port"));
        self
    }

    /// Whether [`host`](Self::host) accepts this.
    #[must_use]
    pub fn is_host(host: &str) -> bool {
        host::normalized(host).is_some()
    }

    /// Lets those who reach the board requeue, rerun, run now and discard events, and pause and resume the inboxes. Each action
    /// first shows what it will do. Requests from a page of another site are refused.
    pub fn allow_actions(mut self) -> Self {
        self.allows_actions = true;
        self
    }

    /// The router. Serve it, or [nest](Router::nest) it at a path of another one.
    pub fn router(self) -> Router {
        let board = Arc::new(self);
        let mut pages = Router::new()
            .route("/", get(overview::enter))
            .route("/overview", get(overview::show))
            .route("/list", get(list::show))
            .route("/overdue", get(overdue::show))
            .route("/event", get(event::show))
            .route("/board.css", get(page::style));
        if board.allows_actions {
            pages = pages
                .route("/change", get(change::plan).post(change::run))
                .route("/pause", get(pause::plan).post(pause::run))
                .route("/resume", get(pause::plan_end).post(pause::end));
        }
        pages
            .fallback(failure::not_found)
            .layer(CsrfLayer::new().with_rejection_response(failure::other_site))
            .layer(from_fn_with_state(Arc::clone(&board), host::check))
            .layer(map_response(headers::add))
            .with_state(board)
    }

    fn inbox(&self, name: &str) -> Option<&Inbox> {
        self.inboxes.iter().find(|inbox| *inbox.name == *name)
    }
}
