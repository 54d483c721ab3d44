//! The forms that the commonest serializers give to JSON: those of JavaScript, Python, PHP, Go, Java and .NET.

/// The white space of a serializer.
pub(super) struct Layout {
    pub(super) name: &'static str,
    /// The indentation of each level, in front of each value. `None` if all is on one line.
    pub(super) indent: Option<&'static str>,
    pub(super) line: &'static str,
    pub(super) comma: &'static str,
    pub(super) colon: &'static str,
    /// Whether lists stay on one line, with a space inside their brackets.
    pub(super) flat_lists: bool,
}

impl Layout {
    const fn one_line(name: &'static str, comma: &'static str, colon: &'static str) -> Self {
        Self { name, indent: None, line: "", comma, colon, flat_lists: false }
    }

    const fn lines(name: &'static str, indent: &'static str) -> Self {
        let (line, comma, colon) = ("\n", ",", ": ");
        Self { name, indent: Some(indent), line, comma, colon, flat_lists: false }
    }

    /// The end of a file.
    pub(super) fn line_end(&self) -> &'static str {
        if self.line.is_empty() { "\n" } else { self.line }
    }
}

pub(super) const LAYOUTS: [Layout; 7] = [
    Layout::one_line(
        "what was signed is compact, as JavaScript's JSON.stringify writes it",
        ",",
        ":",
    ),
    Layout::one_line(
        "what was signed has \", \" and \": \", as Python's json.dumps writes it",
        ", ",
        ": ",
    ),
    Layout::lines("what was signed is indented by 2", "  "),
    Layout::lines("what was signed is indented by 4", "    "),
    Layout::lines("what was signed is indented by tabs", "\t"),
    Layout {
        line: "\r\n",
        ..Layout::lines("what was signed is indented by 2, with Windows' line endings", "  ")
    },
    Layout {
        colon: " : ",
        flat_lists: true,
        ..Layout::lines("what was signed is indented by 2, as Java's Jackson writes it", "  ")
    },
];

/// The characters that a serializer escapes although it need not.
pub(super) struct Escapes {
    pub(super) name: &'static str,
    /// `None` leaves each string as it arrived.
    pub(super) needs: Option<fn(char) -> bool>,
    /// A slash gets a backslash.
    pub(super) slash: bool,
    /// A `\u` escape has upper-case digits.
    pub(super) upper: bool,
}

impl Escapes {
    const fn of(name: &'static str, needs: fn(char) -> bool) -> Self {
        Self { name, needs: Some(needs), slash: false, upper: false }
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

pub(super) const ESCAPES: [Escapes; 7] = [
    Escapes { needs: None, ..Escapes::of("", |_| false) },
    Escapes::of(", with nothing escaped that need not be", |_| false),
    Escapes::of(", with non-ASCII escaped, as Python does", |c| !(' '..='~').contains(&c)),
    Escapes {
        slash: true,
        ..Escapes::of(", with / and non-ASCII escaped, as PHP does", |c| !c.is_ascii())
    },
    Escapes::of(", with <, > and & escaped, as Go does", |c| {
        matches!(c, '<' | '>' | '&') || is_separator(c)
    }),
    Escapes::of(", with <, >, &, = and ' escaped, as Java's Gson does", |c| {
        matches!(c, '<' | '>' | '&' | '=' | '\'') || is_separator(c)
    }),
    Escapes {
        upper: true,
        ..Escapes::of(", with non-ASCII and HTML escaped, as .NET does", |c| {
            !(' '..='~').contains(&c) || "<>&'\"+`".contains(c)
        })
    },
];
