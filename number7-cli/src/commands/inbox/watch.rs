//! Shows the inbox again and again.

use std::{io::IsTerminal, time::Duration};

use number7_inbox::{Filter, Inbox, State};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::text;
use crate::{
    BoxError, Verdict,
    output::{BAD, FAINT, Output, line, styled},
};

/// How many events of a state are shown.
const SHOWN: u32 = 5;

/// Clears the screen, and moves the cursor to the top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Runs until it is interrupted. People watch when something is wrong, so a failing store does not end it.
pub(crate) async fn run(
    inbox: Inbox,
    interval: Duration,
    output: Output,
) -> Result<Verdict, BoxError> {
    loop {
        let look = look(&inbox, output).await.unwrap_or_else(|error| match output.is_json() {
            true => json!({ "error": error.to_string() }).to_string(),
            false => styled(BAD, error),
        });
        let is_screen = !output.is_json() && std::io::stdout().is_terminal();
        line(&if is_screen { format!("{CLEAR}{look}") } else { look });
        sleep(interval).await;
    }
}

async fn look(inbox: &Inbox, output: Output) -> Result<String, BoxError> {
    let stats = inbox.stats().await?;
    let pauses = super::pauses(inbox, &stats).await?;
    let mut parts = vec![text::stats(&stats, &pauses)];
    super::say_if_empty(&stats, output);
    let mut json = text::stats_json(&stats, &pauses);
    for state in State::ALL.into_iter().filter(|state| *state != State::Done) {
        let entries = inbox.list(state, &Filter::new(), None, SHOWN).await?.entries;
        json[format!("{state}_entries")] = entries.iter().map(text::json).collect::<Value>();
        if !entries.is_empty() {
            parts.push(styled(FAINT, format!("\n{state}, the oldest:")));
            parts.extend(entries.iter().map(text::line));
            let more = stats.of(state).saturating_sub(entries.len() as u64);
            if more > 0 {
                parts.push(styled(FAINT, format!("{more} more")));
            }
        }
    }
    Ok(if output.is_json() { json!(json).to_string() } else { parts.join("\n") })
}
