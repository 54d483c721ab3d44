//! What is printed: text, colored on a terminal, or JSON.

use std::{error::Error, io::Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();

#[derive(Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the text, or the JSON.
    pub(crate) fn print(self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        match self.json {
            true => line(&json().to_string()),
            false => line(&text()),
        }
    }

    /// Prints a note for people, not for scripts.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            anstream::eprintln!("{FAINT}{text}{FAINT:#}");
        }
    }

    pub(crate) fn error(self, error: &(dyn Error + 'static)) {
        match self.json {
            true => anstream::eprintln!("{}", json!({ "error": error.to_string() })),
            false => anstream::eprintln!("{BAD}error:{BAD:#} {error}"),
        }
    }
}

/// Prints a line. It is not a failure if the reader has gone, as with `head`.
pub(crate) fn line(text: &str) {
    _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints a warning, also for scripts.
pub(crate) fn warn(text: &str) {
    let style = AnsiColor::Yellow.on_default();
    anstream::eprintln!("{style}warning:{style:#} {text}");
}

pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
