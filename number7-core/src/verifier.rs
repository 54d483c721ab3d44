//! The policy by which requests are accepted.

use std::{
    fmt, iter, slice,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::{
    Account, Delivery, Intake, Rejection, RejectionKind, SIGNATURE_HEADER, Secret, Signature,
    clock::{self, Clock},
    diagnosis::{Diagnostics, SharedLimit},
    drain::{DRAIN_LIMIT, Drain},
    head::Head,
    held::HeldPlace,
    named_secret::{NamedSecret, Overlap},
    refusal_log::RefusalLog,
};

/// The name of the first secret, if it has no other.
pub const DEFAULT_SECRET_NAME: &str = "primary";

/// The largest body that is accepted: 64 KiB (65,536 bytes).
///
/// The published events have some 150 bytes. The rest is room for long error texts and for future fields. The memory for
/// unverified bodies is limited to this times [`DEFAULT_MAX_HELD_BODIES`].
pub const DEFAULT_BODY_LIMIT: usize = 64 * 1024;

/// How long a whole body may take to arrive: 10 seconds.
///
/// It is counted from the moment when the request is there and its body is not. A sender of 150 bytes needs a few milliseconds.
/// Ten seconds allow for a lost packet or two, and stop a sender that sends byte by byte.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many unverified bodies can wait at once: 1,024.
///
/// With the default body limit they take at most 64 MiB.
pub const DEFAULT_MAX_HELD_BODIES: usize = 1024;

/// How many replaced secrets are still accepted at once: 8. With the next one, the oldest is dropped.
///
/// A forged body costs an HMAC for each of them, and nobody rotates a secret this often within an
/// [overlap](crate::LiveVerifier::overlap). Without a limit, a faulty source that changes with every look would make each
/// forged request more expensive.
pub const MAX_REPLACED_SECRETS: usize = 8;

/// The policy by which requests are accepted: the secrets, and the limits on bodies whose sender is not known yet.
///
/// It is cheap to clone. Clones share the count of waiting bodies and of refusals that are not logged. So build one, and give
/// clones to all apps, workers and routes of a process.
///
/// # Example
///
/// ```
/// use number7_core::{RejectionKind, Secret, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let signature = secret.sign("{}").to_string();
/// let verifier = Verifier::new(secret);
///
/// let delivery = verifier.verify(&signature, "{}").unwrap();
/// assert_eq!(delivery.body(), "{}");
///
/// let rejection = verifier.verify(&signature, "{ }").unwrap_err();
/// assert_eq!(rejection.kind(), RejectionKind::SignatureMismatch);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
///
/// # Rotation
///
/// While a secret is being replaced, both are accepted, each with a name of yours, and [`Delivery::signed_by`] says which one
/// signed. The second costs one more HMAC, but only for bodies that the first did not sign.
///
/// ```
/// use number7_core::{Secret, Verifier};
///
/// let old = Secret::new("the secret until now")?;
/// let signature = old.sign("{}").to_string();
/// let verifier = Verifier::named("2026-11", Secret::new("the new secret")?)
///     .also_accept("2025-11", old);
///
/// assert_eq!(verifier.verify(signature, "{}").unwrap().signed_by(), "2025-11");
/// # Ok::<(), number7_core::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Policy>);

#[derive(Clone)]
pub(crate) struct Policy {
    first: NamedSecret,
    further: Vec<NamedSecret>,
    body_limit: usize,
    body_timeout: Duration,
    max_held_bodies: usize,
    held_bodies: Arc<AtomicUsize>,
    refuses: Option<Refuses>,
    diagnostics: Diagnostics,
    clock: Clock,
    refusal_log: RefusalLog,
}

/// What is refused even if it is authentic.
#[derive(Clone)]
enum Refuses {
    OlderThan(Duration),
    /// Everything, because there is no account, for this reason.
    All(RejectionKind),
}

impl Refuses {
    fn judge(&self, delivery: &Delivery, clock: &Clock) -> Result<(), RejectionKind> {
        let limit = match self {
            Self::OlderThan(limit) => limit,
            Self::All(kind) => return Err(*kind),
        };
        let oldest = clock().checked_sub(*limit);
        match delivery.timestamp() {
            Ok(timestamp) if oldest.is_none_or(|oldest| timestamp.to_system_time() >= oldest) => {
                Ok(())
            }
            _ => Err(RejectionKind::TooOld),
        }
    }
}

impl Verifier {
    /// Accepts what one secret signed, under the name [`DEFAULT_SECRET_NAME`].
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self::named(DEFAULT_SECRET_NAME, secret)
    }

    /// Accepts what one secret signed. Its name is for logs and for [`Delivery::signed_by`].
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>, secret: Secret) -> Self {
        Self(Arc::new(Policy {
            first: NamedSecret::new(name.into(), secret),
            further: Vec::new(),
            body_limit: DEFAULT_BODY_LIMIT,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            max_held_bodies: DEFAULT_MAX_HELD_BODIES,
            held_bodies: Arc::default(),
            refuses: None,
            diagnostics: Diagnostics::default(),
            clock: clock::system(),
            refusal_log: RefusalLog::new(),
        }))
    }

    /// Also accepts what a further secret signed. The secrets are tried in the order in which they were given.
    ///
    /// # Panics
    ///
    /// If there is already a secret with this name, because nobody could tell the two apart.
    #[must_use]
    #[track_caller]
    pub fn also_accept(self, name: impl Into<Arc<str>>, secret: Secret) -> Self {
        let named = NamedSecret::new(self.new_name(name.into()), secret);
        self.with(|policy| named.push_to(&mut policy.further))
    }

    /// Accepts bodies of at most `bytes` bytes. Default: [`DEFAULT_BODY_LIMIT`].
    ///
    /// # Panics
    ///
    /// If the limit is 0, because no event fits.
    #[must_use]
    #[track_caller]
    pub fn body_limit(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a body limit of 0 refuses every event");
        self.with(|policy| policy.body_limit = bytes)
    }

    /// Waits at most `timeout` for a whole body. Default: [`DEFAULT_BODY_TIMEOUT`].
    ///
    /// # Panics
    ///
    /// If the timeout is zero, because no body that is still arriving can meet it.
    #[must_use]
    #[track_caller]
    pub fn body_timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "a body timeout of 0 refuses events that are on their way");
        self.with(|policy| policy.body_timeout = timeout)
    }

    /// At most this many unverified bodies can wait at once. Default: [`DEFAULT_MAX_HELD_BODIES`].
    ///
    /// A body that arrives in one piece with its request is verified at once. It does not wait, does not count, and
    /// is never refused for this reason, so stalling senders cannot keep it out. A valid body that arrives later
    /// can be refused while all places are taken.
    ///
    /// # Panics
    ///
    /// If the number is 0, which refuses every body that is still arriving.
    #[must_use]
    #[track_caller]
    pub fn max_held_bodies(self, bodies: usize) -> Self {
        assert!(bodies > 0, "a maximum of 0 held bodies refuses events that are on their way");
        self.with(|policy| policy.max_held_bodies = bodies)
    }

    /// Refuses an event whose signed `timestamp` is older than `limit`. An event without a readable timestamp is refused as
    /// well. An event from the future is not.
    ///
    /// It is off by default, and most receivers should leave it off. The vendor publishes neither when it retries nor whether a
    /// retry has a new timestamp. If it has not, a limit that is shorter than the longest retry delay refuses authentic
    /// retries, and after the third retry the vendor never sends the event again. A better defense: a replayed delivery has the
    /// same [`IdempotencyKey`](crate::IdempotencyKey) as the first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use number7_core::{RejectionKind, Secret, Verifier};
    ///
    /// let secret = Secret::new("a long random secret")?;
    /// let body = r#"{"event":"job.completed","timestamp":"2026-04-22T10:00:00.000Z"}"#;
    /// let signature = secret.sign(body).to_string();
    ///
    /// let verifier = Verifier::new(secret).max_age(Duration::from_secs(86_400));
    /// let rejection = verifier.verify(signature, body).unwrap_err();
    /// assert_eq!(rejection.kind(), RejectionKind::TooOld);
    /// # Ok::<(), number7_core::SecretError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the limit is zero, which refuses every event.
    #[must_use]
    #[track_caller]
    pub fn max_age(self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "a maximum age of 0 refuses every event");
        self.with(|policy| policy.refuses = Some(Refuses::OlderThan(limit)))
    }

    /// Takes the time from `clock` instead of the system, for tests. It is used by [`max_age`](Self::max_age), the limit of
    /// diagnoses per second, and the [overlap](crate::LiveVerifier::overlap) of a replaced secret.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|policy| policy.clock = Arc::new(clock))
    }

    /// Verifies a whole body against the value of its signature header.
    ///
    /// # Errors
    ///
    /// Those of [`begin`](Self::begin), [`Intake::push`] and [`Intake::finish`].
    pub fn verify(
        &self,
        signature: impl AsRef<[u8]>,
        body: impl Into<Bytes>,
    ) -> Result<Delivery, Rejection> {
        let mut intake = self.begin([(SIGNATURE_HEADER, signature.as_ref())])?;
        intake.push(body.into())?;
        intake.finish()
    }

    /// Begins to verify a request by all its headers, as names and values. Names may have either case. Repeat a
    /// header that has several values.
    ///
    /// On an error, answer. First [`drain`](Self::drain) says whether to read the body, so that the connection can
    /// be used again.
    ///
    /// # Errors
    ///
    /// There is no signature header, more than one, or one that is not a [`Signature`](crate::Signature). Or, after that, the
    /// declared length exceeds the limit.
    // Without inlining, the intake would be copied twice more.
    #[inline(always)]
    pub fn begin<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Intake, Rejection> {
        let head = Head::read(headers);
        let signature = self.signature(&head)?;
        if head.declared_length > self.0.body_limit as u64 {
            return Err(self.refused(RejectionKind::BodyTooLarge));
        }
        Ok(Intake::new(self.clone(), signature, head.encoded, head.trace.context()))
    }

    /// Checks the signature header alone.
    pub(crate) fn check<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<(), Rejection> {
        self.signature(&Head::read(headers)).map(drop)
    }

    #[inline]
    fn signature(&self, head: &Head<'_>) -> Result<Signature, Rejection> {
        head.signature().map_err(|rejection| self.bad_header(head, rejection))
    }

    /// The refusal of a header that is not a signature.
    #[cold]
    fn bad_header(&self, head: &Head<'_>, rejection: Rejection) -> Rejection {
        let is_malformed = rejection.kind() == RejectionKind::MalformedSignature;
        let value = head.signature_value().filter(|_| is_malformed);
        let rejection = match value.and_then(|value| self.0.diagnostics.of_header(value)) {
            Some(diagnosis) => rejection.with_source(diagnosis),
            None => rejection,
        };
        rejection.of_any(self.account())
    }

    /// A refusal of a request. It names the account.
    #[cold]
    pub(crate) fn refused(&self, kind: RejectionKind) -> Rejection {
        Rejection::from(kind).of_any(self.account())
    }

    /// What may be read of the body of a request that [`begin`](Self::begin) has refused, by its headers. `None` means to read
    /// nothing: its declared length is over [`DRAIN_LIMIT`], or the sender waits until it is asked for the body
    /// (`Expect: 100-continue`).
    pub fn drain<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Option<Drain> {
        let head = Head::read(headers);
        let is_wanted = !head.expects && head.declared_length <= DRAIN_LIMIT as u64;
        is_wanted.then(|| Drain::new(self.clone(), false, None))
    }

    /// Decides which refusals an adapter logs. All clones of a verifier share it.
    #[must_use]
    pub fn refusal_log(&self) -> &RefusalLog {
        &self.0.refusal_log
    }

    /// The first secret, and the further ones.
    pub(crate) fn secrets(&self) -> (&NamedSecret, slice::Iter<'_, NamedSecret>) {
        (&self.0.first, self.0.further.iter())
    }

    pub(crate) fn accepted(&self) -> impl Iterator<Item = &NamedSecret> {
        let (first, further) = self.secrets();
        iter::once(first).chain(further)
    }

    pub(crate) fn by(policy: Arc<Policy>) -> Self {
        Self(policy)
    }

    pub(crate) fn into_policy(self) -> Arc<Policy> {
        self.0
    }

    pub(crate) fn first_secret(&self) -> &Secret {
        &self.0.first.secret
    }

    /// The same with another first secret. The previous one is accepted after it, for the overlap. `None` if both are the same.
    pub(crate) fn replaced(self, secret: &Secret, overlap: Overlap) -> Option<Self> {
        let is_new = |known: &NamedSecret| !known.secret.is_same(secret);
        if !is_new(&self.0.first) {
            return None;
        }
        let old = NamedSecret { overlap: Some(overlap), ..self.0.first.clone() };
        let others = || self.0.further.iter().filter(|known| !known.is_over());
        // A secret that was given as always accepted has no end, even if it was the current one for a while.
        let stays = |known: &&NamedSecret| known.overlap.is_none();
        let ends = !others().filter(stays).any(|known| known.secret.is_same(&old.secret));
        let replaced = iter::once(old).filter(|_| ends);
        let replaced = replaced.chain(others().filter(|known| !stays(known)).cloned());
        // With room for all of them, because a move leaves a copy of the key behind.
        let mut further = Vec::with_capacity(self.0.further.len() + 1);
        further.extend(replaced.filter(is_new).take(MAX_REPLACED_SECRETS));
        further.extend(others().filter(stays).cloned());
        let first = NamedSecret::new(secret.fingerprint().into(), secret.clone());
        Some(self.with(|policy| (policy.first, policy.further) = (first, further)))
    }

    /// The same without the secrets that were replaced.
    pub(crate) fn without_replaced(self) -> Self {
        // With room for all of them, because a move leaves a copy of the key behind.
        let mut further = Vec::with_capacity(self.0.further.len());
        further.extend(self.0.further.iter().filter(|known| known.overlap.is_none()).cloned());
        self.with(|policy| policy.further = further)
    }

    #[track_caller]
    pub(crate) fn new_name(&self, name: Arc<str>) -> Arc<str> {
        let mut known = self.accepted().chain(self.0.diagnostics.recognized());
        assert!(
            known.all(|known| known.name() != &*name),
            "there is a secret named {name:?} already"
        );
        name
    }

    /// For an account, with the parts that all accounts of a process share.
    pub(crate) fn of_account(
        self,
        account: &Account,
        shared: &Self,
        diagnoses: &SharedLimit,
    ) -> Self {
        let shared = &shared.0;
        self.with(|policy| {
            policy.first = policy.first.of_account(account);
            policy.further = policy.further.iter().map(|known| known.of_account(account)).collect();
            policy.held_bodies = Arc::clone(&shared.held_bodies);
            policy.refusal_log = shared.refusal_log.clone();
            policy.diagnostics.share(diagnoses);
        })
    }

    /// For requests without a known account.
    pub(crate) fn refuse_all(self, kind: RejectionKind, diagnoses: &SharedLimit) -> Self {
        self.with(|policy| {
            policy.refuses = Some(Refuses::All(kind));
            policy.diagnostics.share(diagnoses);
        })
    }

    /// The kind of the rejection if no accepted secret signed a body.
    pub(crate) fn mismatch_kind(&self) -> RejectionKind {
        match self.0.refuses {
            Some(Refuses::All(kind)) => kind,
            _ => RejectionKind::SignatureMismatch,
        }
    }

    /// The account that it was looked up for.
    pub(crate) fn account(&self) -> Option<&Account> {
        self.0.first.signer.account.as_ref()
    }

    #[cfg(feature = "diagnosis")]
    pub(crate) fn diagnostics(&self) -> &Diagnostics {
        &self.0.diagnostics
    }

    #[cfg(feature = "diagnosis")]
    pub(crate) fn with_diagnostics(self, set: impl FnOnce(&mut Diagnostics)) -> Self {
        self.with(|policy| set(&mut policy.diagnostics))
    }

    pub(crate) fn time(&self) -> Clock {
        Arc::clone(&self.0.clock)
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.body_limit
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.body_timeout
    }

    pub(crate) fn hold_body(&self) -> Result<HeldPlace, Rejection> {
        HeldPlace::take(&self.0.held_bodies, self.0.max_held_bodies)
            .ok_or_else(|| self.refused(RejectionKind::TooManyBodies))
    }

    #[inline]
    pub(crate) fn refuse_authentic(&self, delivery: &Delivery) -> Result<(), Rejection> {
        match &self.0.refuses {
            None => Ok(()),
            Some(refuses) => {
                refuses.judge(delivery, &self.0.clock).map_err(|kind| self.refused(kind))
            }
        }
    }

    fn max_age_limit(&self) -> Option<Duration> {
        match self.0.refuses {
            Some(Refuses::OlderThan(limit)) => Some(limit),
            _ => None,
        }
    }

    fn with(mut self, set: impl FnOnce(&mut Policy)) -> Self {
        set(Arc::make_mut(&mut self.0));
        self
    }
}

impl From<Secret> for Verifier {
    fn from(secret: Secret) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secrets", &names(&mut self.accepted()))
            .field("body_limit", &self.0.body_limit)
            .field("body_timeout", &self.0.body_timeout)
            .field("max_held_bodies", &self.0.max_held_bodies)
            .field("max_age", &self.max_age_limit())
            .field("recognized", &names(&mut self.0.diagnostics.recognized().iter()))
            .field("diagnoses", &self.0.diagnostics.is_on())
            .finish()
    }
}

fn names<'a>(known: &mut dyn Iterator<Item = &'a NamedSecret>) -> Vec<&'a str> {
    known.map(NamedSecret::name).collect()
}
