//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Puts the right registry credentials into the right namespaces, keeps them valid, and explains itself.
#[derive(Parser, Debug)]
#[command(name = "imps", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the operator: watch the cluster and write the Secrets
    ///
    /// Reads every ImagePullSecret, merges the docker logins of its sources, and keeps one Secret of type
    /// kubernetes.io/dockerconfigjson in each selected namespace. It ends on SIGTERM after finishing what is in flight.
    ///
    /// Serves /metrics, /livez and /readyz at --metrics-addr. `imps rbac` prints the rights that it needs.
    Controller(ControllerArgs),
    /// Show what would be written where, and why, from manifests and without a cluster
    ///
    /// Reads namespaces, pods, Secrets and ImagePullSecrets, and answers as the operator would: which namespace gets
    /// which Secret with which registries, by which rule and from which source; what is left out, and why.
    ///
    /// No credential is ever printed. Exit code 1 says that something would fail or conflict.
    #[command(
        after_help = "Examples:\n  imps plan -f examples/\n  imps plan -f cr.yaml -f namespaces.yaml -o json\n  \
        kubectl get ns,pods,secrets,imps -A -o yaml | imps plan -f -"
    )]
    Plan(PlanArgs),
    /// Print the CustomResourceDefinition
    #[command(after_help = "Example:\n  imps crd | kubectl apply --server-side -f -")]
    Crd,
    /// Print the roles that the operator needs for a set of ImagePullSecrets
    ///
    /// The rules on Secrets name the targets and sources, so that no other Secret can be read or written.
    #[command(
        after_help = "Example:\n  imps rbac -f examples/ --service-account imps-system/imps | kubectl apply -f -"
    )]
    Rbac(RbacArgs),
    /// Print the version
    Version,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ControllerArgs {
    /// Address of /metrics, /livez and /readyz; without a host, all addresses
    #[arg(long, value_name = "HOST:PORT", default_value = ":8080")]
    pub(crate) metrics_addr: String,
    /// Seconds between two looks at everything that is known; writes nothing when nothing is amiss. 0 turns it off
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) periodic_reconcile_interval: u64,
    /// Accepted for the original's deployments; this version does not elect, so run one replica
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) enable_leader_election: bool,
    /// Namespace for the leader's Lease; accepted, see --enable-leader-election
    #[arg(long, value_name = "NAMESPACE", default_value = "backyards-system")]
    pub(crate) config_namespace: String,
    /// How long the credentials of a source Secret stay in use after it was deleted, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) missing_source_grace: u64,
    /// How much to say: error, warn, info, debug or trace (panic and fatal mean error)
    #[arg(long = "log.level", env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,
    /// How to say it: JSON unless standard output is a terminal
    #[arg(long = "log.format", env = "LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug, Clone)]
pub(crate) struct AccessArgs {
    /// A kubeconfig file, instead of the pod's service account or KUBECONFIG
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    /// JSON for machines, text on a terminal
    Auto,
    /// One JSON object a line
    Json,
    /// Lines for people
    Text,
}

#[derive(clap::Args, Debug)]
pub(crate) struct PlanArgs {
    /// A manifest, a folder of manifests, or - for standard input; can be given more than once
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// For people or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OutputFormat {
    /// A table
    Table,
    /// JSON
    Json,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RbacArgs {
    /// A manifest, a folder of manifests, or - for standard input; can be given more than once
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    /// Name of the roles
    #[arg(long, value_name = "NAME", default_value = "imps-controller")]
    pub(crate) name: String,
    /// Bind the roles to this service account
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) service_account: Option<String>,
}
