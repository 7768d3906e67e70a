//! The registries' own word on the images of a diagnosis, each asked once whatever the number of pods.

use std::time::Duration;

use imps_core::diagnosis::Case;
use imps_core::diagnosis::probe::{Trial, trials};
use imps_registry::{Limits, probe};

use crate::command::Error;
use crate::runtime::output;

/// How many answers may be waited for one after the other. A person sits in front of it.
const ANSWERS_IN_A_ROW: u32 = 6;

/// Asks, and notes the answers in the cases. `patience` is for each answer.
pub(super) fn ask_registries(cases: &mut [Case], patience: Duration) -> Result<(), Error> {
    let wanted: Vec<Vec<Trial>> = cases.iter().map(trials).collect();
    let mut different: Vec<Trial> = Vec::new();
    for trial in wanted.iter().flatten() {
        if !different.contains(trial) {
            different.push(trial.clone());
        }
    }
    let usual = Limits::default();
    let limits =
        Limits { connect: usual.connect.min(patience), answer: patience, whole: patience * ANSWERS_IN_A_ROW };
    output::progress("asking registries");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(probe(different.clone(), limits));
    output::progress("");
    for (case, wanted) in cases.iter_mut().zip(&wanted) {
        let answer =
            |trial: &Trial| different.iter().position(|one| one == trial).map(|at| answers[at].clone());
        case.probed = wanted.iter().filter_map(answer).collect();
    }
    Ok(())
}
