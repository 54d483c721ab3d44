//! What the errors of Redis mean.

use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::model::error::{InboxError, InboxErrorKind};

/// Whether another connection may do better after this error: the connection is broken, or its server has changed its role.
pub(super) fn serves_no_more(error: &RedisError) -> bool {
    let of_another_server = matches!(
        code(error),
        Some(
            "NOAUTH"
                | "WRONGPASS"
                | "NOPERM"
                | "LOADING"
                | "MASTERDOWN"
                | "READONLY"
                | "MISCONF"
                | "NOREPLICAS"
                | "UNBLOCKED"
                | "CLUSTERDOWN"
                | "MOVED"
        )
    );
    let is_broken =
        matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed);
    of_another_server || is_broken
}

/// The code of an error. Before Redis 7, the error of a script has the code in its text.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && let Some((_, inner)) = error.detail().and_then(|detail| detail.rsplit_once(": -"))
    {
        return inner.split_once(' ').map(|(code, _)| code);
    }
    error.code()
}

/// Whether an error is about the user or the password.
pub(super) fn is_authentication(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(code(error), Some("NOAUTH" | "WRONGPASS"))
        // The error for the choice of a database.
        || error.detail().is_some_and(|detail| detail.contains("Authentication required"))
}

pub(super) fn timed_out() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// The errors of Redis, by kind.
impl From<RedisError> for InboxError {
    fn from(error: RedisError) -> Self {
        if is_authentication(&error) {
            let said = match error.kind() {
                // The rest of its text adds nothing.
                ErrorKind::AuthenticationFailed => {
                    "Redis refused the user or the password".to_owned()
                }
                _ => error.to_string(),
            };
            return Self::new(InboxErrorKind::Refused, format!("authentication failed: {said}"));
        }
        let kind = match code(&error) {
            Some("READONLY" | "NOREPLICAS") => InboxErrorKind::ReadOnly,
            Some("LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "UNBLOCKED") => {
                InboxErrorKind::Unreachable
            }
            // The disk of the append-only file or of the snapshot is full or broken.
            Some("OOM" | "MISCONF") => InboxErrorKind::Full,
            _ if error.is_timeout() => InboxErrorKind::TooSlow,
            _ if error.is_io_error() || error.is_connection_dropped() => {
                InboxErrorKind::Unreachable
            }
            _ => InboxErrorKind::Refused,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn error(line: &str) -> RedisError {
        parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn what_is_refused_by_another_server_is_told_from_what_is_wrong() {
        let refused = [
            ("NOAUTH Authentication required.", InboxErrorKind::Refused),
            ("WRONGPASS invalid username-password pair", InboxErrorKind::Refused),
            ("NOPERM this user has no permissions", InboxErrorKind::Refused),
            ("LOADING Redis is loading the dataset in memory", InboxErrorKind::Unreachable),
            ("MASTERDOWN Link with MASTER is down", InboxErrorKind::Unreachable),
            ("READONLY You can't write against a read only replica.", InboxErrorKind::ReadOnly),
            (
                "ERR Error running script (call to f_1): @user_script:5: @user_script: 5: \
                -READONLY You can't write against a read only replica.",
                InboxErrorKind::ReadOnly,
            ),
            ("MISCONF Redis is configured to save RDB snapshots", InboxErrorKind::Full),
        ];
        for (line, kind) in refused {
            let error = error(line);
            assert!(serves_no_more(&error), "{line}");
            let error = InboxError::from(error);
            assert_eq!(error.kind(), kind, "{line}");
            let is_authentication = line.starts_with("NOAUTH") || line.starts_with("WRONGPASS");
            assert_eq!(error.to_string().contains("authentication"), is_authentication, "{error}");
        }
        for line in ["OOM command not allowed", "ERR unknown command", "WRONGTYPE Operation"] {
            assert!(!serves_no_more(&error(line)), "{line}");
        }
    }
}
