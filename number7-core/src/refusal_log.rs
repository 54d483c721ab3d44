//! Which refusals are worth a line of the log.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{Account, DiagnosisKind, Rejection, RejectionKind};

/// How long refusals of one kind are counted after the one that is logged in full: 60 seconds.
///
/// So a flood of forged requests writes two lines a minute for each kind, and the first of a kind is in the
/// log at once.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How many [accounts](RefusalSummary::accounts) a summary names: 10.
///
/// It bounds the memory and the line of the log. Only somebody who knows the names of ten accounts can keep the name of another out of
/// the summary of mismatches.
pub const ACCOUNTS_IN_SUMMARY: usize = 10;

/// Decides which refusals an adapter logs, so that a stranger cannot decide how large the log is.
///
/// Anybody can send requests that are refused before their sender is known. The first of them is logged
/// in full. Those with the same [`RejectionKind`] and the same [`DiagnosisKind`] in the next
/// [`REFUSAL_LOG_INTERVAL`] are only counted, and one summary says how many they were, and for which accounts. A sender with a
/// wrong secret has a cause of its own, if there is time to look for it. What an inbox could
/// not store is always logged in full, because each refusal uses up one of the vendor's few tries.
///
/// The [`Verifier`](crate::Verifier::refusal_log) keeps one, and its clones share it. Its memory does not
/// grow with the number of requests.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use number7_core::{REFUSAL_LOG_INTERVAL, RejectionKind, Secret, Verifier, adapter::Noted};
///
/// let verifier = Verifier::new(Secret::new("a long random secret")?);
/// let (log, now) = (verifier.refusal_log(), Duration::ZERO);
/// let rejection = RejectionKind::MissingSignature.into();
///
/// assert_eq!(log.note(&rejection, now), Noted::InFull { after: None });
/// assert_eq!(log.note(&rejection, now), Noted::Counted { summarize_in: Some(REFUSAL_LOG_INTERVAL) });
/// assert_eq!(log.note(&rejection, now), Noted::Counted { summarize_in: None });
///
/// let (summaries, next) = log.summarize(now + REFUSAL_LOG_INTERVAL);
/// assert_eq!((summaries[0].count(), next), (2, None));
/// # Ok::<(), number7_core::SecretError>(())
/// ```
#[derive(Clone, Default)]
pub struct RefusalLog(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// At most one for each kind.
    open: Vec<Open>,
    /// Somebody will call for the summaries.
    is_awaited: bool,
}

/// A kind that was logged in full a short while ago.
struct Open {
    summary: RefusalSummary,
    until: Duration,
}

/// What to do with a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noted {
    /// Log it.
    InFull {
        /// Log this before it: the summary of others of its kind, if nobody has asked for it in time.
        after: Option<RefusalSummary>,
    },
    /// Do not log it: it is counted.
    Counted {
        /// If it is set, nobody waits for the summaries yet: call [`RefusalLog::summarize`] after this
        /// time, and then as often as it says.
        summarize_in: Option<Duration>,
    },
}

/// How many refusals of a kind were counted and not logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalSummary {
    kind: RejectionKind,
    diagnosis: Option<DiagnosisKind>,
    count: u64,
    accounts: Vec<Account>,
    /// There are accounts that are not named.
    has_others: bool,
}

impl RefusalLog {
    /// An empty one, for what is refused without a [`Verifier`](crate::Verifier).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a refusal, and says whether to log it. `now` is the time since a fixed moment of your choice,
    /// by a clock that never goes back, such as an `Instant` that was taken at the start.
    #[must_use]
    pub fn note(&self, rejection: &Rejection, now: Duration) -> Noted {
        if !is_anybodys(rejection.kind()) {
            return Noted::InFull { after: None };
        }
        let (kind, diagnosis) = (rejection.kind(), rejection.diagnosis().map(|found| found.kind()));
        let mut state = self.state();
        let is_same =
            |open: &Open| (open.summary.kind, open.summary.diagnosis) == (kind, diagnosis);
        let is_over = |open: &mut Open| is_same(open) && open.until <= now;
        let over = state.open.extract_if(.., is_over).next().map(|open| open.summary);
        let Some(open) = state.open.iter_mut().find(|open| is_same(open)) else {
            let summary = RefusalSummary::new(kind, diagnosis);
            state.open.push(Open { summary, until: now + REFUSAL_LOG_INTERVAL });
            return Noted::InFull { after: over.filter(|summary| summary.count > 0) };
        };
        open.summary.add(rejection.account());
        let wait = open.until.saturating_sub(now);
        let is_awaited = mem::replace(&mut state.is_awaited, true);
        Noted::Counted { summarize_in: (!is_awaited).then_some(wait) }
    }

    /// The summaries that are due, and when to call for others. `None` if there is nothing to wait for.
    #[must_use]
    pub fn summarize(&self, now: Duration) -> (Vec<RefusalSummary>, Option<Duration>) {
        let mut state = self.state();
        let over = state.open.extract_if(.., |open| open.until <= now).map(|open| open.summary);
        let due = over.filter(|summary| summary.count > 0).collect();
        let counted = state.open.iter().filter(|open| open.summary.count > 0);
        let next = counted.map(|open| open.until.saturating_sub(now)).min();
        state.is_awaited = next.is_some();
        (due, next)
    }

    /// All summaries, due or not: for an adapter that will not call [`summarize`](Self::summarize) again.
    #[must_use]
    pub fn finish(&self) -> Vec<RefusalSummary> {
        let mut state = self.state();
        state.is_awaited = false;
        let counted = state.open.iter_mut().filter(|open| open.summary.count > 0);
        let take = |open: &mut Open| {
            let next = RefusalSummary::new(open.summary.kind, open.summary.diagnosis);
            mem::replace(&mut open.summary, next)
        };
        counted.map(take).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counting goes on whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RefusalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalLog").finish_non_exhaustive()
    }
}

impl RefusalSummary {
    fn new(kind: RejectionKind, diagnosis: Option<DiagnosisKind>) -> Self {
        Self { kind, diagnosis, count: 0, accounts: Vec::new(), has_others: false }
    }

    fn add(&mut self, account: Option<&Account>) {
        self.count += 1;
        let new = account.filter(|account| !self.accounts.contains(account));
        match new {
            Some(_) if self.accounts.len() == ACCOUNTS_IN_SUMMARY => self.has_others = true,
            _ => self.accounts.extend(new.cloned()),
        }
    }

    /// Why they were refused.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The cause that was found for each of them.
    #[must_use]
    pub fn diagnosis(&self) -> Option<DiagnosisKind> {
        self.diagnosis
    }

    /// How many they were, without the one that was logged in full.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first [`ACCOUNTS_IN_SUMMARY`] accounts that they were for.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }
}

impl fmt::Display for RefusalSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requests = if self.count == 1 { "request" } else { "requests" };
        let seconds = REFUSAL_LOG_INTERVAL.as_secs();
        write!(f, "refused {} more {requests} of this kind in {seconds} seconds", self.count)?;
        for (number, account) in self.accounts.iter().enumerate() {
            write!(f, "{} {account}", if number == 0 { ", for" } else { "," })?;
        }
        f.write_str(if self.has_others { " and others" } else { "" })
    }
}

/// Whether somebody without the key can be refused for this, perhaps with a captured request.
fn is_anybodys(kind: RejectionKind) -> bool {
    match kind {
        RejectionKind::MissingSignature
        | RejectionKind::RepeatedSignature
        | RejectionKind::MalformedSignature
        | RejectionKind::TooManyLookups
        | RejectionKind::LookupFailed
        | RejectionKind::LookupTooSlow
        | RejectionKind::MissingAccount
        | RejectionKind::MalformedAccount
        | RejectionKind::UnknownAccount
        | RejectionKind::BodyTooLarge
        | RejectionKind::TooManyBodies
        | RejectionKind::BodyTooSlow
        | RejectionKind::BodyBrokenOff
        | RejectionKind::SignatureMismatch
        | RejectionKind::BodyEncoded
        | RejectionKind::TooOld
        | RejectionKind::Untypable
        | RejectionKind::MissingMiddleware => true,
        // Each of them is one of the vendor's few tries.
        RejectionKind::NotStored | RejectionKind::StoredTooSlowly => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Secret, Verifier};

    const SECOND: Duration = Duration::from_secs(1);
    const IN_FULL: Noted = Noted::InFull { after: None };

    fn counts(summaries: &[RefusalSummary]) -> Vec<(RejectionKind, u64)> {
        summaries.iter().map(|summary| (summary.kind(), summary.count())).collect()
    }

    #[test]
    fn each_kind_is_logged_once_in_an_interval_and_then_summarized() {
        let log = RefusalLog::new();
        let note = |kind: RejectionKind, second| log.note(&kind.into(), second * SECOND);
        let counted = |summarize_in| Noted::Counted { summarize_in };
        let (missing, slow) = (RejectionKind::MissingSignature, RejectionKind::BodyTooSlow);
        assert_eq!(note(missing, 0), IN_FULL);
        assert_eq!(note(slow, 20), IN_FULL);
        assert_eq!(note(missing, 20), counted(Some(40 * SECOND)));
        for _ in 0..10 {
            assert_eq!(note(missing, 20), counted(None));
            assert_eq!(note(slow, 20), counted(None));
        }
        let (due, next) = log.summarize(60 * SECOND);
        assert_eq!((counts(&due), next), (vec![(missing, 11)], Some(20 * SECOND)));
        assert_eq!(note(missing, 60), IN_FULL);
        let (due, next) = log.summarize(80 * SECOND);
        assert_eq!((counts(&due), next), (vec![(slow, 10)], None));
        assert_eq!(note(missing, 80), counted(Some(40 * SECOND)), "it is asked for again");
        assert_eq!(counts(&log.finish()), [(missing, 1)]);
        assert!(log.finish().is_empty());
        assert_eq!(note(missing, 119), counted(Some(SECOND)), "the interval goes on");
    }

    #[test]
    fn what_was_counted_is_told_with_the_next_of_its_kind_if_nobody_has_asked() {
        let log = RefusalLog::new();
        let note = |second| log.note(&RejectionKind::SignatureMismatch.into(), second * SECOND);
        assert_eq!(note(0), IN_FULL);
        assert_ne!(note(1), IN_FULL);
        assert_ne!(note(59), IN_FULL);
        let Noted::InFull { after: Some(summary) } = note(90) else { panic!("it is forgotten") };
        assert_eq!(summary.to_string(), "refused 2 more requests of this kind in 60 seconds");
        assert_eq!(note(150), IN_FULL, "an interval without others has no summary");
        assert_eq!(log.summarize(500 * SECOND), (Vec::new(), None));
    }

    #[test]
    fn a_summary_names_the_accounts_but_not_more_than_ten() {
        let log = RefusalLog::new();
        let refuse = |numbers: std::ops::Range<u32>| {
            for number in numbers {
                let account = Account::new(format!("account-{number}")).unwrap();
                _ = log
                    .note(&Rejection::from(RejectionKind::SignatureMismatch).of(&account), SECOND);
            }
            log.finish().pop().unwrap().to_string()
        };
        let counted =
            |count| format!("refused {count} more requests of this kind in 60 seconds, for");
        _ = log.note(&RejectionKind::SignatureMismatch.into(), SECOND);
        assert_eq!(
            refuse(1..3),
            counted(2) + " account-1, account-2",
            "a flood does not hide the other"
        );
        let ten: Vec<_> = (0..10).map(|number| format!("account-{number}")).collect();
        assert_eq!(refuse(0..10), format!("{} {}", counted(10), ten.join(", ")));
        assert_eq!(refuse(0..100), format!("{} {} and others", counted(100), ten.join(", ")));
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn a_cause_is_not_hidden_by_others_and_what_was_not_stored_is_never_counted() {
        let secret = Secret::new("secret").unwrap();
        let verifier = Verifier::new(secret.clone()).diagnose();
        let (log, now) = (verifier.refusal_log(), SECOND);
        let note =
            |signature: &str| log.note(&verifier.verify(signature, "{}\n").unwrap_err(), now);
        assert_eq!(note(&"0".repeat(64)), IN_FULL);
        assert_ne!(note(&"0".repeat(64)), IN_FULL);
        assert_eq!(note(&secret.sign("{}").to_string()), IN_FULL);
        assert_ne!(note(&secret.sign("{}").to_string()), IN_FULL);
        assert_eq!(note(" "), IN_FULL);
        for kind in [RejectionKind::NotStored, RejectionKind::StoredTooSlowly] {
            for _ in 0..3 {
                assert_eq!(log.note(&kind.into(), now), IN_FULL);
            }
        }
        // It takes only a captured request to be refused for these.
        for kind in [RejectionKind::BodyEncoded, RejectionKind::Untypable, RejectionKind::TooOld] {
            assert_eq!(log.note(&kind.into(), now), IN_FULL);
            assert_ne!(log.note(&kind.into(), now), IN_FULL);
        }
        let clone = verifier.clone();
        assert_eq!(clone.refusal_log().finish().len(), 5, "clones share it");
    }
}
