use std::{fmt, time::Duration};

use bytes::Bytes;

use super::table::RESERIALIZES;
use super::{Answer, Probe, Seen};
use crate::RejectionKind as Kind;

/// How slow the answer to a good event may be: 1 second. The vendor does not publish its timeout,
/// and asks to answer as fast as possible.
const SLOW: Duration = Duration::from_secs(1);

/// From which difference on work is visible in the time of an answer: 50 milliseconds.
const WORK: Duration = Duration::from_millis(50);

/// What a receiver did with its probes, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    answers: Vec<(Probe, Seen)>,
}

/// One rule, and whether a receiver keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The probe, or the rule about several of them.
    pub rule: &'static str,
    /// What a receiver should do.
    pub expected: String,
    /// What this one did.
    pub seen: String,
    /// What to mend. `None` if the rule is kept.
    pub mend: Option<&'static str>,
}

impl Report {
    /// Notes what became of a probe.
    pub fn add(&mut self, probe: Probe, seen: Seen) {
        self.answers.push((probe, seen));
    }

    /// Whether all rules are kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings().iter().all(|finding| finding.mend.is_none())
    }

    /// Each probe, and then the rules about several of them.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let each = self.answers.iter().map(|(probe, seen)| Finding {
            rule: probe.name(),
            expected: probe.answer().status().to_string(),
            seen: seen.to_string(),
            mend: self.common(probe, seen).or_else(|| probe.meaning(seen)),
        });
        each.chain(self.alike()).chain(self.quick()).chain(self.verified_first()).collect()
    }

    /// What is behind it if not even the plainest event is taken: the others say nothing then.
    fn common(&self, probe: &Probe, seen: &Seen) -> Option<&'static str> {
        let is_good = |(probe, _): &&(Probe, Seen)| matches!(probe.answer(), Answer::Accepted(_));
        let mut good = self.answers.iter().filter(is_good);
        let (plainest, taken) = good.next()?;
        let is_authentic = probe.answer().status() != 401;
        if plainest.allows(taken)
            || !is_authentic
            || probe.allows(seen)
            || taken.status() != seen.status()
        {
            return None;
        }
        match good.any(|(probe, seen)| probe.allows(seen)) {
            true => Some(RESERIALIZES),
            false if taken.status() >= Some(500) => Some(
                "the receiver fails on an authentic event: the vendor retries three times, and is \
                 silent after that",
            ),
            false => plainest.meaning(taken),
        }
    }

    /// Whoever is refused does not learn why.
    fn alike(&self) -> Option<Finding> {
        let refused = self.answers.iter().filter(|(probe, _)| probe.answer().status() == 401);
        let mut bodies: Vec<&Bytes> = refused
            .filter_map(|(_, seen)| match seen {
                Seen::Answer { status: 401, body, .. } => Some(body),
                _ => None,
            })
            .collect();
        bodies.sort_unstable();
        bodies.dedup();
        Some(Finding {
            rule: "all 401 are alike",
            expected: "one body".into(),
            seen: match bodies.len() {
                0 => return None,
                1 => "one body".into(),
                bodies => format!("{bodies} bodies"),
            },
            mend: (bodies.len() > 1)
                .then_some("the answers tell a sender what is wrong: answer each 401 by the same"),
        })
    }

    /// The work comes after the answer.
    fn quick(&self) -> Option<Finding> {
        let accepted = self.fastest(|probe| matches!(probe.answer(), Answer::Accepted(_)), 200)?;
        Some(Finding {
            rule: "a good event is answered at once",
            expected: format!("within {} ms", SLOW.as_millis()),
            seen: format!("{} ms", accepted.as_millis()),
            mend: (accepted > SLOW).then_some(
                "the handler works before it answers: store the event, answer, and work on it \
                 after that",
            ),
        })
    }

    /// Whoever cannot sign gets no work done.
    fn verified_first(&self) -> Option<Finding> {
        let is_forged = |probe: &Probe| probe.answer() == Answer::Refused(Kind::SignatureMismatch);
        let is_bad = |probe: &Probe| {
            matches!(
                probe.answer(),
                Answer::Refused(Kind::MissingSignature | Kind::MalformedSignature)
            )
        };
        let forged = self.fastest(is_forged, 401)?;
        let unsigned = self.fastest(is_bad, 401)?;
        let accepted = self.fastest(|probe| matches!(probe.answer(), Answer::Accepted(_)), 200);
        let works = forged > unsigned * 3 + WORK
            || accepted.is_some_and(|accepted| forged > WORK && forged * 2 > accepted);
        Some(Finding {
            rule: "a forged event is refused before any work",
            expected: format!("within {} ms", (unsigned * 3 + WORK).as_millis()),
            seen: format!("{} ms", forged.as_millis()),
            mend: works.then_some(
                "a forged event takes as long as work does: verify the signature before all else",
            ),
        })
    }

    /// The shortest time to an answer of this class. It is what noise does least to.
    fn fastest(&self, of: impl Fn(&Probe) -> bool, class: u16) -> Option<Duration> {
        let answers = self.answers.iter().filter(|(probe, _)| of(probe));
        let times = answers.filter_map(|(probe, seen)| match seen {
            Seen::Answer { status, after, .. }
                if status / 100 == class / 100 && probe.request().is_whole() =>
            {
                Some(*after)
            }
            _ => None,
        });
        times.min()
    }
}

/// The rules that are not kept, and what to mend.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = self.findings();
        let broken: Vec<_> =
            findings.iter().filter_map(|finding| Some((finding, finding.mend?))).collect();
        write!(f, "{} of {} rules are kept", findings.len() - broken.len(), findings.len())?;
        for (finding, mend) in broken {
            let Finding { rule, expected, seen, .. } = finding;
            write!(f, "\n- {rule}: expected {expected}, saw {seen}\n  {mend}")?;
        }
        Ok(())
    }
}
