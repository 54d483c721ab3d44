//! The answers of the vendor.

use std::time::{Duration, SystemTime};

use number7_core::{FileStatus, JobId};
use reqwest::{
    Response,
    header::{DATE, HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, ErrorKind, JobResult, RawJson, Result, Upload, limiter::Quota};

/// The largest answer that is read: 64 MiB. The vendor publishes no limit.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The body of an answer.
pub(crate) struct Answer(Vec<u8>);

/// The envelope of all the vendor's answers.
#[derive(Deserialize)]
struct Envelope<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Answer {
    pub(crate) async fn read(mut response: Response) -> Result<Self> {
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(Error::of_request)? {
            if body.len() + part.len() > MAX_ANSWER {
                let text = format!("the vendor's answer is larger than {MAX_ANSWER} bytes");
                return Err(Error::new(ErrorKind::NotUnderstood, text));
            }
            body.extend_from_slice(&part);
        }
        Ok(Self(body))
    }

    pub(crate) fn upload(&self) -> Result<Upload> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            job_id: String,
            file_status: Option<String>,
        }
        let data: Data = serde_json::from_str(self.data()?).map_err(Error::not_understood)?;
        if data.job_id.is_empty() {
            return Err(Error::new(ErrorKind::NotUnderstood, "the vendor's answer has no job id"));
        }
        let file_status = data.file_status.map_or(FileStatus::Uploading, FileStatus::from);
        Ok(Upload { job_id: data.job_id.into(), file_status })
    }

    pub(crate) fn result(&self, job: &JobId) -> Result<JobResult> {
        let data = RawJson::new(self.data()?)?;
        JobResult::new(job, data)
    }

    fn data(&self) -> Result<&str> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(&self.0).map_err(Error::not_understood)?;
        match envelope {
            Envelope { success: Some(false), .. } => {
                Err(Error::new(ErrorKind::Refused, "the vendor says that it had no success"))
            }
            Envelope { data: Some(data), .. } => Ok(data.get()),
            Envelope { data: None, .. } => {
                Err(Error::new(ErrorKind::NotUnderstood, "the vendor's answer has no `data`"))
            }
        }
    }
}

/// The rate limit in the headers.
///
/// The time of the reset is compared with the vendor's own clock, if the answer has a `Date`.
pub(crate) fn quota(headers: &HeaderMap) -> Option<Quota> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let now = || {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        let now = date.unwrap_or_else(SystemTime::now);
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    };
    let reset = match (number("x-ratelimit-reset"), number(RETRY_AFTER.as_str())) {
        (Some(reset), _) => reset.saturating_sub(now()),
        (None, Some(seconds)) => seconds,
        (None, None) => return None,
    };
    let remaining = number("x-ratelimit-remaining");
    Some(Quota {
        remaining: remaining.map(|remaining| u32::try_from(remaining).unwrap_or(u32::MAX)),
        reset: Duration::from_secs(reset).min(LONGEST_RESET),
    })
}

/// A reset further ahead than this is not believed: 10 minutes. The vendor counts by the minute.
const LONGEST_RESET: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn quota_of(headers: &[(&'static str, &'static str)]) -> Option<(Option<u32>, u64)> {
        let headers = headers.iter();
        let headers: HeaderMap = headers
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        quota(&headers).map(|quota| (quota.remaining, quota.reset.as_secs()))
    }

    #[test]
    fn the_reset_is_compared_with_the_vendors_clock() {
        let (remaining, date) =
            (("x-ratelimit-remaining", "7"), ("date", "Thu, 01 Jan 1970 00:01:40 GMT"));
        assert_eq!(quota_of(&[remaining, ("x-ratelimit-reset", "112"), date]), Some((Some(7), 12)));
        assert_eq!(quota_of(&[remaining, ("x-ratelimit-reset", "90"), date]), Some((Some(7), 0)));
        assert_eq!(
            quota_of(&[remaining, ("x-ratelimit-reset", "9000000000")]),
            Some((Some(7), 600))
        );
        assert_eq!(quota_of(&[("retry-after", "5")]), Some((None, 5)));
        assert_eq!(quota_of(&[remaining]), None);
        assert_eq!(quota_of(&[("x-ratelimit-reset", "soon")]), None);
    }
}
