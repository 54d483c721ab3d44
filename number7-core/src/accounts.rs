//! Finds the verifier for a request, if each account has its own secret.

mod answer;
#[cfg_attr(not(feature = "tracing"), path = "accounts/log_off.rs")]
mod log;
mod lookup;
mod registry;

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use self::lookup::Lookup;
use self::registry::Registry;
use crate::{
    Account, Rejection, Verifier,
    clock::{self, Clock},
};

/// How long the verifier of an account is kept before it is looked up again: 1 minute.
///
/// This is how long a changed or revoked secret stays in use. A receiver with a thousand busy accounts makes 17
/// lookups a second.
pub const DEFAULT_ACCOUNT_TTL: Duration = Duration::from_secs(60);

/// How long it is remembered that an account does not exist: 1 second.
///
/// The first webhook of a new account may arrive before its secret exists, and the vendor does not publish how soon it retries.
pub const DEFAULT_UNKNOWN_TTL: Duration = Duration::from_secs(1);

/// How much longer the last answer is used while the account cannot be looked up: 1 hour.
///
/// Most outages of a database are over by then, and the vendor gives up an event after three retries. A revoked secret works
/// for this much longer only if the lookup fails meanwhile.
pub const DEFAULT_STALE_IF_ERROR: Duration = Duration::from_secs(60 * 60);

/// How soon an account is looked up again after a failed lookup, while its last answer is used: 5 seconds.
pub const LOOKUP_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How many accounts are cached: 100,000.
pub const DEFAULT_CACHED_ACCOUNTS: usize = 100_000;

/// How many names of accounts that do not exist are remembered: 10,000.
///
/// They have their own cache, so a sender that makes up names evicts no account.
pub const CACHED_UNKNOWN_NAMES: usize = 10_000;

/// How many requests can wait for a lookup at once: 256. Further ones are answered 503.
///
/// Requests for cached accounts that have to be looked up again are counted separately, with a limit of the same size. So a
/// sender that makes up names cannot stop them. The requests for one account take at most a quarter of the places.
pub const DEFAULT_MAX_LOOKUPS: usize = 256;

/// How long a request waits for a lookup: 5 seconds, as for the store that accepts its event.
pub const DEFAULT_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The accounts of a receiver that serves several. Each has its own webhook secret.
///
/// You give it an async function that finds the [`Verifier`] of an account, for example in a database. The middleware calls it
/// when a request with a well-formed signature names an account that is not in the cache, before it reads any of the body. Give
/// the middleware a clone, and say which part of a request names the account:
/// `VerifyNumber7::accounts(accounts, |Path(account): Path<String>| account)`. Then
/// [`Delivery::account`](crate::Delivery::account) is the account that the delivery was verified for, and the
/// [idempotency key](crate::IdempotencyKey) begins with it.
///
/// # What a sender without a secret can do
///
/// - An unknown account is answered like a forged signature: after the body is read and hashed, with the same 401. For
///   [a second](DEFAULT_UNKNOWN_TTL), it is remembered that the account does not exist.
/// - At most [256 requests](DEFAULT_MAX_LOOKUPS) wait for a lookup, for at most [5 seconds](DEFAULT_LOOKUP_TIMEOUT), and at
///   most a quarter of them for the same account. Several requests for one account wait for the same lookup. Cached accounts
///   have their own places.
/// - Unknown names have [their own cache](CACHED_UNKNOWN_NAMES).
/// - All accounts share one count of [unverified bodies](Verifier::max_held_bodies), one log of refusals and one limit of
///   diagnoses, whatever verifiers the function returns.
///
/// # If a lookup fails
///
/// If a lookup fails, panics, takes too long, or cannot begin because too many requests wait, the last answer for the account
/// is used for [another hour](DEFAULT_STALE_IF_ERROR), and the account is looked up again every
/// [5 seconds](LOOKUP_RETRY_INTERVAL). With the feature `tracing`, one `WARN` a minute says so. If the function returns that
/// the account does not exist, this ends at once.
///
/// An account that is not in the cache is answered 503 with `Retry-After`, because the event may be authentic. Such a failure
/// is the answer for all requests that wait for it, but it is not cached.
///
/// If the clock is set, forward or back, accounts are looked up again, and nothing is cached for longer than it
/// would be by the new time.
///
/// # What the function must do
///
/// Compare names exactly. Databases with a collation that ignores case also find `acme` by `ACME`. Then a captured delivery can
/// be sent again with another spelling, and gets another key. For the same reason, no two accounts may have the same secret.
///
/// # Example
///
/// ```
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
/// let accounts = Accounts::new(find).limits(|verifier| verifier.body_limit(1024 * 1024));
/// ```
#[derive(Clone)]
pub struct Accounts(Arc<Registry>);

#[derive(Clone)]
struct Settings {
    clock: Clock,
    find: Arc<dyn Fn(Account) -> FindFuture + Send + Sync>,
    limits: Arc<dyn Fn(Verifier) -> Verifier + Send + Sync>,
    ttl: Duration,
    unknown_ttl: Duration,
    stale_if_error: Duration,
    max_cached: usize,
    max_lookups: usize,
    lookup_timeout: Duration,
}

/// Longer than any process runs, but short enough that a clock can reach its end.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

type FindFuture = Pin<Box<dyn Future<Output = Result<Option<Verifier>, BoxError>> + Send>>;
type BoxError = Box<dyn Error + Send + Sync>;

/// The result of [`Accounts::find`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Found {
    /// The verifier of the account: [begin](Verifier::begin).
    Verifier(Verifier),
    /// The account is being looked up.
    Lookup(Lookup),
}

impl Accounts {
    /// Finds the verifier of an account by this function: `None` means that the account does not exist. The text of an error is
    /// logged, so it must not quote a secret.
    pub fn new<F, E>(find: impl Fn(Account) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<Verifier>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let find = move |account| -> FindFuture {
            let found = find(account);
            Box::pin(async { found.await.map_err(Into::into) })
        };
        Self::with(Settings {
            clock: clock::system(),
            find: Arc::new(find),
            limits: Arc::new(|verifier| verifier),
            ttl: DEFAULT_ACCOUNT_TTL,
            unknown_ttl: DEFAULT_UNKNOWN_TTL,
            stale_if_error: DEFAULT_STALE_IF_ERROR,
            max_cached: DEFAULT_CACHED_ACCOUNTS,
            max_lookups: DEFAULT_MAX_LOOKUPS,
            lookup_timeout: DEFAULT_LOOKUP_TIMEOUT,
        })
    }

    /// Sets the limits of all verifiers, including that of unknown accounts, and whether they diagnose. If you set them in the
    /// lookup instead, a sender can find out by them which accounts exist.
    #[must_use]
    pub fn limits(self, set: impl Fn(Verifier) -> Verifier + Send + Sync + 'static) -> Self {
        let before = Arc::clone(&self.0.settings.limits);
        let limits = Arc::new(move |verifier| set(before(verifier)));
        Self::with(Settings { limits, ..self.0.settings.clone() })
    }

    /// Takes the time from `clock` instead of the system, for tests. It decides when an account is looked up again.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self::with(Settings { clock: Arc::new(clock), ..self.0.settings.clone() })
    }

    /// How long a verifier is cached. Default: [`DEFAULT_ACCOUNT_TTL`].
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self::with(Settings { ttl, ..self.0.settings.clone() })
    }

    /// How long it is remembered that an account does not exist. Default: [`DEFAULT_UNKNOWN_TTL`].
    #[must_use]
    pub fn unknown_ttl(self, ttl: Duration) -> Self {
        Self::with(Settings { unknown_ttl: ttl, ..self.0.settings.clone() })
    }

    /// How long the last answer is used after its [time](Self::ttl) while the account cannot be looked up. Zero turns this off.
    /// Default: [`DEFAULT_STALE_IF_ERROR`].
    #[must_use]
    pub fn stale_if_error(self, length: Duration) -> Self {
        Self::with(Settings { stale_if_error: length, ..self.0.settings.clone() })
    }

    /// How many accounts are cached. Default: [`DEFAULT_CACHED_ACCOUNTS`].
    #[must_use]
    pub fn max_cached(self, accounts: usize) -> Self {
        Self::with(Settings { max_cached: accounts, ..self.0.settings.clone() })
    }

    /// How many requests can wait for a lookup at once. Default: [`DEFAULT_MAX_LOOKUPS`].
    ///
    /// # Panics
    ///
    /// If the number is 0, because every account that is not in the cache would be refused.
    #[must_use]
    #[track_caller]
    pub fn max_lookups(self, requests: usize) -> Self {
        assert!(requests > 0, "a maximum of 0 lookups refuses every event");
        Self::with(Settings { max_lookups: requests, ..self.0.settings.clone() })
    }

    /// How long a request waits for a lookup. Default: [`DEFAULT_LOOKUP_TIMEOUT`].
    ///
    /// # Panics
    ///
    /// If the timeout is zero, because no lookup can meet it.
    #[must_use]
    #[track_caller]
    pub fn lookup_timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "a lookup timeout of 0 refuses every event");
        Self::with(Settings { lookup_timeout: timeout, ..self.0.settings.clone() })
    }

    /// Finds the verifier of the account that a request names: in the cache, or by a lookup if the request has a signature.
    /// Pass `None` if it names none. A lookup that ends at once does not wait. For adapters.
    ///
    /// # Errors
    ///
    /// A lookup is needed, but the signature is missing or malformed, too many requests wait for a lookup, or the lookup failed
    /// at once. [Drain](Verifier::drain) by [`unknown`](Self::unknown).
    pub fn find<'h>(
        &self,
        name: Option<&str>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Found, Rejection> {
        let Some(name) = name else { return Ok(Found::Verifier(self.0.unnamed().clone())) };
        match self.0.fresh(name) {
            Some(verifier) => Ok(Found::Verifier(verifier)),
            None => self.0.look_up(name, headers),
        }
    }

    /// Looks up the account again at its next request, for example after its secret was changed, and no longer uses its last
    /// answer, even if the lookup fails. It affects only this process.
    pub fn forget(&self, account: &Account) {
        self.0.forget(account);
    }

    /// The verifier of accounts that do not exist. It refuses every request.
    #[must_use]
    pub fn unknown(&self) -> &Verifier {
        self.0.nobody()
    }

    fn with(settings: Settings) -> Self {
        Self(Registry::new(settings))
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("cached", &self.0.cached()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::{RejectionKind, SIGNATURE_HEADER, Secret, Wait};

    fn accounts() -> Accounts {
        Accounts::new(|account: Account| async move {
            let verifier = Verifier::from(Secret::new(account.as_str()).unwrap());
            let is_known = account.as_str() != "nobody";
            Ok::<_, Infallible>(is_known.then(|| verifier.max_held_bodies(1)))
        })
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
        assert!(matches!(one.wait(), Ok(Wait::Timeout(_))));
        assert_eq!(other.wait().unwrap_err().kind(), RejectionKind::TooManyBodies);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn all_accounts_share_one_limit_of_diagnoses() {
        let find = |account: Account| async move {
            let verifier = Verifier::from(Secret::new(account.as_str()).unwrap());
            Ok::<_, Infallible>(Some(verifier.clock(|| SystemTime::UNIX_EPOCH).diagnose()))
        };
        let accounts = Accounts::new(find);
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
