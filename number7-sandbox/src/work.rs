//! Accepts documents and processes them.

use std::sync::Arc;

use number7_core::DocumentType;
use tokio::time::{Instant, sleep};

use crate::{
    Happening, Misbehaviour,
    job::{Job, Stage},
    misbehaviour::Throw,
    vendor::Vendor,
};

impl Vendor {
    /// Accepts a document, and begins to process it.
    pub(crate) fn takes(
        self: &Arc<Self>,
        document_type: DocumentType,
        file_name: String,
        bytes: u64,
    ) -> String {
        let job = {
            let mut state = self.state();
            let number = state.jobs.len() as u64 + 1;
            let id = format!("job_{:x}_{number}", self.run);
            let job = Job { id, number, document_type, stage: Stage::Waiting };
            state.jobs.insert(job.id.clone(), job.clone());
            job
        };
        self.happens(Happening::Uploaded { job: job.id.clone(), file_name, bytes });
        let id = job.id.clone();
        self.spawn(Arc::clone(self).process(job));
        id
    }

    async fn process(self: Arc<Self>, mut job: Job) {
        let Ok(slot) = self.slots.acquire().await else { return };
        let Misbehaviour { fail_jobs, outage, .. } = self.settings.misbehaviour;
        let share = 0.75 + 0.5 * self.dice(job.number, Throw::Time).f64();
        let time = self.settings.job_time.mul_f64(share);
        self.moves(&mut job, Stage::Running { since: Instant::now(), time });
        sleep(time).await;
        let fails = fail_jobs.takes(self.dice(job.number, Throw::Fail));
        self.moves(&mut job, if fails { Stage::Failed } else { Stage::Done });
        drop(slot);
        let id = job.id.clone();
        self.happens(match fails {
            true => Happening::Failed { job: id },
            false => Happening::Finished { job: id },
        });
        if !outage.is_zero() {
            self.goes_out(outage);
        }
        self.notify(&job).await;
    }
}
