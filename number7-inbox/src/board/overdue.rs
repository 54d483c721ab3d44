//! The jobs whose result did not arrive in time.

use axum::extract::{Query, State as Shown};
use maud::{Markup, html};

use super::{
    Shared,
    failure::Failure,
    page::{label, page},
    request::Asked,
    text::{relative, visible},
};
use crate::model::overdue::OverdueJob;

/// How many jobs a page has at most.
const PAGE: u32 = 50;

pub(super) async fn show(
    Shown(board): Shown<Shared>,
    Query(asked): Query<Asked>,
) -> Result<Markup, Failure> {
    let inbox = asked.inbox(&board)?;
    let now = inbox.now().await?;
    let found = inbox.overdue(asked.cursor().as_ref(), PAGE).await?;
    let content = html! {
        p { (label(inbox)) ", the oldest first" }
        @if found.entries.is_empty() { p { "None." } }
        @else {
            table {
                thead { tr { th { "Job" } th { "Due" } th { "Fetches" } th { "Note" } } }
                tbody {
                    @for job in &found.entries {
                        tr {
                            th scope="row" data-label="Job" {
                                @if let Some(account) = job.account() { (account) "/" }
                                (visible(name(job)))
                            }
                            td data-label="Due" { (relative(job.due_at(), now)) }
                            td data-label="Fetches" { (job.fetches()) }
                            td data-label="Note" { (note(job)) }
                        }
                    }
                }
            }
        }
        @if let Some(next) = &found.next {
            p { a rel="next" href=(asked.clone().with("after", next).link("overdue")) { "Next page" } }
        }
    };
    Ok(page("Overdue jobs", content))
}

fn name(job: &OverdueJob) -> &str {
    job.upload().or_else(|| job.job_id().map(|id| id.as_str())).unwrap_or_default()
}

fn note(job: &OverdueJob) -> &'static str {
    match (job.upload(), job.is_given_up()) {
        (Some(_), _) => "an upload that was not bound to a job",
        (None, true) => "given up: the vendor does not know it, or its account has no client",
        (None, false) => "",
    }
}
