//! `imps report`: a page about all of a cluster, or of manifests, that can be handed on.

use std::path::Path;
use std::process::ExitCode;

use super::diagnose::exit;
use super::survey::Scope;
use super::{Error, UNDETERMINED, USAGE};
use crate::args::{PageFormat, ReportArgs};
use crate::runtime::output;

mod html;
mod markdown;
mod page;

use page::Page;

/// As with a diagnosis, exit code 1 says that something was found, not that something went wrong.
pub(super) fn run(args: &ReportArgs) -> ExitCode {
    if args.output == PageFormat::Html && args.to == Path::new("-") && output::is_watched() {
        let words = "HTML is for browsers: write it into a file by --to report.html, or take -o md";
        output::complain(&*Error::from(words));
        return ExitCode::from(USAGE);
    }
    write(args).unwrap_or_else(|error| {
        output::progress("");
        output::complain(&*error);
        ExitCode::from(UNDETERMINED)
    })
}

fn write(args: &ReportArgs) -> Result<ExitCode, Error> {
    let at = args.evidence.now();
    let namespace = args.namespace.as_ref().map(|namespace| namespace.as_str());
    let scope = Scope { evidence: &args.evidence, namespace, at };
    let surveyed = scope.survey()?;
    let page = Page::new(&surveyed, &args.title, namespace, at);
    let text = match args.output {
        PageFormat::Html => html::render(&page),
        PageFormat::Markdown => markdown::render(&page),
    };
    if args.to == Path::new("-") {
        output::print(&text)?;
    } else {
        let fail = |error| format!("cannot write {}: {error}", args.to.display());
        std::fs::write(&args.to, text).map_err(fail)?;
    }
    let survey = &surveyed.survey;
    Ok(exit(args.fail_level, survey.severity(), survey.is_open()))
}
