//! The rules, and what to fix if a handler breaks one.

use std::time::Duration;

use super::{
    report::Finding,
    trial::{Fault, Trial},
};
use crate::State;

/// How long a handler may be in its code between two await points: 500 milliseconds. An async function should take a thousandth
/// of that. But code in tests is often not optimized, and the machine is busy.
const LONGEST_POLL: Duration = Duration::from_millis(500);

pub(super) const PANICS: &str = "the handler panics: return an error, which says what is wrong";

pub(super) const HANGS: &str = "a call of the handler does not return within a minute: limit each wait in it, release what it \
                     holds when its future is dropped, and snooze an event that has to wait longer";

pub(super) const FAILS: &str = "the handler fails on an event that it has to handle";

pub(super) const LOST: &str = "the handler returns `Ok`, and the effect has not happened: await the work, do not spawn it, and \
                    return its error";

pub(super) const REPEATED: &str = "one attempt has the effect more than once";

pub(super) const LOST_BY_DEATH: &str = "the effect is lost if the process dies before it: mark an event as handled together with \
                             the effect, not before, and do not take a second attempt for a repeated one";

pub(super) const TWICE_BY_DEATH: &str = "the effect happens twice if the process dies after it: use `finish_in`, or a unique key \
                              on `AcceptedEvent::key`";

pub(super) const TWICE_AT_ONCE: &str = "the effect happens twice if two attempts run at once: do not look first and write then, \
                             but let one write decide, by a unique key on `AcceptedEvent::key`";

pub(super) const FAILS_AGAIN: &str = "the handler fails when it is called again: end with `Ok` if the effect has happened before, \
                           and release what an attempt holds when its future is dropped";

pub(super) const FAILS_RERUN: &str = "the handler fails when an operator has a done event rerun: update what is there, or let \
                           `AcceptedEvent::runs` be a part of the key";

pub(super) const LOST_BY_LEASE: &str = "the handler returns `Ok` when its lease is lost, and the effect has not happened: return \
                             an error";

pub(super) const SWALLOWS: &str = "the handler returns `Ok` for an event that it cannot type, so nobody will ever notice it: \
                        return the error of `AcceptedEvent::event`";

pub(super) const SNOOZES: &str = "the handler snoozes an event that it cannot type, without end: return the error of \
                       `AcceptedEvent::event`";

pub(super) const RETRIES: &str = "the handler fails on an event that needs no work, and trying again does not change that: return \
                       `Ok`, or `Failure::permanent` to keep it as a dead letter";

pub(super) const BLOCKS: &str = "the handler blocks its thread, and delays everything else on it: move such work into \
                      `spawn_blocking`";

/// An event that must have its effect.
pub(super) fn effect(rule: &'static str, fault: Fault, trial: &Trial) -> Finding {
    let fix = stopped(trial).or_else(|| match (trial.effects, trial.is_done(), fault) {
        (2.., _, Fault::None) => Some(REPEATED),
        (2.., _, Fault::Twice) => Some(TWICE_AT_ONCE),
        (2.., ..) => Some(TWICE_BY_DEATH),
        (_, false, Fault::None) => Some(FAILS),
        (_, false, _) => Some(FAILS_AGAIN),
        (0, true, Fault::LosesLease(_)) if trial.effects_at_ok == Some(0) => Some(LOST_BY_LEASE),
        (0, true, Fault::None) => Some(LOST),
        (0, true, _) => Some(LOST_BY_DEATH),
        (1, true, Fault::None) if trial.effects_at_ok == Some(0) => Some(LOST),
        (1, true, _) => None,
    });
    let at = match fault {
        Fault::Dies(point) | Fault::LosesLease(point) if fix.is_some() => {
            format!(" (at await point {point})")
        }
        _ => String::new(),
    };
    let observed = match (fix, trial.effects) {
        (Some(LOST), 1..) => "`Ok` before the effect".into(),
        _ => format!("{trial}{at}"),
    };
    Finding { rule, expected: "one effect, done", observed, fix }
}

/// An event that was done, and was rerun. Whether that repeats the effect is up to the handler.
pub(super) fn rerun(trial: &Trial) -> Finding {
    let fix = stopped(trial).or_else(|| match (trial.effects, trial.is_done()) {
        (3.., _) => Some(REPEATED),
        (_, true) => None,
        (_, false) => Some(FAILS_RERUN),
    });
    Finding {
        rule: "an event that is done can be rerun",
        expected: "one effect or two, done",
        observed: trial.to_string(),
        fix,
    }
}

/// If two attempts after each other break a rule, two at once, or a rerun, may break theirs for the same reason.
pub(super) fn common(in_turn: &Finding, other: &mut Finding) {
    if let (Some(TWICE_BY_DEATH), Some(TWICE_AT_ONCE)) | (Some(FAILS_AGAIN), Some(FAILS_RERUN)) =
        (in_turn.fix, other.fix)
    {
        other.fix = in_turn.fix;
    }
}

/// An event that this version cannot type.
pub(super) fn untypable(trial: &Trial) -> Finding {
    let fix = stopped(trial).or_else(|| match (trial.effects, trial.is_done()) {
        (0, true) => Some(SWALLOWS),
        _ if trial.state == State::Scheduled => Some(SNOOZES),
        _ => None,
    });
    Finding {
        rule: "an event that cannot be typed is kept",
        expected: "a dead letter, or an effect",
        observed: trial.to_string(),
        fix,
    }
}

/// An event that the handler may ignore.
pub(super) fn other(rule: &'static str, trial: &Trial) -> Finding {
    let is_settled = trial.is_done() || trial.is_permanent;
    let fix = stopped(trial).or(match trial.effects {
        2.. => Some(REPEATED),
        _ if is_settled => None,
        _ => Some(RETRIES),
    });
    let expected = "done, or a permanent failure";
    Finding { rule, expected, observed: trial.to_string(), fix }
}

/// A handler that blocks does so in each trial. So the shortest time counts, because noise affects it the least.
pub(super) fn blocks(longest_polls: impl Iterator<Item = Duration>) -> Finding {
    let longest_poll = longest_polls.min().unwrap_or_default();
    Finding {
        rule: "the handler does not block its thread",
        expected: "at most 500 ms between two await points",
        observed: format!("{} ms", longest_poll.as_millis()),
        fix: (longest_poll > LONGEST_POLL).then_some(BLOCKS),
    }
}

/// The handler did not return.
fn stopped(trial: &Trial) -> Option<&'static str> {
    match trial {
        Trial { panic: Some(_), .. } => Some(PANICS),
        Trial { hangs: true, .. } => Some(HANGS),
        _ => None,
    }
}
