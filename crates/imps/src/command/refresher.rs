//! `imps refresher`: one Secret, named by the arguments, kept by the machine that serves a whole cluster.

use std::process::ExitCode;
use std::sync::Arc;

use imps_cluster::remit::{Remit, Single};

use super::{Error, controller};
use crate::args::RefresherArgs;
use crate::runtime::telemetry;

pub(super) fn run(args: RefresherArgs) -> Result<ExitCode, Error> {
    let telemetry = telemetry::start(&args.operation.log_level, args.operation.log_format)?;
    let single = Single::new(&args.source_secret, args.target_secret)?;
    controller::operate("refresher", Remit::Single(Arc::new(single)), None, args.operation, None, telemetry)
}
