//! Sends the webhook of a job, or does something wrong instead.

use number7_core::Secret;
use tokio::time::sleep;

use crate::{Happening, Misbehaviour, job::Job, misbehaviour::Throw, vendor::Vendor};

/// The first attempt, and three retries.
const ATTEMPTS: u32 = 4;

impl Vendor {
    /// Notifies the receiver about the end of a job, or does not.
    pub(crate) async fn notify(&self, job: &Job) {
        let Some(url) = &self.settings.receiver else { return };
        let (id, number) = (|| job.id.clone(), job.number);
        let Misbehaviour { lose, repeat, reorder, forge, other_secret, delay, .. } =
            self.settings.misbehaviour;
        sleep(delay.mul_f64(self.dice(number, Throw::Delay).f64())).await;
        if reorder.takes(self.dice(number, Throw::Reorder)) {
            // The webhooks of jobs that end meanwhile overtake it.
            sleep(self.settings.job_time).await;
        }
        let body = job.webhook();
        let signature = self.settings.secret.sign(&body).to_string();
        if forge.takes(self.dice(number, Throw::Forge)) && !self.is_out() {
            let forged = body.replace("\"jobId\":\"job_", "\"jobId\":\"job_forged_");
            let status = self.sender.post(url, &signature, forged).await;
            self.happens(Happening::Forged { job: id(), status });
        }
        if lose.takes(self.dice(number, Throw::Lose)) {
            return self.happens(Happening::Lost { job: id() });
        }
        let is_other = other_secret.takes(self.dice(number, Throw::OtherSecret));
        let signature = if is_other { other(&self.settings.secret, &body) } else { signature };
        let happening = |attempt, status| match is_other {
            true => Happening::SignedOtherwise { job: id(), attempt, status },
            false => Happening::Sent { job: id(), attempt, status },
        };
        if !self.deliver(url, &signature, &body, happening).await {
            return self.happens(Happening::GivenUp { job: id() });
        }
        if repeat.takes(self.dice(number, Throw::Repeat)) {
            sleep(self.settings.retry_delay).await;
            let status = self.sender.post(url, &signature, body).await;
            self.happens(Happening::Repeated { job: id(), status });
        }
    }

    /// Whether the receiver has accepted it.
    async fn deliver(
        &self,
        url: &str,
        signature: &str,
        body: &str,
        happening: impl Fn(u32, Option<u16>) -> Happening,
    ) -> bool {
        let mut delay = self.settings.retry_delay;
        for attempt in 1..=ATTEMPTS {
            let status = match self.is_out() {
                true => None,
                false => self.sender.post(url, signature, body.to_owned()).await,
            };
            self.happens(happening(attempt, status));
            if status.is_some_and(|status| (200..300).contains(&status)) {
                return true;
            }
            if attempt < ATTEMPTS {
                sleep(delay).await;
                delay *= 2;
            }
        }
        false
    }
}

/// A signature with a secret that nobody else has.
fn other(secret: &Secret, body: &str) -> String {
    let key = secret.sign("another secret").to_string();
    Secret::new(key).map_or_else(|_| String::new(), |other| other.sign(body).to_string())
}
