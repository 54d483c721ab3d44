use std::{cell::Cell, time::Duration};

use number7_core::{
    DEFAULT_BODY_LIMIT, DEFAULT_BODY_TIMEOUT, Secret,
    probe::{Finding, Leaves, Observed, Probe, Probes, Report},
};
use serde_json::json;
use ureq::http::Uri;

use super::send::SampleArgs;
use crate::{
    BoxError, Verdict,
    client::url,
    connection::Target,
    many::bar,
    output::{BAD, FAINT, GOOD, Output, styled, warn},
    secret::SecretArgs,
    tls::TlsArgs,
};

/// Check whether a running receiver obeys the rules, and say what to fix
///
/// It sends some eighty requests, each on its own connection: good ones, forged ones, and ones that stall, break off or have
/// wrong headers. The good ones carry the event that --event chooses, about one job, and the receiver handles them.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 doctor http://127.0.0.1:3000/webhook
  number7 doctor https://example.com/webhook --job job_of_the_doctor --secret-env LIVE_SECRET
  number7 doctor https://example.com/webhook --proxied
  number7 doctor http://127.0.0.1:3000/webhook --body-limit 131072 --body-timeout 30
  number7 doctor http://127.0.0.1:3000/hooks/acme --unknown-account /hooks/nobody --other-secret-env GLOBEX_SECRET")]
pub(crate) struct Args {
    /// The receiver
    #[arg(value_parser = url)]
    url: Uri,
    #[command(flatten)]
    sample: SampleArgs,
    /// The receiver's limit for bodies, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_BODY_LIMIT as u64,
        value_parser = clap::value_parser!(u64).range(1024..=1 << 30))]
    body_limit: u64,
    /// How many seconds the receiver waits for a body
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_BODY_TIMEOUT.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=600))]
    body_timeout: u64,
    /// A proxy in front buffers bodies, as nginx does by default: skip checks that it makes impossible
    ///
    /// Such a proxy waits for the whole body before it passes a request on, so the receiver never gets a request whose body
    /// stalls or breaks off. Rules about these are reported as not checked (with --json, `kept` is null, and `not_checked` says
    /// why). They do not count for the exit status.
    #[arg(long)]
    proxied: bool,
    /// For a receiver with several accounts: the path of an account that does not exist
    #[arg(long, value_name = "PATH", value_parser = path)]
    unknown_account: Option<String>,
    /// For a receiver with several accounts: the environment variable that has the secret of another account
    #[arg(long, value_name = "NAME")]
    other_secret_env: Option<String>,
    /// Also show the rules that are obeyed
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    secret: SecretArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

fn path(path: &str) -> Result<String, &'static str> {
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(path.to_owned()) } else { Err("use the path of a URL, such as /hooks/nobody") }
}

/// After this many unanswered probes in a row it gives up.
const PATIENCE: usize = 3;

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let sample = args.sample.sample();
    let probes = Probes::new(args.secret.load()?)
        .sample(sample.clone())
        .body_limit(usize::try_from(args.body_limit)?)
        .body_timeout(Duration::from_secs(args.body_timeout));
    let probes = args.unknown_account.into_iter().fold(probes, Probes::unknown_account);
    let probes = match args.other_secret_env {
        Some(name) => probes.other_account(Secret::from_env(&name)?),
        None => probes,
    };
    let mut target = Target::new(&args.url, args.tls.config()?);
    let measured = target.measure().await;
    measured.map_err(|error| format!("cannot connect to {}: {error}", args.url))?;

    let is_unseen = |probe: &Probe| args.proxied && probe.needs_unbuffered_body();
    let is_of_another_event = |probe: &Probe| match probe.leaves() {
        Leaves::Nothing => false,
        Leaves::Event(event) => event != sample.event(),
        _ => true,
    };
    let is_wanted = |probe: &Probe| !is_unseen(probe) && !is_of_another_event(probe);
    let table = probes.table();
    let wanted = table.iter().filter(|probe| is_wanted(probe)).count();
    let good = table.iter().filter(|probe| is_wanted(probe) && probe.leaves() != Leaves::Nothing);
    output.note(&format!(
        "sending {wanted} requests to {}; {} of them are the {} of {}, and will be handled",
        args.url,
        good.count(),
        sample.event(),
        args.sample.job(),
    ));
    let (sent, silent) = (Cell::new(0_usize), Cell::new(0_usize));
    let bar = bar(wanted as u64);
    let report = probes.run(async |probe| {
        if is_unseen(probe) {
            return Some(Observed::Unseen);
        }
        if !is_wanted(probe) || silent.get() >= PATIENCE {
            return None;
        }
        sent.set(sent.get() + 1);
        let observed = target.probe(probe, probes.patience()).await;
        if probe.request().is_whole() {
            let is_silent = matches!(observed, Observed::Silence(_));
            silent.set(if is_silent { silent.get() + 1 } else { 0 });
        }
        bar.inc(1);
        Some(observed)
    });
    let report = report.await;
    bar.finish_and_clear();
    if sent.get() < wanted {
        warn("the receiver does not answer, so the other requests were not sent");
    }
    let left_out = table.iter().filter(|probe| is_of_another_event(probe)).count();
    output.print(
        || text(&report, args.all, left_out),
        || {
            json!({
                "good": report.is_good(),
                "requests": sent.get(),
                "rules": report.findings().iter().map(|finding| json!({
                    "rule": finding.rule,
                    "expected": finding.expected,
                    "observed": finding.observed,
                    "kept": finding.not_checked.is_none().then_some(finding.fix.is_none()),
                    "fix": finding.fix,
                    "not_checked": finding.not_checked,
                })).collect::<Vec<_>>(),
            })
        },
    );
    Ok(Verdict::from(report.is_good()))
}

fn text(report: &Report, all: bool, left_out: usize) -> String {
    let findings = report.findings();
    let (unseen, checked): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.not_checked.is_some());
    let broken = checked.iter().filter(|finding| finding.fix.is_some()).count();
    let mut lines = Vec::new();
    let kept = all.then_some(None);
    for fix in report.fixes().into_iter().map(Some).chain(kept) {
        if let Some(fix) = fix {
            lines.push(format!("{} {fix}", styled(BAD, "fix:")));
        }
        lines.push(styled(FAINT, row("rule", "expected", "observed")));
        lines.extend(checked.iter().filter(|finding| finding.fix == fix).map(|it| line(it)));
        lines.push(String::new());
    }
    if let Some(reason) = unseen.first().and_then(|finding| finding.not_checked) {
        lines.push(format!("{} {reason}", styled(FAINT, "not checked:")));
        lines.push(styled(FAINT, row("rule", "expected", "")));
        lines.extend(unseen.iter().map(|finding| row(finding.rule, &finding.expected, "")));
        lines.push(String::new());
    }
    let kept = format!("{} of {} rules are kept", checked.len() - broken, checked.len());
    let kept = match unseen.len() {
        0 => kept,
        unseen => format!("{kept}, and {unseen} were not checked"),
    };
    lines.push(styled(if broken == 0 { GOOD } else { BAD }, kept));
    if left_out > 0 {
        let note = format!("{left_out} requests were not sent, because they carry other events");
        lines.push(styled(FAINT, note));
    }
    lines.join("\n")
}

fn line(finding: &Finding) -> String {
    let Finding { rule, expected, observed, fix, .. } = finding;
    match fix {
        None => format!("{} {}", row(rule, expected, observed), styled(GOOD, "kept")),
        Some(_) => format!("{} {}", row(rule, expected, observed), styled(BAD, "broken")),
    }
}

fn row(rule: &str, expected: &str, observed: &str) -> String {
    format!("  {rule:58} {expected:15} {observed:17}")
}
