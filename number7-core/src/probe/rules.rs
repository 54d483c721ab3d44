//! Rules about several answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Answer, Finding, Observed, Probe};
use crate::RejectionKind as Kind;

/// How slow the answer to a valid event may be: 1 second. The vendor does not publish its timeout, but asks for
/// answers as fast as possible.
const SLOW: Duration = Duration::from_secs(1);

/// An answer within this time never counts as work: 50 milliseconds.
const WORK: Duration = Duration::from_millis(50);

/// Headers that tell the time.
const TIMES: [&str; 3] = ["date", "expires", "last-modified"];

type Answers = [(Probe, Observed)];

pub(super) fn of_several(answers: &Answers) -> Vec<Finding> {
    [alike(answers), quick(answers), verified_first(answers)].into_iter().flatten().collect()
}

/// A refused sender does not learn why.
fn alike(answers: &Answers) -> Option<Finding> {
    // For each part of an answer, and for each reason of a refusal: the observed values.
    let mut parts: BTreeMap<&str, BTreeMap<String, BTreeSet<&[u8]>>> = BTreeMap::new();
    for (probe, observed) in answers {
        if let (Answer::Refused(kind), Observed::Answer { status: 401, headers, body, .. }) =
            (probe.answer(), observed)
        {
            let named = headers.iter().filter(|(name, _)| !TIMES.contains(&&**name));
            let named = named.map(|(name, value)| (&**name, value.as_bytes()));
            for (name, value) in named.chain([("body", &**body)]) {
                parts
                    .entry(name)
                    .or_default()
                    .entry(format!("{kind:?}"))
                    .or_default()
                    .insert(value);
            }
        }
    }
    if parts.is_empty() {
        return None;
    }
    // A part that varies within one reason is a date or a counter, and reveals nothing to the sender.
    let tells = |by_reason: &BTreeMap<String, BTreeSet<&[u8]>>| {
        by_reason.values().all(|values| values.len() == 1)
            && by_reason.values().collect::<BTreeSet<_>>().len() > 1
    };
    let telling = parts.iter().find(|(_, by_reason)| tells(by_reason)).map(|(name, _)| *name);
    Some(Finding {
        rule: "all 401 are alike",
        expected: "one answer".into(),
        observed: telling.map_or_else(|| "one answer".into(), |name| format!("the {name} differs")),
        fix: telling.map(|_| "the answers tell a sender what is wrong: answer each 401 alike"),
        not_checked: None,
    })
}

/// The work comes after the answer.
fn quick(answers: &Answers) -> Option<Finding> {
    let accepted = fastest(answers, is_good)?;
    Some(Finding {
        rule: "a good event is answered at once",
        expected: format!("within {} ms", SLOW.as_millis()),
        observed: format!("{} ms", accepted.as_millis()),
        fix: (accepted > SLOW).then_some(
            "the handler works before it answers: store the event, answer, and work on it after \
             that",
        ),
        not_checked: None,
    })
}

/// A sender that cannot sign causes no work.
fn verified_first(answers: &Answers) -> Option<Finding> {
    let is = |probe: &Probe, kinds: &[Kind]| match probe.answer() {
        Answer::Refused(kind) => kinds.contains(&kind),
        Answer::Accepted(_) => false,
    };
    let forged = fastest(answers, |probe| is(probe, &[Kind::SignatureMismatch]))?;
    let bad_header = [Kind::MissingSignature, Kind::MalformedSignature];
    let unsigned = fastest(answers, |probe| is(probe, &bad_header))?;
    let accepted = fastest(answers, is_good);
    let most = accepted.map_or(Duration::MAX, |accepted| accepted / 2).min(unsigned * 3).max(WORK);
    Some(Finding {
        rule: "a forged event is refused before any work",
        expected: format!("within {} ms", most.as_millis()),
        observed: format!("{} ms", forged.as_millis()),
        fix: (forged > most).then_some(
            "a forged event takes as long as work does: verify the signature before all else",
        ),
        not_checked: None,
    })
}

fn is_good(probe: &Probe) -> bool {
    matches!(probe.answer(), Answer::Accepted(_))
}

/// The shortest time to a right answer, because noise affects that the least.
fn fastest(answers: &Answers, of: impl Fn(&Probe) -> bool) -> Option<Duration> {
    let right = answers.iter().filter(|(probe, observed)| {
        of(probe) && probe.request().is_whole() && probe.allows(observed)
    });
    let times = right.filter_map(|(_, observed)| match observed {
        Observed::Answer { after, .. } => Some(*after),
        _ => None,
    });
    times.min()
}
