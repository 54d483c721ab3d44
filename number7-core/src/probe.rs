//! Requests that show whether a receiver obeys the rules, and the meaning of its answers.
//!
//! [`Probes`] has the requests. In a test, send them with `assert_receiver` of `number7-tower` or
//! `number7-actix`; over a real connection, with `number7 doctor URL`. This module does no I/O: the
//! sender of a probe tells a [`Report`] what it saw.
//!
//! # Example
//!
//! ```
//! use number7_core::{Secret, Verifier, probe::{Answer, Probes, Report, Observed}};
//!
//! let secret = Secret::new("a secret for the test")?;
//! let verifier = Verifier::new(secret.clone());
//!
//! // A receiver without a server: it gets each body at once.
//! let mut report = Report::default();
//! for probe in Probes::new(secret).table() {
//!     let request = probe.request();
//!     if !request.is_whole() {
//!         continue;
//!     }
//!     let receive = || {
//!         let mut intake = verifier.begin(request.headers())?;
//!         intake.push(request.body())?;
//!         intake.finish()?.event().map_err(|_| number7_core::RejectionKind::Untypable.into())
//!     };
//!     let status = receive().map_or_else(|rejection: number7_core::Rejection| rejection.status_code(), |_| 200);
//!     report.add(probe, Observed::answer(status));
//! }
//! assert!(report.is_good(), "{report}");
//!
//! // A receiver that accepts everything is wrong, and the report says why.
//! let mut report = Report::default();
//! for probe in Probes::new(Secret::new("a secret for the test")?).table() {
//!     report.add(probe, Observed::answer(200));
//! }
//! assert!(report.to_string().contains("the route is not behind VerifyNumber7"));
//! # Ok::<(), number7_core::SecretError>(())
//! ```

mod gzip;
mod judge;
mod observed;
mod report;
mod request;
mod rules;
mod run;
mod sample;
mod table;

pub use self::{
    observed::Observed,
    report::{Finding, Report},
    request::{Ending, Request, Step},
    sample::Sample,
    table::{Answer, Leaves, Probe, Probes},
};
