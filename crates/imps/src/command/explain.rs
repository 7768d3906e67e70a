//! `imps explain`: what a namespace is given and why, or which credentials would pull an image there. Objects from the
//! cluster or from manifests go the same way, that of a diagnosis.

use std::process::ExitCode;

use imps_cluster::witness::{Asked, Testimony, look, look_around};
use imps_core::diagnosis::{Sight, prospect, shares};

use super::answer::print;
use super::cluster::at_cluster;
use super::diagnose::testimony;
use super::{Error, UNDETERMINED, USAGE};
use crate::args::{ExplainArgs, Topic};
use crate::runtime::output;

pub(super) mod report;
pub(super) mod screen;

use report::{ImageReport, PlaceReport, Sum};

/// As with a diagnosis, exit code 1 says that something was found, not that something went wrong.
pub(super) fn run(args: ExplainArgs) -> ExitCode {
    let topic = match args.topic() {
        Ok(topic) => topic,
        Err(problem) => {
            output::complain(&*Error::from(problem));
            return ExitCode::from(USAGE);
        }
    };
    let answer = match topic {
        Topic::Namespace(namespace) => of_namespace(&args, namespace),
        Topic::Image { namespace, image } => of_image(&args, namespace, image),
    };
    match answer {
        Ok(Sum::Good) => ExitCode::SUCCESS,
        Ok(Sum::Bad) => ExitCode::FAILURE,
        Ok(Sum::Open) => ExitCode::from(UNDETERMINED),
        Err(error) => {
            output::complain(&*error);
            ExitCode::from(UNDETERMINED)
        }
    }
}

fn of_namespace(args: &ExplainArgs, namespace: String) -> Result<Sum, Error> {
    let seen = if args.evidence.filename.is_empty() {
        at_cluster(args.evidence.access.clone(), async |client| {
            let seen = look_around(&client, &namespace, &mut looking).await;
            output::progress("");
            Ok(seen)
        })?
    } else {
        testimony(&args.evidence.filename)?
    };
    let place = seen.place(&namespace)?;
    let report = PlaceReport::new(&place, &shares(&place));
    print(args.output, &report, || screen::place(&report, now(args), output::in_colour()))?;
    Ok(report.sum())
}

fn of_image(args: &ExplainArgs, namespace: String, image: String) -> Result<Sum, Error> {
    let account = args.service_account.clone();
    let asked = Asked::Image { namespace: namespace.clone(), image, account };
    let seen = if args.evidence.filename.is_empty() {
        live(args, &asked)?
    } else {
        testimony(&args.evidence.filename)?
    };
    let case = &seen.cases(&asked)?.next().ok_or("there is nothing to explain")?;
    if case.space == Sight::Absent {
        // The same words as about the namespace itself.
        seen.place(&namespace)?;
    }
    let found = prospect(case, now(args)).ok_or("this is not the name of an image")?;
    let report = ImageReport::new(case, &found);
    print(args.output, &report, || screen::image(&report, output::in_colour()))?;
    Ok(report.sum())
}

fn live(args: &ExplainArgs, asked: &Asked) -> Result<Testimony, Error> {
    at_cluster(args.evidence.access.clone(), async |client| {
        let seen = look(&client, asked, &mut looking).await;
        output::progress("");
        Ok(seen?)
    })
}

fn looking(what: &str) {
    output::progress(&format!("looking at {what}"));
}

fn now(args: &ExplainArgs) -> i64 {
    args.evidence.now().as_second()
}
