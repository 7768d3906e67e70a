//! `imps controller`: arguments become a configuration, the configuration becomes a running operator.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use imps_cluster::client::{Access, connect};
use imps_cluster::remit::Remit;
use imps_core::exchange::KeylessAllowed;
use imps_core::name::NamespaceName;

use super::Error;
use crate::args::{AccessArgs, ControllerArgs, KeylessKind, OperationArgs};
use crate::controller::crank::{Crank, Settings};
use crate::controller::inspection::Inspection;
use crate::runtime::{admin, shutdown, telemetry};

/// Threads of the runtime: the work is waiting for the API server, and each thread costs memory.
const WORKER_THREADS: usize = 2;

pub(super) fn run(args: ControllerArgs) -> Result<ExitCode, Error> {
    let ControllerArgs { operation, enable_leader_election, config_namespace, namespaces } = args;
    telemetry::start(&operation.log_level, operation.log_format)?;
    if enable_leader_election {
        tracing::warn!(
            namespace = config_namespace,
            "--enable-leader-election is accepted, but this version does not elect a leader: run one replica"
        );
    }
    let served = (!namespaces.is_empty()).then(|| namespaces.into_iter().collect());
    operate("controller", Remit::Cluster, served, operation)
}

/// Chooses the one TLS there is, once for the process.
pub(super) fn provide_tls() -> Result<(), Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| "a TLS provider is already installed".into())
}

/// Runs the machine until the process is asked to end. `program` is the subcommand, for the log.
pub(super) fn operate(
    program: &str,
    remit: Remit,
    served: Option<BTreeSet<NamespaceName>>,
    args: OperationArgs,
) -> Result<ExitCode, Error> {
    provide_tls()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    runtime.block_on(turn(program, remit, served, args))
}

async fn turn(
    program: &str,
    remit: Remit,
    served: Option<BTreeSet<NamespaceName>>,
    args: OperationArgs,
) -> Result<ExitCode, Error> {
    let client = connect(&args.access.into()).await?;
    let stop = shutdown::signal()?;
    let settings = Settings {
        missing_source_grace: Duration::from_secs(args.missing_source_grace),
        resync: Some(args.periodic_reconcile_interval)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
        keyless: KeylessAllowed {
            ambient: args.keyless.contains(&KeylessKind::Ambient),
            service_accounts: args.keyless.contains(&KeylessKind::ServiceAccount),
        },
        served,
    };
    let inspection = matches!(remit, Remit::Cluster).then(|| Inspection::begin(client.clone()));
    let (crank, window) = Crank::new(client, remit, settings);
    let window = match &inspection {
        Some(inspection) => window.with_definition(inspection.finding()),
        None => window,
    };
    let admin = admin::serve(&args.metrics_addr, window).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %admin.address(), "imps {program} started");
    let end = crank.turn(stop).await;
    admin.stop().await;
    end?;
    tracing::info!("imps {program} stopped");
    Ok(ExitCode::SUCCESS)
}

impl From<AccessArgs> for Access {
    fn from(args: AccessArgs) -> Self {
        Self { kubeconfig: args.kubeconfig, context: args.context }
    }
}
