//! `imps man`: manual pages, made from what `--help` says.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use super::Error;
use crate::args::{Args, ManArgs};
use crate::runtime::output;

pub(super) fn run(args: ManArgs) -> Result<ExitCode, Error> {
    match args.dir {
        None => {
            let mut page = Vec::new();
            Man::new(Args::command()).render(&mut page)?;
            output::print(&String::from_utf8(page)?)?;
        }
        Some(folder) => {
            let fail =
                |error: std::io::Error| format!("cannot write pages into {}: {error}", folder.display());
            std::fs::create_dir_all(&folder).map_err(fail)?;
            clap_mangen::generate_to(Args::command(), &folder).map_err(fail)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
