use std::fmt;

use super::{
    Answer, Observed, Probe, rules,
    table::{ACCEPTS_ALL, BUFFERED, RESERIALIZES, UNSEEN},
};
use crate::{Rejection, RejectionKind as Kind};

/// What a receiver did with its probes, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    answers: Vec<(Probe, Observed)>,
}

/// One rule, and whether a receiver obeys it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The probe, or the rule about several of them.
    pub rule: &'static str,
    /// What a receiver should do.
    pub expected: String,
    /// What this one did.
    pub observed: String,
    /// What to fix. `None` if the rule is obeyed, or was not checked.
    pub fix: Option<&'static str>,
    /// Why it was not checked. `None` if it was.
    pub not_checked: Option<&'static str>,
}

impl Report {
    /// Adds the result of a probe.
    pub fn add(&mut self, probe: Probe, observed: Observed) {
        self.answers.push((probe, observed));
    }

    /// Whether all rules that were checked are obeyed, and at least one was checked.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_checked = |(_, observed): &(Probe, Observed)| *observed != Observed::Unseen;
        self.answers.iter().any(is_checked)
            && self.findings().iter().all(|finding| finding.fix.is_none())
    }

    /// Each probe, and then the rules about several of them.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let each = self.answers.iter().map(|(probe, observed)| Finding {
            rule: probe.name(),
            expected: probe.answer().status().to_string(),
            observed: observed.to_string(),
            fix: self.common(probe, observed).or_else(|| probe.meaning(observed)),
            not_checked: (*observed == Observed::Unseen).then_some(UNSEEN),
        });
        each.chain(rules::of_several(&self.answers)).collect()
    }

    /// What to fix: each fix once, in the order of the rules.
    #[must_use]
    pub fn fixes(&self) -> Vec<&'static str> {
        let mut fixes = Vec::new();
        for fix in self.findings().iter().filter_map(|finding| finding.fix) {
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
        fixes
    }

    /// The common cause of several answers. It is reported instead of the meaning of each probe.
    fn common(&self, probe: &Probe, observed: &Observed) -> Option<&'static str> {
        let missing = Rejection::from(Kind::MissingMiddleware).response_text();
        if probe.allows(observed) {
            return None;
        }
        if matches!(observed, Observed::Answer { body, .. } if body == missing) {
            return Some(missing);
        }
        if observed.is_success() && self.accepts_all() {
            return Some(ACCEPTS_ALL);
        }
        if probe.needs_unbuffered_body() && observed.status().is_none() && self.is_buffered() {
            return Some(BUFFERED);
        }
        let is_good =
            |(probe, _): &&(Probe, Observed)| matches!(probe.answer(), Answer::Accepted(_));
        let mut good = self.answers.iter().filter(is_good);
        let (plainest, taken) = good.next()?;
        if plainest.allows(taken) || taken.status() != observed.status() {
            return None;
        }
        let is_authentic = probe.answer().status() != 401;
        let is_form = |probe: &Probe| probe.otherwise() == RESERIALIZES;
        match taken.status() {
            Some(401) if is_authentic => {
                match good.any(|(probe, observed)| is_form(probe) && probe.allows(observed)) {
                    true => Some(RESERIALIZES),
                    false => plainest.meaning(taken),
                }
            }
            Some(500..) if is_authentic && !matches!(taken.status(), Some(502..=504)) => Some(
                "the receiver fails on an authentic event: the vendor retries three times, and is \
                 silent after that",
            ),
            Some(300..=399 | 404 | 405 | 411 | 429 | 502..=504) => plainest.meaning(taken),
            _ => None,
        }
    }

    /// Whether a proxy in front seems to buffer bodies: nginx answers, or no stalled body is answered, but everything else is
    /// right. A body that is declared too large proves nothing, because a proxy may have its own limit.
    fn is_buffered(&self) -> bool {
        let is_nginx = |(_, observed): &(Probe, Observed)| match observed {
            Observed::Answer { headers, .. } => {
                headers.iter().any(|(name, value)| name == "server" && value.starts_with("nginx"))
            }
            _ => false,
        };
        let is_as_if_buffered = |(probe, observed): &(Probe, Observed)| match probe.answer() {
            _ if !probe.needs_unbuffered_body() => probe.allows(observed),
            Answer::Refused(Kind::BodyBrokenOff | Kind::BodyTooLarge) => true,
            _ => matches!(observed, Observed::Silence(_)),
        };
        self.answers.iter().any(is_nginx) || self.answers.iter().all(is_as_if_buffered)
    }

    /// Whether every request without a valid signature was accepted, if it is JSON within the limit.
    fn accepts_all(&self) -> bool {
        let is_plain = |probe: &Probe| {
            let request = probe.request();
            request.is_whole() && request.body().starts_with(b"{") && probe.also().is_none()
        };
        let is_bad = |probe: &Probe| probe.answer().status() == 401 && is_plain(probe);
        let mut bad = self.answers.iter().filter(|(probe, _)| is_bad(probe)).peekable();
        bad.peek().is_some() && bad.all(|(_, observed)| observed.is_success())
    }
}

/// What to fix, with the rules that are broken because of it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = self.findings();
        let broken = findings.iter().filter(|finding| finding.fix.is_some()).count();
        let unseen = findings.iter().filter(|finding| finding.not_checked.is_some()).count();
        let checked = findings.len() - unseen;
        write!(f, "{} of {checked} rules are kept", checked - broken)?;
        if unseen > 0 {
            write!(f, ", and {unseen} were not checked")?;
        }
        for fix in self.fixes() {
            write!(f, "\n\n{fix}:")?;
            for finding in findings.iter().filter(|finding| finding.fix == Some(fix)) {
                let Finding { rule, expected, observed, .. } = finding;
                write!(f, "\n- {rule}: expected {expected}, saw {observed}")?;
            }
        }
        Ok(())
    }
}
