//! `imps crd`: the CustomResourceDefinition as YAML.

use std::process::ExitCode;

use super::Error;
use crate::runtime::output;

pub(super) fn run() -> Result<ExitCode, Error> {
    output::print(&serde_saphyr::to_string(&imps_api::crd::crd())?)?;
    Ok(ExitCode::SUCCESS)
}
