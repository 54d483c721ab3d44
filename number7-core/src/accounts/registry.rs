//! What is known of accounts, and which of them are being looked up.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::SystemTime,
};

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{
    CACHED_UNKNOWN_NAMES, Found, Lookup, Settings,
    answer::Answer,
    log,
    lookup::{Outcome, Running, panicked},
};
use crate::{
    Account, REFUSAL_LOG_INTERVAL, Rejection, RejectionKind, Secret, Verifier, adapter::metrics,
    diagnosis::SharedLimit, held::HeldPlace,
};

pub(super) struct Registry {
    pub(super) settings: Settings,
    /// Only real accounts come into it, so nobody can fill it with names whose hashes collide, and the hash can be a fast one.
    known: Cache<Account, Arc<Answer>, UnitWeighter, foldhash::fast::RandomState>,
    unknown: Cache<Account, Arc<Answer>>,
    running: Mutex<HashMap<Account, Arc<Running>>>,
    /// For names that no account has.
    nobody: Verifier,
    /// For requests without a name.
    unnamed: Verifier,
    /// For what no account can be named.
    misnamed: Verifier,
    diagnoses: SharedLimit,
    waiting: Waiting,
    /// When the operator was told that lookups fail.
    warned: Mutex<Option<SystemTime>>,
}

/// How many requests wait for a lookup.
#[derive(Default)]
struct Waiting {
    of_known: Arc<AtomicUsize>,
    /// Anybody can make up names.
    of_others: Arc<AtomicUsize>,
}

impl Registry {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let diagnoses = SharedLimit::default();
        let limited = (settings.limits)(Verifier::new(nobodys_secret()));
        let refuse_all = |kind| limited.clone().refuse_all(kind, &diagnoses);
        Arc::new(Self {
            known: Cache::with(
                settings.max_cached,
                settings.max_cached as u64,
                UnitWeighter,
                foldhash::fast::RandomState::default(),
                DefaultLifecycle::default(),
            ),
            unknown: Cache::new(CACHED_UNKNOWN_NAMES),
            running: Mutex::default(),
            waiting: Waiting::default(),
            warned: Mutex::default(),
            settings,
            nobody: refuse_all(RejectionKind::UnknownAccount),
            unnamed: refuse_all(RejectionKind::MissingAccount),
            misnamed: refuse_all(RejectionKind::MalformedAccount),
            diagnoses,
        })
    }

    pub(super) fn nobody(&self) -> &Verifier {
        &self.nobody
    }

    pub(super) fn unnamed(&self) -> &Verifier {
        &self.unnamed
    }

    pub(super) fn cached(&self) -> usize {
        self.known.len()
    }

    #[inline]
    pub(super) fn now(&self) -> SystemTime {
        (self.settings.clock)()
    }

    /// The verifier of a known account.
    #[inline]
    pub(super) fn fresh(&self, name: &str) -> Option<Verifier> {
        let answer = self.known.get(name)?;
        answer.is_fresh(self.now()).then(|| answer.verifier.clone())
    }

    /// What follows if there is no fresh answer for a known account.
    #[cold]
    pub(super) fn look_up<'h>(
        self: &Arc<Self>,
        name: &str,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Found, Rejection> {
        let now = self.now();
        if let Some(unknown) = self.unknown.get(name).filter(|answer| answer.is_fresh(now)) {
            return Ok(Found::Verifier(unknown.verifier.clone()));
        }
        let Ok(account) = Account::new(name) else {
            return Ok(Found::Verifier(self.misnamed.clone()));
        };
        self.nobody.check(headers).map_err(|rejection| rejection.of(&account))?;
        match self.join(&account, now) {
            Ok(Joined::Answered(verifier)) => Ok(Found::Verifier(verifier)),
            Ok(Joined::Waits(lookup)) => Ok(Found::Lookup(lookup)),
            Ok(Joined::Begins(lookup)) => lookup.begin(),
            Err(kind) => Err(Rejection::from(kind).of(&account)),
        }
    }

    /// Waits for a lookup of the account that is running, or begins one.
    fn join(self: &Arc<Self>, account: &Account, now: SystemTime) -> Result<Joined, RejectionKind> {
        let mut all = self.running();
        // One may have ended, or have been forgotten, just now.
        let last = self.known.get(account);
        let fresh = |answer: &Arc<Answer>| answer.is_fresh(now);
        if let Some(answer) =
            last.clone().filter(fresh).or_else(|| self.unknown.get(account).filter(fresh))
        {
            return Ok(Joined::Answered(answer.verifier.clone()));
        }
        let running = all.get(account);
        let usable = last.as_ref().filter(|answer| answer.is_usable(now));
        if let (Some(_), Some(answer)) = (running, usable.filter(|answer| answer.is_failing)) {
            return Ok(Joined::Answered(answer.verifier.clone()));
        }
        let most = self.settings.max_lookups;
        let waiting = match last {
            Some(_) => &self.waiting.of_known,
            None => &self.waiting.of_others,
        };
        // One reference is that of `all`.
        let has_room =
            running.is_none_or(|running| Arc::strong_count(running) <= (most / 4).max(1));
        let Some(place) = has_room.then(|| HeldPlace::take(waiting, most)).flatten() else {
            let answer = usable.ok_or(RejectionKind::TooManyLookups)?;
            return Ok(Joined::Answered(answer.verifier.clone()));
        };
        let lookup =
            |running| Lookup::new(Arc::clone(self), account, last.clone(), running, now, place);
        Ok(match running {
            Some(running) => Joined::Waits(lookup(Arc::clone(running))),
            None => {
                let running = Arc::new(Running::default());
                all.insert(account.clone(), Arc::clone(&running));
                Joined::Begins(lookup(running))
            }
        })
    }

    /// What a lookup has found, with the limits of all verifiers, which a function of the user sets.
    pub(super) fn limited(
        &self,
        account: &Account,
        found: Result<Option<Verifier>, Rejection>,
    ) -> Result<Option<Verifier>, Rejection> {
        let Some(verifier) = found? else { return Ok(None) };
        let limits = AssertUnwindSafe(|| (self.settings.limits)(verifier));
        let verifier = catch_unwind(limits).map_err(|_| panicked())?;
        Ok(Some(verifier.of_account(account, &self.nobody, &self.diagnoses)))
    }

    /// Keeps what came of a lookup, and makes of it what is for all that wait for it. It calls nothing of the user's that may
    /// panic, because all that wait would wait for nothing.
    pub(super) fn settle(
        &self,
        account: &Account,
        running: &Arc<Running>,
        last: Option<&Answer>,
        begun: SystemTime,
        found: Result<Option<Verifier>, Rejection>,
    ) -> Outcome {
        let (now, settings) = (self.now(), &self.settings);
        let mut all = self.running();
        // Unless it was forgotten meanwhile.
        let is_kept = all.get(account).is_some_and(|kept| Arc::ptr_eq(kept, running));
        if is_kept {
            all.remove(account);
        }
        match found {
            Ok(Some(verifier)) => {
                if is_kept {
                    let answer = Answer::new(verifier.clone(), begun, settings);
                    self.known.insert(account.clone(), Arc::new(answer));
                    self.unknown.remove(account);
                }
                Ok(verifier)
            }
            Ok(None) => {
                let verifier =
                    self.nobody.clone().of_account(account, &self.nobody, &self.diagnoses);
                if is_kept {
                    self.known.remove(account);
                    let answer = Answer::unknown(verifier.clone(), begun, settings);
                    self.unknown.insert(account.clone(), Arc::new(answer));
                }
                Ok(verifier)
            }
            Err(rejection) => match last.filter(|answer| is_kept && answer.is_usable(now)) {
                Some(last) => {
                    let answer = last.failing(now, settings);
                    self.known.insert(account.clone(), Arc::new(answer));
                    Ok(last.verifier.clone())
                }
                None => Err(rejection.of(account)),
            },
        }
    }

    /// Counts a failure. If the account has a last answer, senders do not notice it, so the operator is told, once a minute.
    pub(super) fn report(&self, account: &Account, rejection: &Rejection, is_known: bool) {
        metrics::lookup_failed(rejection);
        if !is_known {
            return;
        }
        let now = self.now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |before: SystemTime| before <= now && now < before + REFUSAL_LOG_INTERVAL;
        if !warned.is_some_and(is_recent) {
            *warned = Some(now);
            drop(warned);
            log::failing(account, rejection);
        }
    }

    pub(super) fn forget(&self, account: &Account) {
        let mut all = self.running();
        all.remove(account);
        self.known.remove(account);
        self.unknown.remove(account);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Account, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request has of the lookup of its account.
enum Joined {
    Answered(Verifier),
    /// For one that another request has begun.
    Waits(Lookup),
    Begins(Lookup),
}

/// A secret to hash bodies of unknown accounts with. Nothing depends on its being unknown: such a body is refused
/// even if it signed it.
fn nobodys_secret() -> Secret {
    let secret = [(); 4].map(|()| RandomState::new().hash_one(0).to_ne_bytes()).concat();
    Secret::of_bytes(&secret)
}
