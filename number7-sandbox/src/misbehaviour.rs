//! What the sandbox does wrong on request.

use std::{error::Error, fmt, str::FromStr, time::Duration};

/// What goes wrong, and how often. By default nothing does.
///
/// The affected jobs depend only on the [seed](crate::Sandbox::seed) and on the order of the uploads, so a run can be repeated.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Misbehaviour {
    /// Webhooks that are never sent.
    pub lose: Share,
    /// Webhooks that are sent again after they were answered 2xx.
    pub repeat: Share,
    /// Webhooks that later ones overtake.
    pub reorder: Share,
    /// Jobs that fail.
    pub fail_jobs: Share,
    /// Jobs for which a sender without the secret sends an additional webhook. A receiver must answer it 401.
    pub forge: Share,
    /// Webhooks that are signed with another secret. A receiver must answer them 401, so the vendor gives up, and the document
    /// is saved only if its result is fetched.
    pub other_secret: Share,
    /// Each webhook is sent up to this much late.
    pub delay: Duration,
    /// For this long after the end of the first job, each request is answered 503 and no webhook gets through.
    pub outage: Duration,
}

/// A share, from 0 to 1. Its text is a percentage, such as `20%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// All.
    pub const ALL: Self = Self(1.0);

    /// This many percent.
    ///
    /// # Panics
    ///
    /// It is more than 100.
    #[must_use]
    pub fn percent(percent: u8) -> Self {
        assert!(percent <= 100, "a share of more than 100%");
        Self(f64::from(percent) / 100.0)
    }

    /// Whether the share includes an item, by the dice of that item.
    pub(crate) fn takes(self, mut dice: fastrand::Rng) -> bool {
        dice.f64() < self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        match percent {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err(ShareError(())),
        }
    }
}

/// Why a string is not a [`Share`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareError(());

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a percentage from 0% to 100%")
    }
}

impl Error for ShareError {}

/// The decision that dice are thrown for.
#[derive(Clone, Copy)]
pub(crate) enum Throw {
    Lose = 1,
    Repeat,
    Reorder,
    Fail,
    Forge,
    OtherSecret,
    Delay,
    Time,
}

/// The dice of a job. The result does not depend on when they are thrown.
pub(crate) fn dice(seed: u64, job: u64, throw: Throw) -> fastrand::Rng {
    let mut jobs = fastrand::Rng::with_seed(seed);
    let of_job = jobs.u64(..).wrapping_add(job.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    fastrand::Rng::with_seed(of_job.rotate_left(8 * throw as u32) ^ throw as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(seed: u64, throw: Throw) -> Vec<u64> {
        let share = Share::percent(20);
        (0..2_000).filter(|job| share.takes(dice(seed, *job, throw))).collect()
    }

    #[test]
    fn a_seed_says_which_and_the_share_how_many() {
        let lost = taken(7, Throw::Lose);
        assert_eq!(lost, taken(7, Throw::Lose));
        assert_ne!(lost, taken(8, Throw::Lose));
        assert_ne!(lost, taken(7, Throw::Repeat));
        assert!((300..500).contains(&lost.len()), "{}", lost.len());
        let both = lost.iter().filter(|job| taken(7, Throw::Repeat).contains(job)).count();
        assert!((40..130).contains(&both), "{both}");
    }

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!("20%".parse(), Ok(Share::percent(20)));
        assert_eq!("100%".parse(), Ok(Share::ALL));
        for text in ["20", "101%", "-1%", "%", "NaN%", ""] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
