//! The key by which repeated deliveries are recognized.

use std::fmt::{self, Write};

use crate::{Account, JobId};

/// The event's name and the job id, and the account if there are several accounts.
///
/// The vendor asks receivers to deduplicate by `jobId`, and sends no delivery id. The name is part of the key because a job can
/// fail first and be completed later: those are two events.
///
/// [`Display`](fmt::Display) writes `job.completed:job_abc123`. No two keys have the same text, because `:`, `%` and `/` in the
/// name are percent-encoded. (No published name has them.) The account is in front, as in `acme/job.completed:job_abc123`.
///
/// # Example
///
/// ```
/// use number7_core::{Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let deliver = |body: &'static str| {
///     Verifier::new(secret.clone()).verify(secret.sign(body).to_string(), body)
/// };
///
/// let failed = deliver(r#"{"event":"job.failed","jobId":"job_1"}"#)?.idempotency_key()?;
/// let again = deliver(r#"{"jobId":"job_1", "event":"job.failed"}"#)?.idempotency_key()?;
/// let completed = deliver(r#"{"event":"job.completed","jobId":"job_1"}"#)?.idempotency_key()?;
/// assert_eq!(failed, again);
/// assert_ne!(failed, completed);
///
/// assert!(deliver(r#"{"event":"job.failed"}"#)?.idempotency_key().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey {
    account: Option<Account>,
    event: Box<str>,
    job_id: JobId,
}

impl IdempotencyKey {
    pub(crate) fn new(account: Option<Account>, event: Box<str>, job_id: JobId) -> Self {
        Self { account, event, job_id }
    }

    /// The account of the delivery; see [`Delivery::account`](crate::Delivery::account).
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The name of the event, such as `job.completed`.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The job that the event is about.
    #[must_use]
    pub fn job_id(&self) -> &JobId {
        &self.job_id
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.account(), &self.event, self.job_id.as_str())
    }
}

pub(crate) fn write(
    to: &mut impl Write,
    account: Option<&Account>,
    event: &str,
    job_id: &str,
) -> fmt::Result {
    if let Some(account) = account {
        write!(to, "{account}/")?;
    }
    write_name(to, event)?;
    write!(to, ":{job_id}")
}

/// Writes the name of an event without any `:` and `/`, so that it can be told from an account in front and from what follows.
pub(crate) fn write_name(to: &mut impl Write, event: &str) -> fmt::Result {
    event.chars().try_for_each(|character| match character {
        ':' => to.write_str("%3A"),
        '%' => to.write_str("%25"),
        '/' => to.write_str("%2F"),
        other => to.write_char(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_written_differently() {
        let key = |event: &str, job: &str| {
            IdempotencyKey::new(None, event.into(), JobId::from(job)).to_string()
        };
        let account = Some(Account::new("a").unwrap());
        let of_account = IdempotencyKey::new(account, "b".into(), JobId::from("c")).to_string();
        assert_eq!(of_account, "a/b:c");
        assert_ne!(of_account, key("a/b", "c"));
        assert_eq!(key("job.completed", "job_1"), "job.completed:job_1");
        assert_ne!(key("a:b", "c"), key("a", "b:c"));
        assert_ne!(key("a:", "c"), key("a%3A", "c"));
    }
}
