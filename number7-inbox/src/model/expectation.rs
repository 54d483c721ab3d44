//! Jobs whose events are expected.

use std::time::Duration;

use number7_core::{Account, JobId, Record};

use crate::model::error::{InboxError, InboxErrorKind};

/// A job whose event is expected, and the keys that its event can have; or an upload, whose job is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedJob {
    pub(crate) job: String,
    pub(crate) keys: [String; 2],
}

/// What the name of an upload begins with, instead of a job's id. No event settles it.
const UPLOAD: &str = "upload:";

/// What a name begins with if it belongs to an account. The account's name and a slash follow.
const ACCOUNT: &str = "account:";

/// The name of a job or an upload in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedName {
    pub(crate) account: Option<Account>,
    pub(crate) what: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Job(JobId),
    /// The reference of an upload.
    Upload(String),
}

impl ExpectedName {
    pub(crate) fn parse(name: &str) -> Self {
        let of_account = || {
            let (account, rest) = name.strip_prefix(ACCOUNT)?.split_once('/')?;
            Some((Some(Account::new(account).ok()?), rest))
        };
        let (account, rest) = of_account().unwrap_or((None, name));
        let what = match rest.strip_prefix(UPLOAD) {
            Some(reference) => Expected::Upload(reference.to_owned()),
            None => Expected::Job(JobId::from(rest)),
        };
        Self { account, what }
    }

    fn write(account: Option<&Account>, rest: &str) -> String {
        match account {
            Some(account) => format!("{ACCOUNT}{account}/{rest}"),
            None => rest.to_owned(),
        }
    }
}

/// The account in the name of a job or an upload. Empty if there is none.
#[cfg(any(test, feature = "memory", feature = "sqlite", feature = "postgres"))]
pub(crate) fn account_of(name: &str) -> String {
    let account = ExpectedName::parse(name).account;
    account.map(|account| account.to_string()).unwrap_or_default()
}

impl ExpectedJob {
    /// The job or upload with this name.
    #[cfg(feature = "redis")]
    pub(crate) fn of_name(name: &str) -> Result<Self, InboxError> {
        let ExpectedName { account, what } = ExpectedName::parse(name);
        match what {
            Expected::Upload(reference) => Self::of_upload(account.as_ref(), &reference),
            Expected::Job(job) => Self::new(account.as_ref(), &job),
        }
    }

    /// An upload whose job is not known yet.
    pub(crate) fn of_upload(
        account: Option<&Account>,
        reference: &str,
    ) -> Result<Self, InboxError> {
        const LONGEST: usize = 255;
        if reference.is_empty() || reference.len() > LONGEST || reference.contains('\0') {
            let text = format!("the reference of an upload has 1 to {LONGEST} bytes, and no NUL");
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        let job = ExpectedName::write(account, &format!("{UPLOAD}{reference}"));
        // No event has an empty key.
        Ok(Self { job, keys: [String::new(), String::new()] })
    }

    pub(crate) fn new(account: Option<&Account>, job: &JobId) -> Result<Self, InboxError> {
        let job = job.as_str();
        let is_reserved = [UPLOAD, ACCOUNT].iter().any(|reserved| job.starts_with(reserved));
        // PostgreSQL refuses strings with a NUL.
        if job.is_empty() || job.contains('\0') || is_reserved {
            let text =
                "a job id must not be empty, contain a NUL, or begin with upload: or account:";
            return Err(InboxError::new(InboxErrorKind::Invalid, text));
        }
        let keys =
            ["job.completed", "job.failed"].map(|event| Record::key_of_job(account, event, job));
        Ok(Self { job: ExpectedName::write(account, job), keys })
    }
}

/// The result of a look-up of expected jobs.
#[derive(Debug, Default)]
pub(crate) struct LookUp {
    /// The jobs that have just become overdue.
    pub(crate) newly_overdue: Vec<String>,
    /// There may be more to look up now.
    pub(crate) is_more: bool,
    /// The time until the next job has to be looked up.
    pub(crate) next_in: Option<Duration>,
}

/// An overdue job that is to be fetched.
#[derive(Clone, Debug)]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct JobToFetch {
    pub(crate) job: String,
    /// Its event has arrived meanwhile.
    pub(crate) is_settled: bool,
    /// How often it was taken, this time included.
    pub(crate) fetches: i64,
}

/// How long to wait after the first fetch of a job, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Rest {
    /// How long to wait after a fetch, given how many came before it.
    pub(crate) fn after(self, earlier: i64) -> Duration {
        self.first.saturating_mul(1 << earlier.clamp(0, 30)).min(self.longest)
    }
}

/// An overdue job, as it is stored.
#[derive(Clone, Debug)]
#[cfg_attr(any(feature = "sqlite", feature = "postgres"), derive(sqlx::FromRow))]
pub(crate) struct OverdueRow {
    pub(crate) job: String,
    /// Microseconds of the time when it was due.
    pub(crate) due: i64,
    pub(crate) fetches: i64,
    pub(crate) is_given_up: bool,
}

/// A place in the list of overdue jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobPlace {
    /// Microseconds of the time when the job was due.
    pub(crate) due: i64,
    pub(crate) job: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_an_account_is_no_other_job() {
        let acme = Account::new("acme").unwrap();
        let of_account = ExpectedJob::new(Some(&acme), &"job_1".into()).unwrap();
        assert_eq!(of_account.job, "account:acme/job_1");
        assert_eq!(of_account.keys, ["acme/job.completed:job_1", "acme/job.failed:job_1"]);
        let job = ExpectedName::parse(&of_account.job);
        let what = Expected::Job("job_1".into());
        assert_eq!(job, ExpectedName { account: Some(acme.clone()), what });

        let upload = ExpectedJob::of_upload(Some(&acme), "a/b").unwrap().job;
        let what = Expected::Upload("a/b".into());
        assert_eq!(ExpectedName::parse(&upload), ExpectedName { account: Some(acme), what });

        let plain = ExpectedJob::new(None, &"acme/job_1".into()).unwrap();
        assert_eq!(ExpectedName::parse(&plain.job).account, None);
        assert!(ExpectedJob::new(None, &"account:acme/job_1".into()).is_err());
    }
}
