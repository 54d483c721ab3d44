//! A secret that changes while the process runs.

mod follow;
#[cfg_attr(not(feature = "tracing"), path = "live/log_off.rs")]
mod log;

use std::{
    fmt, iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

pub use self::follow::{LOOK_INTERVAL, MAX_LOOK_INTERVAL};
use crate::{Secret, Verifier, named_secret::Overlap, verifier::Policy};

/// How long a secret is still accepted after it was replaced: 24 hours.
///
/// The vendor publishes neither how a secret is rotated nor when it retries. A day is enough for retries that are signed with
/// the old secret, and for changing the secret at the vendor by hand.
pub const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`Verifier`] whose secret can be replaced while it is in use.
///
/// Give the middleware a clone: `VerifyNumber7::live(live.clone())`. Each request is verified by the secrets that were accepted
/// when it began, and no request waits for a change. The old secret is still accepted for the [overlap](Self::overlap).
///
/// The overlap ends with the process. A process that starts later knows only the new secret. If the vendor may still sign with
/// the old one, give it that too, by [`Verifier::also_accept`].
///
/// # Example
///
/// ```
/// use number7_core::{LiveVerifier, Secret};
///
/// let (old, new) = (Secret::new("the secret until now")?, Secret::new("the new secret")?);
/// let (by_old, by_new) = (old.sign("{}").to_string(), new.sign("{}").to_string());
///
/// let live = LiveVerifier::new(old);
/// assert!(live.current().verify(&by_new, "{}").is_err());
///
/// assert!(live.replace(new.clone()));
/// assert_eq!(live.current().verify(&by_new, "{}").unwrap().signed_by(), new.fingerprint());
/// assert_eq!(live.current().verify(&by_old, "{}").unwrap().signed_by(), "primary");
/// # Ok::<(), number7_core::SecretError>(())
/// ```
#[derive(Clone)]
pub struct LiveVerifier(Arc<Live>);

struct Live {
    current: ArcSwap<Policy>,
    /// In milliseconds.
    overlap: AtomicU64,
}

/// A secret that a [`LiveVerifier`] accepts: what [`LiveVerifier::accepted`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedSecret {
    /// Its name in [`Delivery::signed_by`](crate::Delivery::signed_by).
    pub name: String,
    /// How long it is still accepted, if it was replaced.
    pub remaining: Option<Duration>,
    /// When it last signed since it was replaced.
    pub last_signed: Option<SystemTime>,
}

impl LiveVerifier {
    /// Begins with a [`Secret`], or with a [`Verifier`] if you want other limits or further secrets. All settings of the
    /// verifier stay when the secret is replaced.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>) -> Self {
        let current = ArcSwap::new(verifier.into().into_policy());
        let live = Live { current, overlap: AtomicU64::default() };
        Self(Arc::new(live)).overlap(DEFAULT_OVERLAP)
    }

    /// How long secrets that are replaced from now on are still accepted. Default: [`DEFAULT_OVERLAP`]. With zero, they are
    /// refused at once. It applies to all clones.
    #[must_use]
    pub fn overlap(self, length: Duration) -> Self {
        let millis = length.as_millis().try_into().unwrap_or(u64::MAX);
        self.0.overlap.store(millis, Ordering::Relaxed);
        self
    }

    /// Stops accepting all replaced secrets, for example after a leak. A secret from [`Verifier::also_accept`] stays accepted,
    /// even if it was the current one for a while: deploy without it.
    pub fn end_overlap(&self) {
        self.0
            .current
            .rcu(|policy| Verifier::by(Arc::clone(policy)).without_replaced().into_policy());
    }

    /// The current verifier.
    #[must_use]
    pub fn current(&self) -> Verifier {
        Verifier::by(self.0.current.load_full())
    }

    /// Verifies by this secret from now on, and for the [overlap](Self::overlap) also by the current one. The name of the new
    /// secret is its [fingerprint](Secret::fingerprint). Returns false, and changes nothing, if it already is the current one.
    ///
    /// Further secrets from [`Verifier::also_accept`] are accepted forever. Of the replaced ones, only the newest
    /// [`MAX_REPLACED_SECRETS`](crate::MAX_REPLACED_SECRETS) are.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn replace(&self, secret: Secret) -> bool {
        let mut is_new = false;
        self.0.current.rcu(|policy| {
            let verifier = Verifier::by(Arc::clone(policy));
            let overlap = Overlap::new(verifier.time(), self.0.overlap());
            let replaced = verifier.replaced(&secret, overlap);
            is_new = replaced.is_some();
            replaced.map_or_else(|| Arc::clone(policy), Verifier::into_policy)
        });
        if is_new {
            log::replaced(&secret);
        }
        is_new
    }

    /// The secrets that are accepted now, the current one first. It shows when an old one is no longer needed.
    #[must_use]
    pub fn accepted(&self) -> Vec<AcceptedSecret> {
        let verifier = self.current();
        let (first, further) = verifier.secrets();
        let further =
            further.filter(|known| !known.is_over() && !known.secret.is_same(&first.secret));
        let accepted = iter::once(first).chain(further);
        let shown = accepted.map(|known| AcceptedSecret {
            name: known.name().to_owned(),
            remaining: known.overlap.as_ref().map(Overlap::remaining),
            last_signed: known.overlap.as_ref().and_then(Overlap::last_signed),
        });
        shown.collect()
    }
}

impl Live {
    fn overlap(&self) -> Duration {
        Duration::from_millis(self.overlap.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for LiveVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveVerifier")
            .field("current", &self.current())
            .field("overlap", &self.0.overlap())
            .finish()
    }
}
