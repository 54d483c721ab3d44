//! A chart of how many events were handled.

use maud::{Markup, html};

use super::text::number;

const HEIGHT: u64 = 40;

/// The distance between two bars.
const STEP: usize = 20;

/// A bar for each of the last minutes, the oldest first.
pub(super) fn bars(minutes: &[u64]) -> Markup {
    let most = minutes.iter().copied().max().unwrap_or_default();
    let numbers = minutes.iter().map(|events| number(*events)).collect::<Vec<_>>().join(", ");
    let name = format!("Events handled in each of the last {} minutes: {numbers}", minutes.len());
    html! {
        svg.chart role="img" aria-label=(name) viewBox={ "0 0 " (minutes.len() * STEP) " " (HEIGHT) } preserveAspectRatio="none" {
            title { (name) }
            @for (place, events) in minutes.iter().enumerate() {
                // At least a line, so that a few events differ from none.
                @let height = if *events == 0 { 0 } else { (events.saturating_mul(HEIGHT - 2) / most).max(1) };
                rect x=(place * STEP + 2) y=(HEIGHT - 1 - height) width=(STEP - 4) height=(height) {}
            }
            line x1="0" x2=(minutes.len() * STEP) y1=(HEIGHT - 1) y2=(HEIGHT - 1) {}
        }
    }
}
