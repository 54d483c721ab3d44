use serde_json::Value;

/// A sample event, as the vendor would deliver it.
///
/// # Example
///
/// ```
/// use number7_core::probe::Sample;
///
/// let json = Sample::failed("job_1", "page 2 could not be read").document("grn").json();
/// assert_eq!(
///     json,
///     r#"{"event":"job.failed","jobId":"job_1","fileStatus":"failed","documentType":"grn","timestamp":"2026-04-22T10:00:00.000Z","error":"page 2 could not be read"}"#,
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Sample {
    event: &'static str,
    job: String,
    document: String,
    timestamp: String,
    error: Option<String>,
}

impl Sample {
    /// A `job.completed`, by default about an `invoice` and with the timestamp of the published payload.
    #[must_use]
    pub fn completed(job: impl Into<String>) -> Self {
        Self {
            event: "job.completed",
            job: job.into(),
            document: "invoice".into(),
            timestamp: "2026-04-22T10:00:00.000Z".into(),
            error: None,
        }
    }

    /// A `job.failed`.
    #[must_use]
    pub fn failed(job: impl Into<String>, error: impl Into<String>) -> Self {
        Self { event: "job.failed", error: Some(error.into()), ..Self::completed(job) }
    }

    /// An event with an unknown name: `job.archived`.
    #[must_use]
    pub fn unknown(job: impl Into<String>) -> Self {
        Self { event: "job.archived", ..Self::completed(job) }
    }

    /// The `jobId`.
    #[must_use]
    pub fn job(self, job: impl Into<String>) -> Self {
        Self { job: job.into(), ..self }
    }

    /// The `documentType`.
    #[must_use]
    pub fn document(self, document: impl Into<String>) -> Self {
        Self { document: document.into(), ..self }
    }

    /// The `timestamp`, in RFC 3339.
    #[must_use]
    pub fn timestamp(self, timestamp: impl Into<String>) -> Self {
        Self { timestamp: timestamp.into(), ..self }
    }

    /// The name of the event.
    #[must_use]
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// The event as compact JSON, its fields in the published order.
    #[must_use]
    pub fn json(&self) -> String {
        object(self.fields())
    }

    /// The failure of this job.
    pub(super) fn failure(&self) -> Self {
        Self::failed(&*self.job, "blank").timestamp(&*self.timestamp)
    }

    /// An unknown event about this job.
    pub(super) fn unheard_of(&self) -> Self {
        Self { event: "job.archived", error: None, ..self.clone() }
    }

    /// This event with its fields sorted by name.
    pub(super) fn sorted(&self) -> String {
        let mut fields = self.fields();
        fields.sort_unstable();
        object(fields)
    }

    fn fields(&self) -> Vec<(&'static str, &str)> {
        let mut fields = vec![
            ("event", self.event),
            ("jobId", &*self.job),
            ("fileStatus", if self.error.is_some() { "failed" } else { "done" }),
            ("documentType", &self.document),
            ("timestamp", &self.timestamp),
        ];
        fields.extend(self.error.as_deref().map(|error| ("error", error)));
        fields
    }
}

fn object(fields: Vec<(&str, &str)>) -> String {
    let field = |(name, value): (&str, &str)| format!("\"{name}\":{}", Value::from(value));
    format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
}
