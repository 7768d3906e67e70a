//! `imps tree`: how far an ImagePullSecret reaches, from its sources to the pods that use its Secrets.

use std::process::ExitCode;

use super::answer::print;
use super::diagnose::exit;
use super::survey::Scope;
use super::{Error, UNDETERMINED};
use crate::args::{FailLevel, TreeArgs};
use crate::runtime::output;

mod report;
mod screen;

use report::Report;

/// As with a diagnosis, exit code 1 says that something was found, not that something went wrong.
pub(super) fn run(args: &TreeArgs) -> ExitCode {
    show(args).unwrap_or_else(|error| {
        output::progress("");
        output::complain(&*error);
        ExitCode::from(UNDETERMINED)
    })
}

fn show(args: &TreeArgs) -> Result<ExitCode, Error> {
    let at = args.evidence.now();
    let namespace = args.namespace.as_ref().map(|namespace| namespace.as_str());
    let scope = Scope { evidence: &args.evidence, namespace, at };
    let surveyed = scope.survey()?;
    let survey = &surveyed.survey;
    let Some(reach) = survey.reach(&args.name) else {
        let why = survey.gaps.first().map(|gap| format!("; {gap}")).unwrap_or_default();
        return Err(format!("no ImagePullSecret {} was seen{why}", args.name).into());
    };
    let report = Report::new(reach, survey);
    print(args.output, &report, || {
        let shown = if args.all { usize::MAX } else { args.limit as usize };
        let style = screen::Style { shown, ascii: args.ascii, colour: output::in_colour() };
        screen::render(&report, at.as_second(), style)
    })?;
    Ok(exit(FailLevel::Error, reach.severity_with_pods(), report.is_open()))
}
