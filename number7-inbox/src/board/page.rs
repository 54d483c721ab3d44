//! What all pages have in common.

use axum::{http::header, response::IntoResponse};
use maud::{DOCTYPE, Markup, html};

use super::text::{readable, visible};
use crate::inbox::Inbox;

/// A page. Its title may contain text of strangers.
pub(super) fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (readable(title)) " · inbox board" }
                link rel="stylesheet" href="board.css";
            }
            body {
                header { nav aria-label="Board" { a href="overview" { "Inbox board" } } }
                main { h1 { (visible(title)) } (content) }
            }
        }
    }
}

/// The label of an inbox: the kind of its store, and its name if it has one.
pub(super) fn label(inbox: &Inbox) -> String {
    match &*inbox.name {
        "" => inbox.store.kind().to_owned(),
        name => format!("{name} ({})", inbox.store.kind()),
    }
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("board.css"))
}
