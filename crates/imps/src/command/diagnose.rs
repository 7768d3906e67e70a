//! `imps diagnose`: why pods cannot pull. Objects from the cluster or from manifests go the same way.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use imps_cluster::witness::{Asked, Testimony, look};
use imps_core::diagnosis::{Case, Code, PullError, Severity, classify, diagnose};

use super::answer::print;
use super::cluster::at_cluster;
use super::{Error, UNDETERMINED, manifests};
use crate::args::{DiagnoseArgs, FailLevel, OutputFormat};
use crate::runtime::output;

mod inquiry;
pub(super) mod report;
pub(super) mod screen;

use report::{EventReport, Report};

/// After how many pods it is told how far the examination is.
const PROGRESS_EVERY: usize = 500;

/// The namespace that manifests are in when they do not say.
const DEFAULT_NAMESPACE: &str = "default";

/// Unlike other commands, what goes wrong here is not told by exit code 1, which says that something was found.
pub(super) fn run(args: DiagnoseArgs) -> ExitCode {
    let answer = match args.event.clone() {
        Some(message) => explain(&args, message),
        None => examine(args),
    };
    answer.unwrap_or_else(|error| {
        output::complain(&*error);
        ExitCode::from(UNDETERMINED)
    })
}

fn examine(args: DiagnoseArgs) -> Result<ExitCode, Error> {
    let (output, level, now) = (args.output, args.fail_level, args.evidence.now());
    let patience = args.probe.then(|| Duration::from_secs(args.probe_timeout));
    let testimony_and_asked = if args.evidence.filename.is_empty() { live(args)? } else { offline(&args)? };
    let (testimony, asked) = testimony_and_asked;
    let cases = testimony.cases(&asked)?;
    let count = cases.len();
    let told = |(number, case): (usize, Case)| {
        if number > 0 && number.is_multiple_of(PROGRESS_EVERY) {
            output::progress(&format!("examining pods: {number} of {count}"));
        }
        report::pod(&case, &diagnose(&case, now.as_second()))
    };
    let pods = match patience {
        Some(patience) => {
            let mut cases: Vec<Case> = cases.collect();
            inquiry::ask_registries(&mut cases, patience)?;
            cases.into_iter().enumerate().map(told).collect()
        }
        None => cases.enumerate().map(told).collect(),
    };
    output::progress("");
    drop(testimony);
    let report = Report::new(pods);
    print(output, &report, || screen::render(&report, output == OutputFormat::Wide, output::in_colour()))?;
    Ok(exit(level, report.severity(), report.is_open()))
}

fn live(args: DiagnoseArgs) -> Result<(Testimony, Asked), Error> {
    let access = args.evidence.access.clone();
    at_cluster(access, async |client| {
        let asked = asked(&args, client.default_namespace());
        let seen = look(&client, &asked, &mut |what| output::progress(&format!("looking at {what}"))).await;
        output::progress("");
        Ok((seen?, asked))
    })
}

fn offline(args: &DiagnoseArgs) -> Result<(Testimony, Asked), Error> {
    Ok((testimony(&args.evidence.filename)?, asked(args, DEFAULT_NAMESPACE)))
}

/// What manifests tell.
pub(super) fn testimony(files: &[PathBuf]) -> Result<Testimony, Error> {
    let objects = manifests::read(files)?.into_iter().map(manifests::stored);
    Ok(Testimony::of_manifests(objects.collect()))
}

fn asked(args: &DiagnoseArgs, default_namespace: &str) -> Asked {
    let namespace = args.namespace.as_ref().map(ToString::to_string);
    let here = || namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
    match (&args.target, &args.image) {
        (Some(target), _) => {
            Asked::Object { kind: target.kind, namespace: here(), name: target.name.clone() }
        }
        (None, Some(image)) => {
            Asked::Image { namespace: here(), image: image.clone(), account: args.service_account.clone() }
        }
        (None, None) => Asked::Failing(namespace),
    }
}

/// Explains one message.
fn explain(args: &DiagnoseArgs, message: String) -> Result<ExitCode, Error> {
    let mut message = message;
    if message == "-" {
        message.clear();
        let read = std::io::stdin().read_to_string(&mut message);
        read.map_err(|error| format!("cannot read standard input: {error}"))?;
    }
    let read = classify(&message);
    let report = EventReport::new(read, &message);
    print(args.output, &report, || screen::event(&report))?;
    let severity = match read {
        PullError::Finding(code) => code.severity(),
        PullError::SecretMissing => Code::SecretMissing.severity(),
        PullError::NotPulling => Severity::Ok,
        PullError::BackOff => Severity::Unknown,
    };
    Ok(exit(args.fail_level, severity, read == PullError::BackOff))
}

/// The exit code of what was found.
pub(super) fn exit(level: FailLevel, worst: Severity, open: bool) -> ExitCode {
    let failed = match level {
        FailLevel::Error => worst >= Severity::Error,
        FailLevel::Warning => worst >= Severity::Warning,
        FailLevel::Info => worst >= Severity::Info,
        FailLevel::Never => return ExitCode::SUCCESS,
    };
    match (failed, open) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(UNDETERMINED),
        (false, false) => ExitCode::SUCCESS,
    }
}
