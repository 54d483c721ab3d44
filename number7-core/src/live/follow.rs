//! Reads a secret regularly, on a thread of its own.

use std::{
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use super::{Live, LiveVerifier, log};
use crate::{
    Secret, SecretError, Verifier,
    adapter::metrics,
    clock::{Clock, since_1970},
};

/// How often a followed secret is read: every 10 seconds.
///
/// Kubernetes takes up to two minutes to update a mounted file, so a shorter time gains little.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// The longest time between two attempts to read a secret that cannot be read: 1 minute. The time doubles with each failure.
pub const MAX_LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How long a new secret must stay the same before it is used, because a file may be read while it is being written.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

impl LiveVerifier {
    /// Accepts what the secret in a file signed, and follows the file. It combines [`from_file`](Secret::from_file) and
    /// [`follow`](Self::follow), and the name of the first secret is its fingerprint, too.
    ///
    /// # Errors
    ///
    /// Those of [`Secret::from_file`], or a thread cannot be started.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_core::LiveVerifier;
    ///
    /// # let folder = std::env::temp_dir().join(format!("number7-live-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// let file = folder.join("webhook-secret"); // as in /run/secrets/webhook-secret
    /// std::fs::write(&file, "a long random secret\n")?;
    ///
    /// let live = LiveVerifier::from_file(&file)?;
    /// assert_eq!(live.accepted().len(), 1);
    ///
    /// assert!(LiveVerifier::from_file(folder.join("none")).is_err());
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, SecretError> {
        let path = path.into();
        let secret = Secret::from_file(&path)?;
        let live = Self::new(Verifier::named(secret.fingerprint(), secret));
        let file = path.clone();
        live.follow(LOOK_INTERVAL, move || Secret::from_file(&file))
            .map_err(|error| SecretError::not_readable(&error).in_file(&path))?;
        Ok(live)
    }

    /// Reads the secret regularly, and [replaces](Self::replace) it if it has changed and then stayed the same for a second.
    /// `read` can ask a secrets manager: it runs on a thread of its own, may block, and holds up no request. Set the
    /// [overlap](Self::overlap) before.
    ///
    /// `read` is first called after `every`. If it fails or panics, the last secret stays in use, and one `WARN` says why. The
    /// time between two attempts then doubles up to [`MAX_LOOK_INTERVAL`], or stays `every` if that is longer. The thread ends
    /// when all clones of this verifier are dropped.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    ///
    /// # Panics
    ///
    /// If `every` is zero.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_core::{LOOK_INTERVAL, LiveVerifier, Secret, Verifier};
    ///
    /// fn live(file: &'static str) -> Result<LiveVerifier, Box<dyn std::error::Error>> {
    ///     let verifier = Verifier::new(Secret::from_file(file)?).body_limit(1024 * 1024);
    ///     let live = LiveVerifier::new(verifier);
    ///     live.follow(LOOK_INTERVAL, move || Secret::from_file(file))?;
    ///     Ok(live)
    /// }
    /// # assert!(live("not/there").is_err());
    /// ```
    pub fn follow<E: Display>(
        &self,
        every: Duration,
        read: impl FnMut() -> Result<Secret, E> + Send + 'static,
    ) -> io::Result<()> {
        assert!(!every.is_zero(), "a secret cannot be read without a pause");
        let verifier = self.current();
        let (clock, last) = (verifier.time(), verifier.first_secret().clone());
        let mut following = Following { read, clock, last, failures: 0, every };
        let live = Arc::downgrade(&self.0);
        let thread = thread::Builder::new().name("number7-secret".to_owned());
        thread.spawn(move || {
            loop {
                thread::sleep(following.pause());
                if following.look(&live).is_none() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

struct Following<R> {
    read: R,
    /// The secret that was read last, or the first one. It does not change if the secret is replaced by other means.
    last: Secret,
    clock: Clock,
    failures: u32,
    every: Duration,
}

impl<R: FnMut() -> Result<Secret, E>, E: Display> Following<R> {
    fn pause(&self) -> Duration {
        let doubled = self.every.saturating_mul(1 << self.failures.min(16));
        doubled.min(MAX_LOOK_INTERVAL).max(self.every)
    }

    /// `None` if nobody needs the secret anymore.
    fn look(&mut self, live: &Weak<Live>) -> Option<()> {
        live.upgrade()?;
        let Some(secret) = self.read() else { return Some(()) };
        if self.last.is_same(&secret) {
            return Some(());
        }
        thread::sleep(SETTLED_AFTER.min(self.every));
        if self.read().is_some_and(|again| again.is_same(&secret)) {
            LiveVerifier(live.upgrade()?).replace(secret.clone());
            self.last = secret;
        }
        Some(())
    }

    fn read(&mut self) -> Option<Secret> {
        let read = || (self.read)().map_err(|error| error.to_string());
        let error = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(Ok(secret)) => {
                if self.failures > 0 {
                    log::fresh();
                }
                self.failures = 0;
                metrics::stale_since(&self.last, Duration::ZERO);
                return Some(secret);
            }
            Ok(Err(error)) => error,
            Err(_) => "the function that reads it has panicked".to_owned(),
        };
        if self.failures == 0 {
            log::stale(&error);
            metrics::stale_since(&self.last, since_1970((self.clock)()));
        }
        self.failures = self.failures.saturating_add(1);
        None
    }
}
