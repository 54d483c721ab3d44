use std::fmt;

/// What a handler did in its [trials](super::Trials), and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) findings: Vec<Finding>,
}

/// One rule, and whether a handler obeys it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// What must happen to the event.
    pub expected: &'static str,
    /// What happened to it.
    pub observed: String,
    /// What to fix. `None` if the rule is obeyed.
    pub fix: Option<&'static str>,
}

impl Report {
    /// Whether all rules are obeyed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.fix.is_none())
    }

    /// Each rule that was tried. If the handler fails without any fault, the rules about faults are not tried.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What to fix: each fix once, in the order of the rules.
    #[must_use]
    pub fn fixes(&self) -> Vec<&'static str> {
        let mut fixes = Vec::new();
        for fix in self.findings.iter().filter_map(|finding| finding.fix) {
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
        fixes
    }
}

/// What to fix, with the rules that are broken because of it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_all = self.findings.len();
        let broken = self.findings.iter().filter(|finding| finding.fix.is_some()).count();
        write!(f, "{} of {of_all} rules are kept", of_all - broken)?;
        for fix in self.fixes() {
            write!(f, "\n\n{fix}:")?;
            for finding in self.findings.iter().filter(|finding| finding.fix == Some(fix)) {
                let Finding { rule, expected, observed, .. } = finding;
                write!(f, "\n- {rule}: expected {expected}, saw {observed}")?;
            }
        }
        Ok(())
    }
}
