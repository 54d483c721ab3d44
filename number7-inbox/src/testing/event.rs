use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use number7_core::{Account, Event, Record};

use crate::{
    AcceptedEvent, DEFAULT_ATTEMPTS, Origin, StoredEvent,
    model::claim::{Claim, EventId, Number},
    worker::held_claim::HeldClaim,
};

/// The id of no event in any store.
const NO_EVENT: EventId = EventId(0);

/// For tests: made-up events, to call a handler with.
impl AcceptedEvent {
    /// An event that is in no inbox: in its first attempt of [`DEFAULT_ATTEMPTS`], in its first run, signed, and accepted now.
    ///
    /// It is made from an [`Event`], or from JSON, as a string or as bytes. JSON is kept as it is, so it may be an event
    /// that [`event`](Self::event) cannot type. [`Sample`](crate::probe::Sample) has the JSON of the vendor's events.
    ///
    /// Its lease is lost when the test says so: `accepted.lease_lost().cancel()`. [`begin`](Self::begin) works, because it
    /// needs only your pool. [`finish_in`](Self::finish_in) succeeds but writes nothing, so your transaction can be committed.
    /// Once the lease is lost, it fails as in production. To test that the event is done if and only if the transaction is
    /// committed, run a worker on an [`Inbox::sqlite_of`](crate::Inbox::sqlite_of) your pool.
    ///
    /// # Panics
    ///
    /// The JSON is not an object with the name of an event. No inbox accepts that, so no handler gets it.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_inbox::{AcceptedEvent, Event, Failure, probe::Sample};
    ///
    /// async fn handle(accepted: AcceptedEvent) -> Result<(), Failure> {
    ///     match accepted.event()? {
    ///         Event::JobFailed(job) => Err(Failure::permanent(job.error)),
    ///         _ => Ok(()),
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let completed = AcceptedEvent::for_test(Sample::completed("job_1").json());
    /// assert!(handle(completed).await.is_ok());
    ///
    /// let failed = AcceptedEvent::for_test(Sample::failed("job_1", "page 2 could not be read").json());
    /// let failure = handle(failed).await.unwrap_err();
    /// assert!(failure.is_permanent());
    /// assert_eq!(failure.to_string(), "page 2 could not be read");
    ///
    /// let untypable = AcceptedEvent::for_test(r#"{"event":"job.failed","jobId":"job_1"}"#);
    /// assert!(!handle(untypable.with_attempt(16)).await.unwrap_err().is_permanent());
    /// # }
    /// ```
    pub fn for_test(event: impl Into<StoredEvent>) -> Self {
        let stored = event.into();
        let key = Record::key_of(stored.json()).unwrap_or_else(|error| {
            panic!("no handler gets this, because no inbox accepts it: {error}")
        });
        let claim = Claim::of_test(NO_EVENT, Number { of_all: 1, uncounted: 0 });
        let held = Arc::new(HeldClaim::of_no_store(&claim));
        Self { stored, key, origin: claim.origin, attempts: DEFAULT_ATTEMPTS, claim: held }
    }

    /// The same event of an [account](Self::account), which is a part of its [key](Self::key).
    #[must_use]
    pub fn with_account(mut self, account: &Account) -> Self {
        if let Ok(key) = Record::key_of_account(Some(account), self.json()) {
            self.key = key;
        }
        self
    }

    /// The same event in this [attempt](Self::attempt), counted from 1.
    ///
    /// # Panics
    ///
    /// It is zero.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        assert!(attempt > 0, "attempts are counted from 1");
        self.with_claim(|claim| claim.number = Number { of_all: attempt, uncounted: 0 })
    }

    /// The same event with another limit of attempts, as [`Worker::attempts`](crate::Worker::attempts) sets it. It decides
    /// which attempt is the [last](Self::is_last_attempt).
    #[must_use]
    pub fn with_attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// The same event, [run](Self::runs) this many times: 2 after an operator reran it.
    #[must_use]
    pub fn with_runs(self, runs: u32) -> Self {
        self.with_claim(|claim| claim.runs = runs)
    }

    /// The same event with another [origin](Self::origin). A fetched event was [signed](Self::signed_by) by nobody.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        let event = Self { origin, ..self };
        match origin {
            Origin::Signed => event,
            Origin::Fetched => event.with_claim(|claim| claim.signed_by = None),
        }
    }

    /// The same event, signed by the secret with this [name](Self::signed_by). Unless it is set, the name is
    /// [`DEFAULT_SECRET_NAME`](number7_core::DEFAULT_SECRET_NAME).
    #[must_use]
    pub fn with_signed_by(self, secret: impl Into<String>) -> Self {
        let secret = secret.into();
        let event = self.with_claim(|claim| claim.signed_by = Some(secret));
        Self { origin: Origin::Signed, ..event }
    }

    /// The same event, [accepted](Self::accepted_at) at this time.
    #[must_use]
    pub fn with_accepted_at(self, accepted_at: SystemTime) -> Self {
        self.with_claim(|claim| claim.accepted_at = accepted_at)
    }

    fn with_claim(mut self, change: impl FnOnce(&mut Claim)) -> Self {
        let &HeldClaim { number, runs, accepted_at, ref signed_by, ref lost, .. } = &*self.claim;
        let signed_by = signed_by.clone();
        let mut claim = Claim { runs, accepted_at, signed_by, ..Claim::of_test(NO_EVENT, number) };
        change(&mut claim);
        let mut held = HeldClaim::of_no_store(&claim);
        held.lost = lost.clone();
        self.claim = Arc::new(held);
        self
    }
}

impl From<Event> for StoredEvent {
    fn from(event: Event) -> Self {
        Self::from(&event)
    }
}

/// The JSON of a known event, with the fields that this version knows.
impl From<&Event> for StoredEvent {
    fn from(event: &Event) -> Self {
        Self::new(serde_json::to_vec(event).expect("an event can be written as JSON"))
    }
}

impl From<&str> for StoredEvent {
    fn from(json: &str) -> Self {
        Self::new(json.into())
    }
}

impl From<String> for StoredEvent {
    fn from(json: String) -> Self {
        Self::new(json.into())
    }
}

impl From<Vec<u8>> for StoredEvent {
    fn from(json: Vec<u8>) -> Self {
        Self::new(json)
    }
}

impl From<Bytes> for StoredEvent {
    fn from(json: Bytes) -> Self {
        Self::new(json.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use number7_core::probe::Sample;

    use super::*;

    #[test]
    fn what_a_test_sets_is_what_the_handler_gets() {
        let accepted = AcceptedEvent::for_test(Sample::completed("job_1").json());
        assert_eq!((accepted.attempt(), accepted.runs()), (1, 1));
        assert_eq!(accepted.key(), "job.completed:job_1");
        assert_eq!((accepted.origin(), accepted.is_last_attempt()), (Origin::Signed, false));
        assert_eq!(accepted.signed_by(), Some("primary"));
        assert!(accepted.with_attempt(DEFAULT_ATTEMPTS).is_last_attempt());

        let (event, hour) = (Sample::completed("job_1").json(), Duration::from_secs(3_600));
        let before = SystemTime::now() - hour;
        let accepted = AcceptedEvent::for_test(event)
            .with_accepted_at(before)
            .with_runs(2)
            .with_origin(Origin::Fetched)
            .with_attempts(3)
            .with_attempt(2);
        assert_eq!((accepted.attempt(), accepted.runs()), (2, 2));
        assert_eq!((accepted.origin(), accepted.accepted_at()), (Origin::Fetched, before));
        assert_eq!(accepted.signed_by(), None);
        assert!(!accepted.is_last_attempt());
        let accepted = accepted.with_signed_by("old").with_attempt(3);
        assert!(accepted.is_last_attempt());
        assert_eq!((accepted.origin(), accepted.signed_by()), (Origin::Signed, Some("old")));
    }

    #[test]
    fn an_event_is_typed_or_json_in_any_form() {
        let json = Sample::failed("job_1", "page 2").json();
        let event = Event::from_json(&json).unwrap();
        for accepted in [
            AcceptedEvent::for_test(&*json),
            AcceptedEvent::for_test(json.clone()),
            AcceptedEvent::for_test(json.clone().into_bytes()),
            AcceptedEvent::for_test(Bytes::from(json.clone())),
            AcceptedEvent::for_test(&event),
            AcceptedEvent::for_test(event.clone()),
        ] {
            assert_eq!(accepted.event().unwrap(), event);
            assert_eq!(accepted.json(), json.as_bytes());
        }
        let untypable = AcceptedEvent::for_test(r#"{"event":"job.failed","jobId":"job_1"}"#);
        assert!(untypable.event().is_err());
        assert_eq!(untypable.job_id().unwrap().as_str(), "job_1");
    }

    #[test]
    #[should_panic(expected = "no handler gets this, because no inbox accepts it")]
    fn what_no_inbox_accepts_is_refused() {
        _ = AcceptedEvent::for_test("{}");
    }

    #[test]
    fn the_test_says_when_the_lease_is_lost_whatever_else_it_sets() {
        let accepted = AcceptedEvent::for_test(Sample::completed("job_1").json());
        let lost = accepted.lease_lost().clone();
        let accepted = accepted.with_attempt(2).with_runs(2);
        assert!(!accepted.lease_lost().is_cancelled());
        lost.cancel();
        assert!(accepted.lease_lost().is_cancelled());
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_transaction_is_committed_without_an_inbox_unless_the_lease_is_lost() {
        use sqlx::{query, query_scalar, sqlite::SqlitePoolOptions};

        use crate::InboxErrorKind;

        let pool =
            SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        query("CREATE TABLE invoices (event TEXT)").execute(&pool).await.unwrap();
        let handle = async |accepted: &AcceptedEvent| {
            let mut transaction = accepted.begin(&pool).await?;
            let invoice = query("INSERT INTO invoices VALUES (?)").bind(accepted.key());
            invoice.execute(&mut *transaction).await?;
            accepted.finish_in(&mut transaction).await?;
            Ok::<_, crate::InboxError>(transaction.commit().await?)
        };
        let accepted = AcceptedEvent::for_test(Sample::completed("job_1").json());
        handle(&accepted).await.unwrap();
        accepted.lease_lost().cancel();
        let lost = handle(&accepted).await.unwrap_err();
        assert_eq!(lost.kind(), InboxErrorKind::LeaseLost);
        let invoices: Vec<String> =
            query_scalar("SELECT event FROM invoices").fetch_all(&pool).await.unwrap();
        assert_eq!(invoices, ["job.completed:job_1"]);
    }
}
