//! Pages for what cannot be shown.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;
use tower_http::csrf::ProtectionError;

use super::{page::page, text::visible};
use crate::model::error::{InboxError, InboxErrorKind};

/// Why there is no page.
pub(super) struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

pub(super) async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "There is no such page.")
}

/// The answer to a form of another site.
pub(super) fn other_site(_: ProtectionError) -> Response {
    let text = "This request does not come from a page of this board, so nothing was changed. If it does, a proxy \
        has changed its headers: let it pass Host, Origin and Sec-Fetch-Site on as they are.";
    Failure::new(StatusCode::FORBIDDEN, text).into_response()
}

impl From<InboxError> for Failure {
    fn from(error: InboxError) -> Self {
        let status = match error.kind() {
            InboxErrorKind::Invalid => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let title = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => "The store does not answer",
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::MISDIRECTED_REQUEST => "Not this host",
            _ => "This cannot be done",
        };
        let page = page(title, html! { p.bad role="alert" { (visible(&self.text)) } });
        (self.status, page).into_response()
    }
}
