//! The forms that serializers give to JSON.

/// The white space of a serializer.
pub(super) struct Layout {
    pub(super) name: &'static str,
    /// What stands in front of each value, once for each level; `None` if all is on one line.
    pub(super) indent: Option<&'static str>,
    pub(super) line: &'static str,
    pub(super) comma: &'static str,
    pub(super) colon: &'static str,
    /// Whether lists stay on one line.
    pub(super) flat_lists: bool,
    /// The space inside brackets that are on one line, or empty.
    pub(super) padding: &'static str,
}

impl Layout {
    const fn one_line(name: &'static str, comma: &'static str, colon: &'static str) -> Self {
        Self { name, indent: None, line: "", comma, colon, flat_lists: false, padding: "" }
    }

    const fn lines(name: &'static str, indent: &'static str) -> Self {
        Self {
            name,
            indent: Some(indent),
            line: "\n",
            comma: ",",
            colon: ": ",
            flat_lists: false,
            padding: "",
        }
    }

    const fn windows(self) -> Self {
        Self { line: "\r\n", ..self }
    }
}

const JACKSON: Layout = Layout {
    colon: " : ",
    flat_lists: true,
    padding: " ",
    ..Layout::lines("what was signed is indented by 2, as Java's Jackson writes it", "  ")
};

pub(super) const LAYOUTS: [Layout; 22] = [
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
    Layout::one_line("what was signed has a space behind each comma", ", ", ":"),
    Layout::one_line("what was signed has a space behind each colon", ",", ": "),
    Layout {
        padding: " ",
        ..Layout::one_line("what was signed has spaces within its braces", ", ", ": ")
    },
    Layout::lines("what was signed is indented by 2", "  "),
    Layout::lines("what was signed is indented by 4", "    "),
    Layout::lines("what was signed is indented by tabs", "\t"),
    Layout::lines("what was signed is indented by 2, with Windows' line endings", "  ").windows(),
    Layout::lines("what was signed is indented by 4, with Windows' line endings", "    ").windows(),
    JACKSON,
    JACKSON.windows(),
    Layout {
        colon: " : ",
        ..Layout::lines("what was signed is indented by 2, as Swift writes it", "  ")
    },
    Layout {
        colon: " : ",
        ..Layout::lines("what was signed is indented by 3, as Perl writes it", "   ")
    },
    Layout {
        comma: ", ",
        ..Layout::lines("what was signed is indented by 2, as Python 2 writes it", "  ")
    },
    Layout::lines("what was signed has lines without indentation", ""),
    Layout::lines("what was signed is indented by 1", " "),
    Layout::lines("what was signed is indented by 3", "   "),
    Layout::lines("what was signed is indented by 5", "     "),
    Layout::lines("what was signed is indented by 6", "      "),
    Layout::lines("what was signed is indented by 7", "       "),
    Layout::lines("what was signed is indented by 8", "        "),
];

/// Which characters a serializer escapes although it need not.
pub(super) struct Escapes {
    pub(super) name: &'static str,
    /// `None` leaves each text as it arrived.
    pub(super) needs: Option<fn(char) -> bool>,
    /// A slash gets a backslash.
    pub(super) slash: bool,
    /// Which characters have upper-case digits in their `\u` escape.
    pub(super) upper: fn(char) -> bool,
    /// A backspace is `\b`, and a form feed `\f`.
    pub(super) short: bool,
}

impl Escapes {
    const fn of(name: &'static str, needs: fn(char) -> bool) -> Self {
        Self { name, needs: Some(needs), slash: false, upper: |_| false, short: true }
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

const GO: fn(char) -> bool = |c| matches!(c, '<' | '>' | '&') || is_separator(c);

pub(super) const ESCAPES: [Escapes; 14] = [
    Escapes { needs: None, ..Escapes::of("", |_| false) },
    Escapes::of(", with nothing escaped that need not be", |_| false),
    Escapes::of(", with non-ASCII escaped, as Python does", |c| !(' '..='~').contains(&c)),
    Escapes {
        slash: true,
        ..Escapes::of(", with / and non-ASCII escaped, as PHP does", |c| !c.is_ascii())
    },
    Escapes { slash: true, ..Escapes::of(", with / escaped", is_separator) },
    Escapes::of(", with non-ASCII but not / escaped, as PHP can", |c| !c.is_ascii()),
    Escapes::of(", with <, > and & escaped, as Go does", GO),
    Escapes { short: false, ..Escapes::of(", with <, > and & escaped, as Go did", GO) },
    Escapes::of(", with <, >, &, = and ' escaped, as Java's Gson does", |c| {
        matches!(c, '<' | '>' | '&' | '=' | '\'') || is_separator(c)
    }),
    Escapes {
        upper: |_| true,
        ..Escapes::of(", with non-ASCII and HTML escaped, as .NET does", |c| {
            !(' '..='~').contains(&c) || "<>&'\"+`".contains(c)
        })
    },
    Escapes {
        upper: |_| true,
        ..Escapes::of(", with HTML escaped, as .NET can", |c| "<>&'\"+`\u{7f}".contains(c))
    },
    Escapes {
        slash: true,
        upper: |c| c.is_ascii(),
        ..Escapes::of(", with / and HTML escaped, as Symfony does", |c| {
            !c.is_ascii() || "<>&'\"".contains(c)
        })
    },
    Escapes {
        upper: |_| true,
        ..Escapes::of(", with control characters as Jackson does", |_| false)
    },
    Escapes::of(", with some characters escaped, as org.json does", |c| {
        ('\u{80}'..'\u{a0}').contains(&c) || ('\u{2000}'..'\u{2100}').contains(&c)
    }),
];

pub(super) const PYTHON: &str = "what was signed is the str() of a Python dict, and no JSON";
