//! Which verifier a request is for, if each account has a secret of its own.

use std::{
    error::Error,
    fmt,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, atomic::AtomicUsize},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;

use crate::{
    Account, Rejection, RejectionKind, Secret, Verifier, clock::Clock, diagnosis::SharedLimit,
    held::HeldPlace,
};

/// How long the verifier of an account is kept before it is looked up again: 1 minute.
///
/// This is how long a secret that was changed or revoked stays in use. A receiver with a thousand accounts that are all
/// busy makes 17 lookups a second.
pub const DEFAULT_ACCOUNT_TTL: Duration = Duration::from_secs(60);

/// How long it is kept that there is no such account: 1 second.
///
/// The first webhook of a new account may come before its secret is there, and the vendor does not publish how soon it retries.
pub const DEFAULT_UNKNOWN_TTL: Duration = Duration::from_secs(1);

/// How many accounts are kept, unknown ones included: 100,000.
pub const DEFAULT_CACHED_ACCOUNTS: usize = 100_000;

/// How many requests wait for a lookup at once: 256. More are answered 503.
pub const DEFAULT_MAX_LOOKUPS: usize = 256;

/// How long a request waits for a lookup: 5 seconds, as for the store that accepts its event.
pub const DEFAULT_LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// The accounts of a receiver that serves several, each with a webhook secret of its own.
///
/// You give it an async function that finds the [`Verifier`] of an account, for example in a database. The middleware calls
/// it when a request with a well-formed signature names an account that is not in the cache, before it reads a byte of the
/// body. Give the middleware a clone, and say which part of a request names the account:
/// `VerifyNumber7::accounts(accounts, |Path(account): Path<String>| account)`. Then
/// [`Delivery::account`](crate::Delivery::account) says which account it was verified for, and the
/// [idempotency key](crate::IdempotencyKey) has it in front.
///
/// # What a sender without a secret can do
///
/// - An account that does not exist is answered as a forged signature is: after the body is read and hashed, with the same 401.
///   It is kept for [a second](DEFAULT_UNKNOWN_TTL) that there is none.
/// - At most [256 requests](DEFAULT_MAX_LOOKUPS) wait for a lookup, for at most [5 seconds](DEFAULT_LOOKUP_DEADLINE). Several
///   requests for one account wait for the same lookup.
/// - All accounts share one count of [unverified bodies](Verifier::max_held_bodies), one log of refusals and one limit of
///   diagnoses, whatever verifiers the function returns.
///
/// If a lookup fails, takes too long, or cannot begin because too many are running, the answer is 503 with `Retry-After`: the
/// event may be authentic. Such a failure is for all requests that wait for it, and is not kept.
///
/// # What the function has to keep to
///
/// Compare names exactly. If the function also finds `acme` by `ACME`, as databases with a collation that ignores case do, a captured
/// delivery can be sent again under another spelling, and has another key there. For the same reason, no two accounts may have the same
/// secret.
///
/// # Example
///
/// ```
/// use std::time::SystemTime;
///
/// use number7_core::{Account, Accounts, Secret, SecretError, Verifier};
///
/// async fn find(account: Account) -> Result<Option<Verifier>, SecretError> {
///     Ok(match account.as_str() {
///         "acme" => Some(Secret::new("the secret of acme")?.into()),
///         "globex" => Some(Verifier::named("2026-11", Secret::new("the secret of globex")?)),
///         _ => None,
///     })
/// }
///
/// let accounts = Accounts::new(find, SystemTime::now).limits(|verifier| verifier.body_limit(1024 * 1024));
/// ```
#[derive(Clone)]
pub struct Accounts(Arc<Registry>);

struct Registry {
    settings: Settings,
    cache: Cache<Account, Entry>,
    unknown: Verifier,
    diagnoses: SharedLimit,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Settings {
    clock: Clock,
    find: Arc<dyn Fn(Account) -> FindFuture + Send + Sync>,
    limits: Arc<dyn Fn(Verifier) -> Verifier + Send + Sync>,
    ttl: Duration,
    unknown_ttl: Duration,
    max_cached: usize,
    max_lookups: usize,
    lookup_deadline: Duration,
}

/// Longer than any process runs, and not too long for a clock to tell its end.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

type FindFuture = Pin<Box<dyn Future<Output = Result<Option<Verifier>, BoxError>> + Send>>;
type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Clone)]
struct Entry {
    /// A failure is only for those who wait for it.
    found: Result<Verifier, Rejection>,
    until: SystemTime,
}

/// What [`Accounts::find`] returns.
#[derive(Debug)]
pub enum Found {
    /// The verifier of the account: [begin](Verifier::begin).
    Verifier(Verifier),
    /// The account has to be looked up first.
    Lookup(Lookup),
}

impl Accounts {
    /// Finds the verifier of an account by this function: `None` says that there is no such account. An error is
    /// logged with its text, and must not quote a secret. `clock` says when it is time to look up an account again; pass
    /// [`SystemTime::now`] outside of tests.
    pub fn new<F, E>(
        find: impl Fn(Account) -> F + Send + Sync + 'static,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Option<Verifier>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let find = move |account| -> FindFuture {
            let found = find(account);
            Box::pin(async { found.await.map_err(Into::into) })
        };
        Self::with(Settings {
            clock: Arc::new(clock),
            find: Arc::new(find),
            limits: Arc::new(|verifier| verifier),
            ttl: DEFAULT_ACCOUNT_TTL,
            unknown_ttl: DEFAULT_UNKNOWN_TTL,
            max_cached: DEFAULT_CACHED_ACCOUNTS,
            max_lookups: DEFAULT_MAX_LOOKUPS,
            lookup_deadline: DEFAULT_LOOKUP_DEADLINE,
        })
    }

    /// Sets the limits of all verifiers, those of unknown accounts included, and whether they diagnose.
    /// If you set them in the lookup instead, a sender can tell by them which accounts exist.
    #[must_use]
    pub fn limits(self, set: impl Fn(Verifier) -> Verifier + Send + Sync + 'static) -> Self {
        let before = Arc::clone(&self.0.settings.limits);
        let limits = Arc::new(move |verifier| set(before(verifier)));
        Self::with(Settings { limits, ..self.0.settings.clone() })
    }

    /// How long a verifier is kept. Default: [`DEFAULT_ACCOUNT_TTL`].
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self::with(Settings { ttl, ..self.0.settings.clone() })
    }

    /// How long it is kept that there is no such account. Default: [`DEFAULT_UNKNOWN_TTL`].
    #[must_use]
    pub fn unknown_ttl(self, ttl: Duration) -> Self {
        Self::with(Settings { unknown_ttl: ttl, ..self.0.settings.clone() })
    }

    /// How many accounts are kept. Default: [`DEFAULT_CACHED_ACCOUNTS`].
    #[must_use]
    pub fn max_cached(self, accounts: usize) -> Self {
        Self::with(Settings { max_cached: accounts, ..self.0.settings.clone() })
    }

    /// How many requests wait for a lookup at once. Default: [`DEFAULT_MAX_LOOKUPS`].
    ///
    /// # Panics
    ///
    /// If the number is 0, which refuses every account that is not in the cache.
    #[must_use]
    #[track_caller]
    pub fn max_lookups(self, requests: usize) -> Self {
        assert!(requests > 0, "a maximum of 0 lookups refuses every event");
        Self::with(Settings { max_lookups: requests, ..self.0.settings.clone() })
    }

    /// How long a request waits for a lookup. Default: [`DEFAULT_LOOKUP_DEADLINE`].
    ///
    /// # Panics
    ///
    /// If the deadline is zero, which no lookup can meet.
    #[must_use]
    #[track_caller]
    pub fn lookup_deadline(self, deadline: Duration) -> Self {
        assert!(!deadline.is_zero(), "a lookup deadline of 0 refuses every event");
        Self::with(Settings { lookup_deadline: deadline, ..self.0.settings.clone() })
    }

    /// Finds the verifier of the account that a request names: from the cache, or by a lookup if the
    /// request has a signature. Pass `None` if it names none. For adapters.
    ///
    /// # Errors
    ///
    /// A lookup is needed, and the signature is missing or malformed, or too many requests wait for a lookup. [Drain](Verifier::drain) by
    /// [`unknown`](Self::unknown).
    pub fn find<'h>(
        &self,
        name: Option<&str>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Found, Rejection> {
        let registry = &self.0;
        let cached = name.and_then(|name| registry.cache.get(name));
        if let Some(entry) = cached.filter(|entry| registry.is_live(entry)) {
            return entry.found.map(Found::Verifier);
        }
        let Some(account) = name.and_then(|name| Account::new(name).ok()) else {
            return Ok(Found::Verifier(registry.unknown.clone()));
        };
        registry.unknown.check(headers)?;
        let place = HeldPlace::take(&registry.waiting, registry.settings.max_lookups)
            .ok_or_else(|| Rejection::from(RejectionKind::TooManyLookups).of(&account))?;
        Ok(Found::Lookup(Lookup::new(self.clone(), account, place)))
    }

    /// Looks the account up again at its next request, such as after its secret was changed. For this process alone.
    pub fn forget(&self, account: &Account) {
        self.0.cache.remove(account);
    }

    /// The verifier of accounts that do not exist. It refuses every request.
    #[must_use]
    pub fn unknown(&self) -> &Verifier {
        &self.0.unknown
    }

    fn with(settings: Settings) -> Self {
        let diagnoses = SharedLimit::default();
        let unknown = (settings.limits)(Verifier::new(nobodys_secret())).refuse_all(&diagnoses);
        let cache = Cache::new(settings.max_cached);
        Self(Arc::new(Registry { settings, cache, unknown, diagnoses, waiting: Arc::default() }))
    }

    /// Waits for the lookup of another request for this account, or looks it up.
    async fn look_up(&self, account: &Account) -> Result<Verifier, Rejection> {
        let registry = &self.0;
        registry.cache.remove_if(account, |entry| !registry.is_live(entry));
        let place = match registry.cache.get_value_or_guard_async(account).await {
            Ok(entry) => return entry.found,
            Err(place) => place,
        };
        let begun = (registry.settings.clock)();
        let Registry { unknown, diagnoses, settings, .. } = &**registry;
        let (found, ttl) = match (settings.find)(account.clone()).await {
            Ok(Some(verifier)) => {
                let verifier = (settings.limits)(verifier);
                (Ok(verifier.of_account(account, unknown, diagnoses)), settings.ttl)
            }
            Ok(None) => (Ok(unknown.clone()), settings.unknown_ttl),
            Err(error) => {
                let rejection = Rejection::because(RejectionKind::LookupFailed, error);
                (Err(rejection.of(account)), Duration::ZERO)
            }
        };
        let entry = Entry { found: found.clone(), until: begun + ttl.min(LONGEST_TTL) };
        // Refused only if somebody else has removed the place, and then the next request looks it up again.
        _ = place.insert(entry);
        found
    }
}

impl Registry {
    fn is_live(&self, entry: &Entry) -> bool {
        (self.settings.clock)() < entry.until
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("cached", &self.0.cache.len()).finish_non_exhaustive()
    }
}

/// A lookup of an account: a future that needs no particular async runtime. It holds one of the places for
/// lookups until it is dropped. Wait for it no longer than its [deadline](Self::deadline), in a task of its own: other requests
/// wait for it too, and a sender that hangs up must not end it.
pub struct Lookup {
    account: Account,
    deadline: Duration,
    found: Pin<Box<dyn Future<Output = Result<Verifier, Rejection>> + Send>>,
}

impl Lookup {
    fn new(accounts: Accounts, account: Account, place: HeldPlace) -> Self {
        let (deadline, of) = (accounts.0.settings.lookup_deadline, account.clone());
        let found = Box::pin(async move {
            let _place = place;
            accounts.look_up(&of).await
        });
        Self { account, deadline, found }
    }

    /// How long to wait. After that, refuse with [`too_slow`](Self::too_slow).
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The refusal if it ends without an answer, by a panic of the function.
    #[must_use]
    pub fn failed(&self) -> Rejection {
        Rejection::from(RejectionKind::LookupFailed).of(&self.account)
    }

    /// The refusal if the deadline is over.
    #[must_use]
    pub fn too_slow(&self) -> Rejection {
        Rejection::from(RejectionKind::LookupTooSlow).of(&self.account)
    }
}

impl Future for Lookup {
    type Output = Result<Verifier, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.found.as_mut().poll(cx)
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("account", &self.account).finish_non_exhaustive()
    }
}

/// A secret to hash bodies of unknown accounts with. Nothing depends on its being unknown: such a body is refused
/// even if it signed it.
fn nobodys_secret() -> Secret {
    let secret = [(); 4].map(|()| RandomState::new().hash_one(0).to_ne_bytes()).concat();
    Secret::of_bytes(&secret)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin, task::Waker};

    use super::*;
    use crate::{SIGNATURE_HEADER, Wait};

    fn accounts() -> Accounts {
        Accounts::new(
            |account: Account| async move {
                let verifier = Verifier::from(Secret::new(account.as_str()).unwrap());
                let is_known = account.as_str() != "nobody";
                Ok::<_, Infallible>(is_known.then(|| verifier.max_held_bodies(1)))
            },
            || SystemTime::UNIX_EPOCH,
        )
    }

    fn verifier(accounts: &Accounts, name: &str) -> Verifier {
        match accounts.find(Some(name), [(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap() {
            Found::Verifier(verifier) => verifier,
            Found::Lookup(lookup) => {
                match pin!(lookup).poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(found) => found.unwrap(),
                    Poll::Pending => panic!("nothing is waited for"),
                }
            }
        }
    }

    #[test]
    fn all_accounts_share_the_places_for_unverified_bodies() {
        let accounts = accounts();
        let intake = |name: &str| {
            let verifier = verifier(&accounts, name);
            verifier.begin([(SIGNATURE_HEADER, &[b'0'; 64][..])]).unwrap()
        };
        let (mut one, mut other) = (intake("one"), intake("other"));
        for intake in [&mut one, &mut other] {
            assert_eq!(intake.wait().unwrap(), Wait::OneTurn);
        }
        assert!(matches!(one.wait(), Ok(Wait::Deadline(_))));
        assert_eq!(other.wait().unwrap_err().kind(), RejectionKind::TooManyBodies);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn all_accounts_share_one_limit_of_diagnoses() {
        let find = |account: Account| async move {
            let verifier = Verifier::from(Secret::new(account.as_str()).unwrap());
            Ok::<_, Infallible>(Some(verifier.clock(|| SystemTime::UNIX_EPOCH).diagnose()))
        };
        let accounts = Accounts::new(find, || SystemTime::UNIX_EPOCH);
        let forged = Secret::new("nobody's").unwrap().sign("{}\n").to_string();
        let diagnosed = (0..20).filter(|number| {
            let verifier = verifier(&accounts, &format!("account-{number}"));
            let refused = verifier.verify(&forged, "{}").unwrap_err();
            !refused.to_string().contains("five others were diagnosed")
        });
        assert_eq!(diagnosed.count(), usize::from(crate::DIAGNOSES_PER_SECOND));
    }

    #[test]
    fn an_unknown_account_is_refused_even_if_its_own_dummy_secret_signs() {
        let unknown = verifier(&accounts(), "nobody");
        let signature = unknown.secrets().0.secret.sign("{}").to_string();
        let refused = unknown.verify(signature, "{}").unwrap_err();
        assert_eq!((refused.kind(), refused.status_code()), (RejectionKind::UnknownAccount, 401));
    }

    #[test]
    fn a_delivery_and_a_refusal_say_whose_they_are() {
        let verifier = verifier(&accounts(), "one");
        let signature = Secret::new("one").unwrap().sign("{}").to_string();
        let account = Account::new("one").unwrap();
        assert_eq!(verifier.verify(&signature, "{}").unwrap().account(), Some(&account));
        assert_eq!(verifier.verify(&signature, "{ }").unwrap_err().account(), Some(&account));
    }
}
