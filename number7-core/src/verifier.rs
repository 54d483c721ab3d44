//! Which requests are accepted.

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

/// The name of the first secret when it is given none.
pub const DEFAULT_SECRET_NAME: &str = "primary";

/// The largest body that is accepted: 64 KiB (65,536 bytes).
///
/// The published events have some 150 bytes; the rest is room for long error texts and for fields
/// to come. Memory for unverified bodies is bounded by this times [`DEFAULT_MAX_HELD_BODIES`].
pub const DEFAULT_BODY_LIMIT: usize = 64 * 1024;

/// How long a whole body may take to arrive: 10 seconds.
///
/// It is counted from the moment at which the request is there and its body is not. A sender of
/// 150 bytes needs a few milliseconds; ten seconds forgive a lost packet or two, and end a sender
/// that drips.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many unverified bodies are waited for at once: 1,024.
///
/// With the default body limit they hold 64 MiB at most.
pub const DEFAULT_MAX_HELD_BODIES: usize = 1024;

/// How many replaced secrets are still accepted at once: 8. With the next one, the oldest is not any more.
///
/// A forged body costs an HMAC for each of them, and nobody rotates a secret so often within an
/// [overlap](crate::LiveVerifier::overlap). Without a bound, a source that changes by mistake with every look would make each
/// forged request dearer.
pub const MAX_REPLACED_SECRETS: usize = 8;

/// The policy by which requests are accepted: the secrets, and the limits on bodies whose sender
/// is not known yet.
///
/// It is cheap to clone, and the clones share the count of bodies that are waited for and of refusals
/// that are not logged: build one,
/// and give clones to all apps, workers and routes of a process.
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
/// While a secret is being replaced, both are accepted, each under a name of yours, and
/// [`Delivery::signed_by`] tells which one signed. The second costs one more HMAC, and only for
/// bodies that the first did not sign.
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

/// What is refused although it is authentic.
#[derive(Clone)]
enum Refuses {
    OlderThan(Duration),
    /// There is no account, for this reason.
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

    /// Accepts what one secret signed, under a name for logs and for [`Delivery::signed_by`].
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

    /// Accepts what a further secret signed, too. The secrets are tried in the order in which they
    /// were given.
    ///
    /// # Panics
    ///
    /// If there is a secret of that name already: nobody could tell the two apart.
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
    /// If the limit is 0, which no event fits in.
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
    /// If the timeout is zero, which no body that is still on its way can meet.
    #[must_use]
    #[track_caller]
    pub fn body_timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "a body timeout of 0 refuses events that are on their way");
        self.with(|policy| policy.body_timeout = timeout)
    }

    /// Waits for at most `bodies` unverified bodies at once. Default: [`DEFAULT_MAX_HELD_BODIES`].
    ///
    /// A body that arrives in one piece with its request is verified at once. It is not waited
    /// for, does not count, and is never refused for this reason: senders that stall cannot keep
    /// it out. A good body that comes later can be refused while all places are taken.
    ///
    /// # Panics
    ///
    /// If the number is 0, which refuses every body that is still on its way.
    #[must_use]
    #[track_caller]
    pub fn max_held_bodies(self, bodies: usize) -> Self {
        assert!(bodies > 0, "a maximum of 0 held bodies refuses events that are on their way");
        self.with(|policy| policy.max_held_bodies = bodies)
    }

    /// Refuses an event whose signed `timestamp` is older than `limit`. An event without a readable timestamp has no age and is
    /// refused as well; one from the future is not.
    ///
    /// It is off by default, and for most receivers should stay off. The vendor publishes neither when it
    /// retries nor whether a retry has a new timestamp. If it has not, a limit that is shorter than the
    /// longest delay refuses authentic retries, and after the third the vendor never sends the event
    /// again. A replayed delivery has the same [`IdempotencyKey`](crate::IdempotencyKey) as the first,
    /// which is the better defence.
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

    /// Takes the time from `clock` instead of the system, for tests. [`max_age`](Self::max_age), the limit of
    /// diagnoses per second, and the [overlap](crate::LiveVerifier::overlap) of a secret that was replaced read it.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|policy| policy.clock = Arc::new(clock))
    }

    /// Verifies a body that is there as a whole, against the value of its signature header.
    ///
    /// # Errors
    ///
    /// All that [`begin`](Self::begin), [`Intake::push`] and [`Intake::finish`] refuse.
    pub fn verify(
        &self,
        signature: impl AsRef<[u8]>,
        body: impl Into<Bytes>,
    ) -> Result<Delivery, Rejection> {
        let mut intake = self.begin([(SIGNATURE_HEADER, signature.as_ref())])?;
        intake.push(body.into())?;
        intake.finish()
    }

    /// Begins to verify a request by its headers, all of them, as names and values. The names may
    /// have either case; a header with several values comes several times.
    ///
    /// On an error, answer. [`drain`](Self::drain) says whether to read the body before, so that the connection
    /// can be used again.
    ///
    /// # Errors
    ///
    /// No signature header, more than one, or one that is not a [`Signature`](crate::Signature),
    /// and then a declared length that exceeds the limit.
    // An intake that is not made where it is kept costs two copies more.
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

    /// A refusal of a request, which says for which account it was.
    #[cold]
    pub(crate) fn refused(&self, kind: RejectionKind) -> Rejection {
        Rejection::from(kind).of_any(self.account())
    }

    /// What may be read of the body of a request that [`begin`](Self::begin) has refused, by its headers. `None`
    /// says to read nothing: its declared length is over [`DRAIN_LIMIT`], or the sender waits to be asked for it
    /// (`Expect: 100-continue`).
    pub fn drain<'h>(
        &self,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Option<Drain> {
        let head = Head::read(headers);
        let is_wanted = !head.expects && head.declared_length <= DRAIN_LIMIT as u64;
        is_wanted.then(|| Drain::new(self.clone(), false, None))
    }

    /// What an adapter asks before it logs a refusal. All clones of a verifier share it.
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

    /// The same with another first secret, and the first until now behind it for the overlap. `None` if it is the
    /// same one.
    pub(crate) fn replaced(self, secret: &Secret, overlap: Overlap) -> Option<Self> {
        let is_new = |known: &NamedSecret| !known.secret.is_same(secret);
        if !is_new(&self.0.first) {
            return None;
        }
        let old = NamedSecret { overlap: Some(overlap), ..self.0.first.clone() };
        let others = || self.0.further.iter().filter(|known| !known.is_over());
        // A secret that was given to be accepted always has no end, even if it was the current one for a while.
        let stays = |known: &&NamedSecret| known.overlap.is_none();
        let ends = !others().filter(stays).any(|known| known.secret.is_same(&old.secret));
        let replaced = iter::once(old).filter(|_| ends);
        let replaced = replaced.chain(others().filter(|known| !stays(known)).cloned());
        // With room for all of them: what is moved leaves a copy of its key behind.
        let mut further = Vec::with_capacity(self.0.further.len() + 1);
        further.extend(replaced.filter(is_new).take(MAX_REPLACED_SECRETS));
        further.extend(others().filter(stays).cloned());
        let first = NamedSecret::new(secret.fingerprint().into(), secret.clone());
        Some(self.with(|policy| (policy.first, policy.further) = (first, further)))
    }

    /// The same without the secrets that were replaced.
    pub(crate) fn without_replaced(self) -> Self {
        // With room for all of them: what is moved leaves a copy of its key behind.
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

    /// For an account: with what all accounts of a process share.
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

    /// For requests that are for no account.
    pub(crate) fn refuse_all(self, kind: RejectionKind, diagnoses: &SharedLimit) -> Self {
        self.with(|policy| {
            policy.refuses = Some(Refuses::All(kind));
            policy.diagnostics.share(diagnoses);
        })
    }

    /// Why a body is refused that no accepted secret signed.
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
