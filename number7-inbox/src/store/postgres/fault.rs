//! What an error says about the connection that it came from.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is fine: the statement would fail on any connection.
    OfStatement,
    /// The connection is fine: the statement collided with another one, and had no effect. It should be tried again.
    Conflict,
    /// This session does not serve, but another one may: its prepared statements, or its knowledge of types and schemas, are
    /// out of date. The statement had no effect.
    OfSession,
    /// The server does not serve, but there may be another one at its address by now. The statement had no effect.
    OfServer,
    /// The server has ended the session. The statement had no effect, unless the server said that it is complete, because it is
    /// committed only after that.
    Ended,
    /// The connection is broken, or in an unknown state. The statement may have had its effect.
    Broken,
}

impl Fault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(error) = error else { return Self::Broken };
        let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return Self::Broken };
        match error.severity() {
            PgSeverity::Fatal if ["57P01", "57P05"].contains(&error.code()) => Self::Ended,
            PgSeverity::Fatal | PgSeverity::Panic => Self::Broken,
            _ => Self::of_code(error.code()),
        }
    }

    /// An error after which the session continues.
    fn of_code(code: &str) -> Self {
        /// Data, constraints, resources, limits, exceptions of triggers, locks, and the time limit.
        const OF_STATEMENTS: [&str; 7] = ["22", "23", "53", "54", "55", "P0", "57014"];
        match code {
            "40001" | "40P01" => Self::Conflict,
            // A standby, or a database that was made read-only; a server that is shutting down or starting.
            "25006" | "57P01" | "57P02" | "57P03" => Self::OfServer,
            _ if OF_STATEMENTS.iter().any(|class| code.starts_with(class)) => Self::OfStatement,
            // For example a prepared statement that is unknown (26000) or whose result has changed (0A000), or a table that
            // somebody has just moved or replaced (42…, XX000).
            _ => Self::OfSession,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SQLSTATE by PostgreSQL's names.
    #[test]
    fn an_error_says_what_it_is_about() {
        for (name, code, fault) in [
            ("untranslatable_character", "22P05", Fault::OfStatement),
            ("unique_violation", "23505", Fault::OfStatement),
            ("disk_full", "53100", Fault::OfStatement),
            ("program_limit_exceeded", "54000", Fault::OfStatement),
            ("lock_not_available", "55P03", Fault::OfStatement),
            ("raise_exception", "P0001", Fault::OfStatement),
            ("query_canceled", "57014", Fault::OfStatement),
            ("serialization_failure", "40001", Fault::Conflict),
            ("deadlock_detected", "40P01", Fault::Conflict),
            ("read_only_sql_transaction", "25006", Fault::OfServer),
            ("admin_shutdown", "57P01", Fault::OfServer),
            ("cached plan must not change result type", "0A000", Fault::OfSession),
            ("invalid_sql_statement_name", "26000", Fault::OfSession),
            ("in_failed_sql_transaction", "25P02", Fault::OfSession),
            ("undefined_function", "42883", Fault::OfSession),
            ("internal_error", "XX000", Fault::OfSession),
        ] {
            assert_eq!(Fault::of_code(code), fault, "{name}");
        }
        assert_eq!(Fault::of(&sqlx::Error::Protocol("unexpected message".into())), Fault::Broken);
    }
}
