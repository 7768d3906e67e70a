//! `imps controller`: arguments become a configuration, the configuration becomes a running operator.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use imps_cluster::client::{Access, connect, connect_fenced, own_namespace};
use imps_cluster::fence::Warrant;
use imps_cluster::lease::{Election, Place};
use imps_cluster::remit::Remit;
use imps_cluster::traffic::Traffic;
use imps_core::exchange::KeylessAllowed;
use imps_core::leadership::Terms;
use imps_core::name::NamespaceName;

use super::Error;
use crate::args::{AccessArgs, ControllerArgs, ElectionArgs, KeylessKind, OperationArgs};
use crate::controller::crank::{Crank, Seat, Settings};
use crate::controller::inspection::Inspection;
use crate::runtime::metrics::Metrics;
use crate::runtime::telemetry::{self, Telemetry};
use crate::runtime::{admin, shutdown};

/// Threads of the runtime: the work is waiting for the API server, and each thread costs memory.
const WORKER_THREADS: usize = 2;

pub(super) fn run(args: ControllerArgs) -> Result<ExitCode, Error> {
    let ControllerArgs { operation, namespaces, election } = args;
    let telemetry = telemetry::start(&operation.log_level, operation.log_format)?;
    let poll = Poll::of(&election)?;
    let served = (!namespaces.is_empty()).then(|| namespaces.into_iter().collect());
    operate("controller", Remit::Cluster, served, operation, poll, telemetry)
}

/// An election to take part in.
pub(super) struct Poll {
    place: Place,
    terms: Terms,
}

impl Poll {
    fn of(args: &ElectionArgs) -> Result<Option<Self>, Error> {
        if !args.enable_leader_election {
            return Ok(None);
        }
        let namespace = args.config_namespace.clone().or_else(own_namespace).ok_or(
            "--enable-leader-election outside of a pod needs --config-namespace, the namespace of the Lease",
        )?;
        let [lease, deadline, retry] = [
            args.leader_election_lease_duration,
            args.leader_election_renew_deadline,
            args.leader_election_retry_period,
        ]
        .map(Duration::from_secs);
        let terms = Terms::new(lease, deadline, retry)
            .map_err(|error| format!("--leader-election-lease-duration and its like: {error}"))?;
        Ok(Some(Self { place: Place { namespace, name: args.leader_election_id.clone() }, terms }))
    }
}

/// A name that no other process has, also no earlier one in the same place.
fn identity() -> String {
    // The seed of the standard library's maps is random for each process.
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    let place = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    format!("{}_{random:016x}", place.unwrap_or_else(|_| "imps".to_owned()))
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
    poll: Option<Poll>,
    telemetry: Telemetry,
) -> Result<ExitCode, Error> {
    provide_tls()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build()?;
    let end = runtime.block_on(async {
        telemetry.obey_signals()?;
        turn(program, remit, served, args, poll).await
    });
    telemetry.end();
    end
}

async fn turn(
    program: &str,
    remit: Remit,
    served: Option<BTreeSet<NamespaceName>>,
    args: OperationArgs,
    poll: Option<Poll>,
) -> Result<ExitCode, Error> {
    let access = args.access.into();
    let traffic = Traffic::default();
    let metrics = Metrics::new(traffic.clone(), args.metrics_controller_runtime_compat);
    let (client, seat) = match poll {
        None => (connect(&access, &traffic).await?, None),
        Some(Poll { place, terms }) => {
            let warrant = Warrant::none();
            let client = connect_fenced(&access, &traffic, warrant.clone()).await?;
            // Renewals have connections of their own: nothing that the work waits for delays them.
            let apart = connect(&access, &traffic).await?;
            let lease = place.name.clone();
            (
                client,
                Some(Seat { lease, election: Election::begin(apart, place, identity(), terms, warrant) }),
            )
        }
    };
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
    let (crank, window) = Crank::new(client, remit, settings, seat);
    let window = match &inspection {
        Some(inspection) => window.with_definition(inspection.finding()),
        None => window,
    };
    let admin = admin::serve(&args.metrics_addr, window, metrics).await?;
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
