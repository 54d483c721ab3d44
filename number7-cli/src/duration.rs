//! Durations, as people write them.

use std::time::Duration;

/// Such as `500ms`, `30s` or `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    duration.and_then(|duration| duration.try_into().ok()).ok_or("not a time, such as 30s")
}
