use std::fmt;

use serde::Serialize;

/// One thing that the sandbox did.
///
/// [`Display`](fmt::Display) writes a line for people. Serialized, it is a JSON object whose `what` is the name of the variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Happening {
    /// A document was uploaded.
    Uploaded {
        /// The new job.
        job: String,
        /// Its name.
        file_name: String,
        /// Its size.
        bytes: u64,
    },
    /// A job was done.
    Finished {
        /// The job.
        job: String,
    },
    /// A job failed.
    Failed {
        /// The job.
        job: String,
    },
    /// A result was requested.
    Fetched {
        /// The job.
        job: String,
        /// The status of the job.
        status: String,
    },
    /// A request was refused.
    Refused {
        /// The request, such as `GET /api/v1/results/job_1`.
        request: String,
        /// The answer.
        status: u16,
    },
    /// A webhook was sent.
    Sent {
        /// The job.
        job: String,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// The receiver's answer, if there was one.
        status: Option<u16>,
    },
    /// A webhook was sent again after it had been accepted.
    Repeated {
        /// The job.
        job: String,
        /// The receiver's answer, if there was one.
        status: Option<u16>,
    },
    /// A webhook was sent whose body was changed after it was signed.
    Forged {
        /// The job.
        job: String,
        /// The receiver's answer, if there was one. Anything but a 401 is a fault of the receiver.
        status: Option<u16>,
    },
    /// A webhook was not sent.
    Lost {
        /// The job.
        job: String,
    },
    /// A webhook was sent that was signed with another secret.
    SignedOtherwise {
        /// The job.
        job: String,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// The receiver's answer, if there was one. Anything but a 401 is a fault of the receiver.
        status: Option<u16>,
    },
    /// All attempts at a webhook failed. There are no more.
    GivenUp {
        /// The job.
        job: String,
    },
    /// Nothing works from now on.
    OutageBegan,
    /// Everything works again.
    OutageEnded,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = |status: &Option<u16>| match status {
            Some(status) => format!("answered {status}"),
            None => "no answer".into(),
        };
        match self {
            Self::Uploaded { job, file_name, bytes } => {
                write!(f, "{job}: uploaded {file_name:?}, {bytes} bytes")
            }
            Self::Finished { job } => write!(f, "{job}: done"),
            Self::Failed { job } => write!(f, "{job}: failed"),
            Self::Fetched { job, status } => write!(f, "{job}: result fetched: {status}"),
            Self::Refused { request, status } => write!(f, "{request:?} answered {status}"),
            Self::Sent { job, attempt, status } => {
                write!(f, "{job}: webhook, attempt {attempt}: {}", answer(status))
            }
            Self::Repeated { job, status } => {
                write!(f, "{job}: webhook repeated: {}", answer(status))
            }
            Self::Forged { job, status } => write!(f, "{job}: webhook forged: {}", answer(status)),
            Self::Lost { job } => write!(f, "{job}: webhook lost"),
            Self::SignedOtherwise { job, attempt, status } => write!(
                f,
                "{job}: webhook signed with another secret, attempt {attempt}: {}",
                answer(status)
            ),
            Self::GivenUp { job } => write!(f, "{job}: webhook given up"),
            Self::OutageBegan => f.write_str("outage begins"),
            Self::OutageEnded => f.write_str("outage ends"),
        }
    }
}
