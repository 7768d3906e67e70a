//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use imps_api::keys;
use imps_core::name::{NamespaceName, SecretRef, is_dns_label, is_dns_subdomain};

use crate::command::candidates;

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
    /// kubernetes.io/dockerconfigjson in each selected namespace. It ends on SIGTERM after finishing what is in
    /// flight.
    ///
    /// Serves /metrics, /livez and /readyz at --metrics-addr. `imps rbac` prints the rights that it needs.
    Controller(ControllerArgs),
    /// Keep one Secret filled with the credentials of others
    ///
    /// Merges the source Secrets (docker logins, and identities that are exchanged for short-lived tokens) into one
    /// target Secret of type kubernetes.io/dockerconfigjson, renews it in time and repairs it. The first source that
    /// has a credential for a registry wins. It needs no custom resource and no right but on these Secrets, which
    /// `imps rbac` prints. A Secret at the target's name that it did not make is left alone.
    ///
    /// It elects no leader: a second one for the same Secret does no harm, but asks for tokens of its own.
    ///
    /// Serves /metrics, /livez and /readyz at --metrics-addr; it ends on SIGTERM after finishing what is in flight.
    #[command(after_help = "Example:\n  imps refresher --source-secret registry-access.dockerhub \\\n    \
        --source-secret registry-access.company --target-secret shop.pull-secret")]
    Refresher(RefresherArgs),
    /// Show what would be written where, and why: on a cluster, or from manifests and without one
    ///
    /// Without -f it compares what the ImagePullSecrets of a cluster ask for with what is there, and shows each Secret
    /// and ServiceAccount that the operator would write now, with the registries that come, change and go. With -f and
    /// --live it does so as if the manifests had been applied first.
    ///
    /// With -f alone it needs no cluster: it reads namespaces, pods, Secrets and ImagePullSecrets, and answers which
    /// namespace gets which Secret with which registries, by which rule and from which source; what is left out, and
    /// why.
    ///
    /// It decides as the operator does, and changes nothing. No credential is ever printed. Exit code 0: nothing would
    /// change, or with -f alone nothing would fail; 1: something would change, fail or conflict; 2: not a call that
    /// makes sense; 3: something on the cluster could not be looked at, and what is said may be wrong there.
    #[command(
        after_help = "Examples:\n  imps plan\n  imps plan --live -f cr.yaml\n  imps plan -f examples/\n  \
        imps plan -f cr.yaml -f namespaces.yaml -o json\n  \
        kubectl get ns,pods,secrets,sa,imps -A -o yaml | imps plan -f -"
    )]
    Plan(PlanArgs),
    /// Print the CustomResourceDefinition, or apply it
    #[command(after_help = "Examples:\n  imps crd | kubectl apply --server-side -f -\n  imps crd apply")]
    Crd(CrdArgs),
    /// Print the roles that the operator needs for a set of ImagePullSecrets, or the refresher for its Secrets
    ///
    /// Each rule says why it is there. How far the rights on Secrets reach is told by --mode:
    ///
    /// named: to the target names of the manifests, in every namespace. No other Secret can be read or written.
    ///
    /// namespaced: to those names, and only in the namespaces of --namespaces. Start the operator with the same list.
    ///
    /// cluster: to every Secret there is. It is for ImagePullSecrets that come later, with names that nobody knows
    /// yet. Whoever takes over the operator can then read and write all Secrets.
    ///
    /// Sources are granted by their names, each in its namespace (with --mode cluster they are covered). Pods,
    /// ServiceAccounts and finalizers are granted when one of the manifests needs them; source Secrets among the
    /// manifests tell which ServiceAccounts tokens are asked for.
    ///
    /// With --policies it prints admission policies instead, which hold the operator to the same limits from outside,
    /// and authors of ImagePullSecrets to sources that they may read.
    #[command(
        after_help = "Examples:\n  imps rbac -f examples/ --service-account imps-system/imps | kubectl apply -f -\n  \
        imps rbac -f examples/ --mode namespaced --namespaces shop,yard\n  \
        imps rbac --mode cluster --allow pods,service-accounts\n  \
        imps rbac --policies --service-account imps-system/imps -f examples/ | kubectl apply -f -\n  \
        imps rbac --crd --service-account imps-system/imps-crds | kubectl apply -f -\n  \
        imps rbac --source-secret registry-access.dockerhub --target-secret shop.pull-secret \\\n    \
        --service-account shop/refresher | kubectl apply -f -"
    )]
    Rbac(RbacArgs),
    /// Say why pods cannot pull their images, and what to do
    ///
    /// Looks, rung by rung, at what a pod waits for, what the registry said, where its pull secrets come from, whether
    /// the kubelet can read them, which entries match the image as the kubelet matches, whether they are fresh, and
    /// which ImagePullSecret should have supplied them; from the cluster, or with -f from manifests. It reads and
    /// changes nothing, works without imps on the cluster, and says what it may not read instead of giving up. With
    /// --probe the registry itself is asked, too.
    ///
    /// No credential and no user name is ever printed. Exit code 0: nothing found; 1: a finding at or above
    /// --fail-level; 2: not a call that makes sense; 3: could not be determined. docs/findings explains each finding.
    #[command(
        after_help = "Examples:\n  imps diagnose pod/web-7c9f -n shop\n  imps diagnose deploy/web -n shop -o wide\n  \
        imps diagnose --all\n  imps diagnose --image registry.example/app:1 -n shop --service-account builder\n  \
        imps diagnose --image registry.example/app:1 -n shop --probe\n  \
        kubectl get pods,events,secrets,sa,ns,imps -A -o yaml | imps diagnose -f -\n  \
        imps diagnose --event 'failed to authorize: failed to fetch anonymous token: 401 Unauthorized'"
    )]
    Diagnose(Box<DiagnoseArgs>),
    /// Say what a namespace is given, or which credentials would pull an image
    ///
    /// Of a NAMESPACE: each Secret that an ImagePullSecret gives, gave or would give there. It has it, lacks it,
    /// loses it, is in conflict with somebody else's Secret of that name, or is left out; with the rule that selects,
    /// the rule that excludes, or what each rule asks for and the namespace has instead; and which source each
    /// registry is from.
    ///
    /// Of an IMAGE: which credentials the kubelet would try for a pod with it, in its order, from which Secrets and
    /// which ImagePullSecret writes these; which is the first that serves; and why the other Secrets give nothing.
    ///
    /// A name without /, : and . is taken for a namespace, and with -n for an image.
    ///
    /// It reads the cluster, or manifests with -f, changes nothing, needs no imps on the cluster, and says what it
    /// may not read instead of giving up. No credential and no user name is ever printed. Exit code 0: all is there,
    /// or the image is served; 1: something is missing, or nothing would serve the image; 2: not a call that makes
    /// sense; 3: could not be determined.
    #[command(after_help = "Examples:\n  imps explain shop\n  imps explain shop -o json\n  \
        imps explain registry.example/team/app:1 -n shop\n  \
        imps explain nginx -n shop --service-account builder\n  \
        kubectl get ns,pods,secrets,sa,imps -A -o yaml | imps explain shop -f -")]
    Explain(ExplainArgs),
    /// Show on one screen how the ImagePullSecrets stand
    ///
    /// Which are ready, in how many namespaces their Secrets are as they should be, how long the tokens of their
    /// sources last and when the next ones are asked for, where something fails and why, and which operator leads.
    ///
    /// All of it is what the operator wrote down: no Secret is read, and the right to list imagepullsecrets suffices.
    /// With --watch, also that to watch them. Who leads is told where leases may be read.
    ///
    /// Exit code 0: all are ready; 1: one is not; 2: not a call that makes sense; 3: could not be determined.
    #[command(after_help = "Examples:\n  imps status\n  imps status corp --watch\n  \
        imps status -o json | jq '.imagePullSecrets[] | select(.ready != \"True\")'")]
    Status(StatusArgs),
    /// Show how far an ImagePullSecret reaches: its sources, namespaces, Secrets, ServiceAccounts and pods
    ///
    /// As a tree: the sources with their registries and when their tokens end; the namespaces that have, lack or lose
    /// the Secret or have somebody else's in its place, each with the rule that selects it; the ServiceAccounts that
    /// name the Secret; and how many pods do, with those that wait for an image and why. What is wrong comes first.
    ///
    /// It reads the cluster, in a number of requests that does not grow with the number of namespaces, or manifests
    /// with -f, changes nothing, and says what it may not read instead of giving up. No credential and no user name is
    /// ever printed. Exit code 0: all is there; 1: a Secret is missing or in conflict, a token has ended, or a pod
    /// waits for an image; 2: not a call that makes sense; 3: could not be determined.
    #[command(
        after_help = "Examples:\n  imps tree corp\n  imps tree corp -n shop\n  imps tree corp --all --ascii\n  \
        imps tree corp -o json | jq '.namespaces[] | select(.state != \"has\")'\n  \
        kubectl get ns,pods,events,secrets,sa,imps -A -o yaml | imps tree corp -f -"
    )]
    Tree(TreeArgs),
    /// Write a page about all of it: for a ticket, for a review, or for whoever has no access
    ///
    /// One file of HTML or Markdown that needs nothing else: pods that wait for an image by their causes, with what to
    /// do; Secrets that are missing or in conflict; each ImagePullSecret with its conditions, its sources and when
    /// their tokens end, and the namespaces that it covers by which rule; and what could not be checked.
    ///
    /// It reads the cluster with your rights and in a bounded number of requests, or manifests with -f, and changes
    /// nothing. No credential and no user name is in it, but names of namespaces, pods, images and registries are. What
    /// there is too much of is counted instead. Exit code 0: nothing found; 1: a finding at or above --fail-level; 2:
    /// not a call that makes sense; 3: could not be determined, or not be written.
    #[command(after_help = "Examples:\n  imps report -o html > report.html\n  \
        imps report -o html --to report.html --title 'Cluster staging' --fail-level never\n  \
        imps report -o md -n shop\n  \
        kubectl get ns,pods,events,secrets,sa,imps -A -o yaml | imps report -o md -f -")]
    Report(ReportArgs),
    /// List what `imps diagnose` can find
    Findings(FindingsArgs),
    /// Say whether imps can work on this cluster, and what keeps it from that
    ///
    /// Looks at the versions, the clocks, the definition of the custom resource, the Lease by which an operator leads,
    /// what you may do, and other tools that write pull secrets; with --as-operator also at the rights of the
    /// operator, held against what the ImagePullSecrets of the cluster need. It reads and changes nothing, and says
    /// what it may not read instead of giving up.
    ///
    /// Exit code 0: nothing is broken, though something may deserve a look; 1: something is; 3: something could not be
    /// determined.
    #[command(
        after_help = "Examples:\n  imps doctor\n  imps doctor --as-operator imps-system/imps-controller\n  \
        imps doctor -o json | jq '.checks[] | select(.state != \"ok\")'"
    )]
    Doctor(DoctorArgs),
    /// Have the operator keep its hands off ImagePullSecrets
    ///
    /// Sets spec.suspend. While it is set, nothing is written and nothing is taken away: Secrets stay where they are,
    /// a change of a source does not reach them, and tokens in them are not renewed and end at their time.
    ///
    /// A tool that keeps the manifest, as Flux and Argo CD do, may set the field back: change it there.
    ///
    /// Exit code 0: they are suspended; 1: one of them does not exist; 3: something could not be determined or done,
    /// for instance by lack of a right, which is named.
    #[command(
        after_help = "Examples:\n  imps suspend corp\n  imps suspend --all --dry-run\n  imps suspend --all --yes"
    )]
    Suspend(SuspendArgs),
    /// Have the operator look after ImagePullSecrets again
    ///
    /// Takes spec.suspend off. Whatever has changed meanwhile is made up for at once.
    ///
    /// Exit code 0: they are not suspended; 1: one of them does not exist; 3: something could not be determined or
    /// done, for instance by lack of a right, which is named.
    #[command(after_help = "Examples:\n  imps resume corp\n  imps resume --all --yes")]
    Resume(SuspendArgs),
    /// Have the operator ask for all tokens of ImagePullSecrets anew, now
    ///
    /// Sets an annotation, images.banzaicloud.io/refresh-requested-at, which the operator repeats in the status when it
    /// has tried to get a new token for each source, whatever the pause after a failure was. What fails takes nothing
    /// away. It asks an endpoint again ten seconds after the last time at the earliest, and not before the endpoint
    /// wants that. Logins need no asking: the operator sees each change of their Secrets.
    ///
    /// With --wait it ends when that was done and every namespace has what came of it, and says when each token ends.
    ///
    /// It takes the right to patch imagepullsecrets; with --wait also to list and watch them, with --all to list them.
    ///
    /// Exit code 0: it is demanded, and with --wait done; 1: a source or a namespace fails, or one of them does not
    /// exist or is suspended; 2: not a call that makes sense; 3: something could not be determined or done, for
    /// instance by lack of a right, which is named; 124: not done within --timeout, as when no operator runs.
    #[command(after_help = "Examples:\n  imps refresh corp\n  imps refresh corp --wait --timeout 5m\n  \
        imps refresh --all --wait")]
    Refresh(RefreshArgs),
    /// Move over from a tool that did this before
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// List the series of /metrics: what each tells, and when it is absent
    #[command(after_help = "Example:\n  imps metrics -o markdown > metrics.md")]
    Metrics(MetricsArgs),
    /// Make a running imps say more, or as much as it was told to at its start
    ///
    /// It sends the process a signal: SIGUSR1 raises the log level one step, from error over warn, info and debug to
    /// trace, and SIGUSR2 sets it back. Both work without this command too.
    ///
    /// The process has to run the same program file as this command does, as in the same container.
    #[command(
        after_help = "Example:\n  kubectl -n imps-system exec deploy/imps-controller -- /imps log-level raise"
    )]
    LogLevel(LogLevelArgs),
    /// Print the script by which a shell completes commands, flags and names
    ///
    /// bash, zsh, fish, powershell and elvish complete `imps`; where each looks for scripts is told by its manual.
    /// Each script asks the program that it finds in PATH. Names of ImagePullSecrets, namespaces, pods and deployments
    /// (deploy/NAME) are those of the cluster, if it answers within two seconds and lets you list them.
    ///
    /// kubectl completes `kubectl imps`, in whatever shell kubectl itself is completed: save that script under the
    /// name kubectl_complete-imps in a folder of PATH, and make it executable.
    #[command(after_help = "Examples:\n  source <(imps completion bash)\n  \
        imps completion fish > ~/.config/fish/completions/imps.fish\n  \
        imps completion kubectl > ~/bin/kubectl_complete-imps && chmod +x ~/bin/kubectl_complete-imps")]
    Completion(CompletionArgs),
    /// Print the manual page, or write one page for each command
    #[command(after_help = "Examples:\n  imps man | man -l -\n  imps man --dir ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print the version
    Version,
}

#[derive(clap::Args, Debug)]
pub(crate) struct MetricsArgs {
    /// For people or for documents
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: MetricsFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MetricsFormat {
    /// A table
    Table,
    /// Tables of Markdown
    Markdown,
}

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["names", "all"]))]
#[command(group = clap::ArgGroup::new("sure").multiple(true).args(["yes", "dry_run"]))]
pub(crate) struct SuspendArgs {
    /// Names of ImagePullSecrets
    #[arg(value_name = "NAME", value_parser = object_name, add = ArgValueCandidates::new(candidates::grants))]
    pub(crate) names: Vec<String>,
    /// All ImagePullSecrets of the cluster; only together with --yes or --dry-run
    #[arg(short = 'A', long, requires = "sure")]
    pub(crate) all: bool,
    /// All of them is what is meant
    #[arg(long, conflicts_with = "names")]
    pub(crate) yes: bool,
    /// Have the API server check it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["names", "all"]))]
pub(crate) struct RefreshArgs {
    /// Names of ImagePullSecrets
    #[arg(value_name = "NAME", value_parser = object_name, add = ArgValueCandidates::new(candidates::grants))]
    pub(crate) names: Vec<String>,
    /// All ImagePullSecrets of the cluster
    #[arg(short = 'A', long)]
    pub(crate) all: bool,
    /// End when it is done, and say what came of it
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// How long to wait: seconds, or a number with its unit as in 90s, 5m and 1h30m
    #[arg(long, value_name = "DURATION", default_value = "2m", requires = "wait", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Check the rights of this ServiceAccount as those of the operator; it takes the right to create
    /// subjectaccessreviews
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub(crate) as_operator: Option<(String, String)>,
    /// As given to the operator by --namespaces: where its rights on targets are to reach
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', requires = "as_operator",
          value_parser = namespace_name)]
    pub(crate) namespaces: Vec<NamespaceName>,
    /// As given to the operator by --config-namespace: where its Lease is; all namespaces when not given
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub(crate) lease_namespace: Option<String>,
    /// As given to the operator by --leader-election-id
    #[arg(long, value_name = "NAME", default_value = keys::LEASE)]
    pub(crate) lease_name: String,
    /// For people or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct CompletionArgs {
    /// For whom
    pub(crate) shell: CompletionShell,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CompletionShell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
    /// Elvish
    Elvish,
    /// kubectl, for its plugin `kubectl imps`
    Kubectl,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub(crate) struct LogLevelArgs {
    /// What to do
    pub(crate) change: LevelChange,
    /// The process; in a container, imps is the first one
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: i32,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LevelChange {
    /// One step louder
    Raise,
    /// As at the start
    Reset,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ControllerArgs {
    #[command(flatten)]
    pub(crate) operation: OperationArgs,
    /// Look at Secrets and ServiceAccounts in these namespaces only, and write nowhere else
    ///
    /// For an operator with the roles of `imps rbac --mode namespaced`. Namespaces that an ImagePullSecret selects
    /// beyond these are left out, and its status says so. Not given, all namespaces are served.
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace_name)]
    pub(crate) namespaces: Vec<NamespaceName>,
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
}

/// How several operators agree on the one that acts.
#[derive(clap::Args, Debug)]
pub(crate) struct ElectionArgs {
    /// Act only while holding a Lease that no other replica holds; without it, run one replica
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) enable_leader_election: bool,
    /// Namespace of that Lease; the pod's own when not given
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) config_namespace: Option<String>,
    /// Name of that Lease
    #[arg(long, value_name = "NAME", default_value = keys::LEASE)]
    pub(crate) leader_election_id: String,
    /// Seconds after which another replica takes the Lease over when it was not renewed
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub(crate) leader_election_lease_duration: u64,
    /// Seconds after which the leader stops acting when it cannot renew
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) leader_election_renew_deadline: u64,
    /// Seconds between two looks at the Lease, and two renewals
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub(crate) leader_election_retry_period: u64,
}

#[derive(clap::Args, Debug)]
pub(crate) struct CrdArgs {
    #[command(subcommand)]
    pub(crate) command: Option<CrdCommand>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum CrdCommand {
    /// Bring the definition on the API server to that of this imps, and wait until it is served
    ///
    /// It is applied by the field manager imps-crds, whoever wrote the one that is there, and what became different is
    /// printed. Objects, and what others have put on the definition, stay. `imps rbac --crd` prints the rights for it.
    ///
    /// Exit code 0 says that the definition is in force, 1 that it is not.
    #[command(after_help = "Example:\n  imps crd apply --context staging")]
    Apply(AccessArgs),
}

#[derive(clap::Args, Debug)]
pub(crate) struct RefresherArgs {
    /// A Secret to read; can be given more than once, and the first one wins
    #[arg(long, value_name = "NAMESPACE.NAME", required = true, value_parser = secret)]
    pub(crate) source_secret: Vec<SecretRef>,
    /// The Secret to write
    #[arg(long, value_name = "NAMESPACE.NAME", value_parser = secret)]
    pub(crate) target_secret: SecretRef,
    #[command(flatten)]
    pub(crate) operation: OperationArgs,
}

/// What the operator and the refresher have in common.
#[derive(clap::Args, Debug)]
pub(crate) struct OperationArgs {
    /// Address of /metrics, /livez and /readyz; without a host, all addresses
    #[arg(long, value_name = "HOST:PORT", default_value = ":8080")]
    pub(crate) metrics_addr: String,
    /// Serve the series that dashboards for programs of controller-runtime query, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) metrics_controller_runtime_compat: bool,
    /// Seconds between two looks at everything that is known; writes nothing when nothing is amiss. 0 turns it off
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) periodic_reconcile_interval: u64,
    /// How long the credentials of a source Secret stay in use after it was deleted, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) missing_source_grace: u64,
    /// Whose identity may be used for a source Secret without keys; nobody's, when not given
    ///
    /// With "ambient", whoever may write a source Secret borrows the identity of imps itself: the one that the cloud
    /// gives its pod, or else its node. With "service-account", a source Secret can name a ServiceAccount of its own
    /// namespace, whose token is then exchanged.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) keyless: Vec<KeylessKind>,
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
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(candidates::of_kubeconfig))]
    pub(crate) context: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeylessKind {
    /// The identity of imps itself
    Ambient,
    /// A ServiceAccount that the source Secret names
    ServiceAccount,
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
    /// A manifest, a folder of manifests, or - for standard input, instead of the cluster; can be given more than once
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Plan for the cluster as it would be with the manifests applied
    #[arg(long)]
    pub(crate) live: bool,
    /// For people or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

impl PlanArgs {
    /// Whether a cluster is looked at.
    pub(crate) fn is_live(&self) -> bool {
        self.live || self.filename.is_empty()
    }

    /// A cluster is named, and nothing is asked of it.
    pub(crate) fn is_at_odds(&self) -> bool {
        !self.is_live() && (self.access.kubeconfig.is_some() || self.access.context.is_some())
    }
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OutputFormat {
    /// What matters most
    Table,
    /// The same, with what else there is to say
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RbacArgs {
    /// A manifest, a folder of manifests, or - for standard input; can be given more than once
    #[arg(short, long = "filename", value_name = "FILE",
          required_unless_present_any = ["target_secret", "mode", "policies", "crd"])]
    pub(crate) filename: Vec<PathBuf>,
    /// How far the rights on Secrets reach; named when not given
    #[arg(long, value_name = "MODE", conflicts_with = "target_secret")]
    pub(crate) mode: Option<RightsMode>,
    /// The namespaces that the operator serves, for --mode namespaced; can be given more than once
    #[arg(long, visible_alias = "namespace", value_name = "NAMESPACE", value_delimiter = ',',
          required_if_eq("mode", "namespaced"), value_parser = namespace_name)]
    pub(crate) namespaces: Vec<NamespaceName>,
    /// What ImagePullSecrets may use that are not among the manifests, for --mode cluster
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', requires = "mode")]
    pub(crate) allow: Vec<Feature>,
    /// Print admission policies for the service account instead of roles
    #[arg(long, requires = "service_account", conflicts_with_all = ["target_secret", "mode", "crd"])]
    pub(crate) policies: bool,
    /// Print the rights of `imps crd apply` instead
    #[arg(long, conflicts_with_all = ["filename", "target_secret", "mode"])]
    pub(crate) crd: bool,
    /// As given to the refresher: a Secret that it reads
    #[arg(long, value_name = "NAMESPACE.NAME", requires = "target_secret", conflicts_with = "filename",
          value_parser = secret)]
    pub(crate) source_secret: Vec<SecretRef>,
    /// As given to the refresher: the Secret that it writes
    #[arg(long, value_name = "NAMESPACE.NAME", requires = "source_secret", conflicts_with = "filename",
          value_parser = secret)]
    pub(crate) target_secret: Option<SecretRef>,
    /// As given to the operator by --config-namespace, when it elects a leader
    #[arg(long, value_name = "NAMESPACE", conflicts_with_all = ["target_secret", "policies", "crd"],
          value_parser = namespace_name)]
    pub(crate) lease_namespace: Option<NamespaceName>,
    /// As given to the operator by --leader-election-id
    #[arg(long, value_name = "NAME", requires = "lease_namespace", default_value = keys::LEASE)]
    pub(crate) lease_name: String,
    /// Name of the roles; imps-controller, imps-refresher or imps-crds when not given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Bind the roles to this service account
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) service_account: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RightsMode {
    /// To the names of the manifests, in every namespace
    Named,
    /// To the names of the manifests, in some namespaces
    Namespaced,
    /// To every Secret
    Cluster,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Feature {
    /// Select namespaces by their pods
    Pods,
    /// Attach Secrets to ServiceAccounts, of any name
    ServiceAccounts,
}

/// What a question about pull secrets is answered from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct EvidenceArgs {
    /// A manifest, a folder of manifests, or - for standard input, instead of the cluster; can be given more than once
    ///
    /// Pods, what makes pods, Events, Secrets, ServiceAccounts, Namespaces, Nodes and ImagePullSecrets are looked at.
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) filename: Vec<PathBuf>,
    /// Judge ends of tokens as of this time instead of now: for manifests of an earlier day, or what ends by tonight
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

impl EvidenceArgs {
    /// The time as of which it is judged.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.at.unwrap_or_else(jiff::Timestamp::now)
    }
}

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["target", "namespace", "all", "filename", "image", "event"]))]
pub(crate) struct DiagnoseArgs {
    /// A pod, or what makes pods: POD, pod/NAME, deploy/NAME, sts/NAME, ds/NAME, rs/NAME or job/NAME
    #[arg(value_name = "POD|KIND/NAME", value_parser = target, add = ArgValueCompleter::new(candidates::targets))]
    pub(crate) target: Option<Target>,
    /// Its namespace; alone, all pods there that wait for an image
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace_name,
          add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) namespace: Option<NamespaceName>,
    /// All pods of the cluster that wait for an image
    #[arg(short = 'A', long, conflicts_with_all = ["target", "namespace", "image"])]
    pub(crate) all: bool,
    /// An image, as if a pod in the namespace were made with it
    #[arg(long, value_name = "REF", requires = "namespace", conflicts_with = "target")]
    pub(crate) image: Option<String>,
    /// As whom that pod would run
    #[arg(long, value_name = "NAME", requires = "image", default_value = "default")]
    pub(crate) service_account: String,
    /// Explain only this message of a kubelet or container runtime; - reads it from standard input
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["target", "namespace", "all", "filename", "image"])]
    pub(crate) event: Option<String>,
    /// Ask the registry of each image, with the logins that the kubelet would try and in its order
    ///
    /// It is asked for the head of the manifest, which Docker Hub does not count as a pull, from this machine, whose
    /// network may differ from the node's. A login goes to the registry that its image names and to the token service
    /// that this names: encrypted, or on this machine, through no proxy and after no redirect.
    #[arg(long, conflicts_with = "event")]
    pub(crate) probe: bool,
    /// How many seconds to wait for each answer of a registry
    #[arg(long, value_name = "SECONDS", requires = "probe", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) probe_timeout: u64,
    /// For people, for people who want all of it, or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    /// Exit code 1 from which severity on
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    pub(crate) fail_level: FailLevel,
    #[command(flatten)]
    pub(crate) evidence: EvidenceArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ExplainArgs {
    /// A namespace; with -n, an image as if a pod in that namespace were made with it
    #[arg(value_name = "NAMESPACE|IMAGE", add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) what: String,
    /// The namespace of the pod that would pull the image
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace_name,
          add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) namespace: Option<NamespaceName>,
    /// As whom that pod would run
    #[arg(long, value_name = "NAME", requires = "namespace", default_value = "default")]
    pub(crate) service_account: String,
    /// For people or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) evidence: EvidenceArgs,
}

/// What an explanation is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Topic {
    /// A namespace.
    Namespace(String),
    /// An image in a namespace.
    Image { namespace: String, image: String },
}

impl ExplainArgs {
    /// What is asked for.
    pub(crate) fn topic(&self) -> Result<Topic, String> {
        let what = self.what.clone();
        match &self.namespace {
            Some(namespace) if is_image(&what) => {
                Ok(Topic::Image { namespace: namespace.to_string(), image: what })
            }
            Some(_) => Err("this is not the name of an image; with -n, an image is explained".to_owned()),
            None if is_dns_label(&what) => Ok(Topic::Namespace(what)),
            None if is_image(&what) => {
                Err("an image is explained for the namespace of a pod: add -n NAMESPACE".to_owned())
            }
            None => Err("this is neither the name of a namespace nor of an image".to_owned()),
        }
    }
}

/// Whether the kubelet would take this for the name of an image.
fn is_image(text: &str) -> bool {
    imps_core::kubelet::repository_of(text).is_ok()
}

#[derive(clap::Args, Debug)]
pub(crate) struct StatusArgs {
    /// One ImagePullSecret; all of them when not given
    #[arg(value_name = "NAME", value_parser = grant_name, add = ArgValueCandidates::new(candidates::grants))]
    pub(crate) name: Option<String>,
    /// Print it again when something changes, until interrupted
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// For people or for machines; with --watch, one line of JSON each time
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    /// Where the Lease of the operators is, as given to them by --config-namespace; looked for when not given
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub(crate) lease_namespace: Option<String>,
    /// Its name, as given to them by --leader-election-id
    #[arg(long, value_name = "NAME", default_value = keys::LEASE)]
    pub(crate) lease_name: String,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct TreeArgs {
    /// The ImagePullSecret
    #[arg(value_name = "NAME", value_parser = grant_name, add = ArgValueCandidates::new(candidates::grants))]
    pub(crate) name: String,
    /// Only this namespace
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace_name,
          add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) namespace: Option<NamespaceName>,
    /// How many namespaces are shown, and pods that wait in each
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Show all of them
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Draw with characters that every terminal has
    #[arg(long)]
    pub(crate) ascii: bool,
    /// For people, or all of it for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) evidence: EvidenceArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct ReportArgs {
    /// What to write
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: PageFormat,
    /// Where to: a file, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) to: PathBuf,
    /// What it is about, in your words: which cluster this is, for instance
    #[arg(long, value_name = "TEXT", default_value = "Pull secrets")]
    pub(crate) title: String,
    /// Only this namespace
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace_name,
          add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) namespace: Option<NamespaceName>,
    /// Exit code 1 from which severity on
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    pub(crate) fail_level: FailLevel,
    #[command(flatten)]
    pub(crate) evidence: EvidenceArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PageFormat {
    /// A page for browsers and paper, without scripts and without anything from elsewhere
    Html,
    /// Markdown, for tickets
    #[value(name = "md", alias = "markdown")]
    Markdown,
}

/// What a diagnosis is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// `Pod`, `Deployment` and so on.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailLevel {
    /// Causes
    Error,
    /// What may be a cause, too
    Warning,
    /// Anything worth knowing
    Info,
    /// Not at all
    Never,
}

#[derive(clap::Args, Debug)]
pub(crate) struct FindingsArgs {
    /// For people, for machines, or the page of the documentation
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: FindingsFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FindingsFormat {
    /// A table
    Table,
    /// JSON
    Json,
    /// Markdown
    Markdown,
}

#[derive(Subcommand, Debug)]
pub(crate) enum MigrateCommand {
    /// Print what takes the place of registry-creds: sources, ImagePullSecrets, and the steps in their order
    ///
    /// Both tools of that name are known: that of UPMC Enterprises, which is also an add-on of Minikube (a Deployment
    /// or ReplicationController with settings for ECR, GCR, ACR and a private registry), and that of Alex Ellis
    /// (objects of kind ClusterPullSecret). They are read from manifests or, without -f, from the cluster, and nothing
    /// is changed.
    ///
    /// The YAML begins with comments: what was found, the steps, what cannot be taken over in place, and what will be
    /// different. The Secrets that pods use keep their names, and imps takes them over with the UID that they have.
    ///
    /// Credentials are not printed. A source Secret that needs some is left out; the steps have the command that makes
    /// it out of what is in the cluster. With --with-credentials such Secrets are printed with all that is in them.
    #[command(after_help = "Examples:\n  imps migrate registry-creds > migration.yaml\n  \
        kustomize build registry-creds/ | imps migrate registry-creds -f - > migration.yaml\n  \
        imps migrate registry-creds -o json | jq .steps")]
    RegistryCreds(RegistryCredsArgs),
    /// Check an installation of banzaicloud/imps, and say what changes under this program
    ///
    /// Looks at its Deployments with their arguments, the definition of the custom resource, the ImagePullSecrets with
    /// their sources and targets, refreshers, and whatever else writes the same Secrets; from manifests or, without
    /// -f, from the cluster. Nothing is changed, no credential is printed, and no token is asked for.
    ///
    /// Exit code 0 says that nothing needs attention, 1 that something does, or that it could not be checked.
    #[command(after_help = "Examples:\n  imps migrate imps\n  imps migrate imps -o json | jq .attention\n  \
        kubectl get deploy,crd,imps,ns,pods,secrets -A -o yaml | imps migrate imps -f -")]
    Imps(MigrateImpsArgs),
}

#[derive(clap::Args, Debug)]
pub(crate) struct MigrateImpsArgs {
    /// A manifest, a folder of manifests, or - for standard input; can be given more than once. Without it, the
    /// cluster
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) filename: Vec<PathBuf>,
    /// Look for Deployments in this namespace only
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace,
          add = ArgValueCandidates::new(candidates::namespaces))]
    pub(crate) namespace: Option<String>,
    /// For people or for machines
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: OutputFormat,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct RegistryCredsArgs {
    /// A manifest, a folder of manifests, or - for standard input; can be given more than once. Without it, the
    /// cluster
    #[arg(short, long = "filename", value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) filename: Vec<PathBuf>,
    /// Where the Deployment or ReplicationController is looked for, and where manifests are that do not say so
    #[arg(short, long, value_name = "NAMESPACE", default_value = "kube-system", value_parser = namespace)]
    pub(crate) namespace: String,
    /// Print the source Secrets with the credentials in them
    #[arg(long)]
    pub(crate) with_credentials: bool,
    /// YAML with comments, or JSON: the objects in .list, the steps in .steps
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    pub(crate) output: ManifestFormat,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ManifestFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Reads the name of a namespace.
fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("not the name of a namespace".to_owned()) }
}

/// Reads the name of an `ImagePullSecret`.
fn grant_name(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err("not the name of an ImagePullSecret".to_owned())
    }
}

fn namespace_name(text: &str) -> Result<NamespaceName, String> {
    namespace(text).map(NamespaceName::new)
}

fn object_name(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err("not the name of an object".to_owned()) }
}

/// Reads seconds, or what has units.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let spelled = || text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    let duration = seconds.or_else(spelled).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "not a duration; write it like 90s, 5m or 1h30m".to_owned())
}

/// Reads `NAMESPACE/NAME` of a ServiceAccount.
fn account(text: &str) -> Result<(String, String), String> {
    let parts =
        text.split_once('/').filter(|(namespace, name)| is_dns_label(namespace) && is_dns_subdomain(name));
    let (namespace, name) = parts.ok_or("a ServiceAccount is given as namespace/name")?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Kinds that a diagnosis can be about, with the words that kubectl takes for them.
const TARGET_KINDS: [(&str, &[&str]); 6] = [
    ("Pod", &["pod", "pods", "po"]),
    ("Deployment", &["deployment", "deployments", "deploy"]),
    ("StatefulSet", &["statefulset", "statefulsets", "sts"]),
    ("DaemonSet", &["daemonset", "daemonsets", "ds"]),
    ("ReplicaSet", &["replicaset", "replicasets", "rs"]),
    ("Job", &["job", "jobs"]),
];

/// Reads `POD` or `KIND/NAME`.
fn target(text: &str) -> Result<Target, String> {
    let (word, name) = text.split_once('/').unwrap_or(("pod", text));
    // `deployments.apps` is as good.
    let word = word.split('.').next().unwrap_or_default().to_lowercase();
    let kind = TARGET_KINDS.iter().find(|(_, words)| words.contains(&word.as_str()));
    let kind =
        kind.ok_or("pods, deployments, statefulsets, daemonsets, replicasets and jobs can be diagnosed")?.0;
    if !is_dns_subdomain(name) {
        return Err(format!("{name:?} is not a name"));
    }
    Ok(Target { kind, name: name.to_owned() })
}

/// Reads `namespace.name`. The name may have dots of its own, the namespace may not.
fn secret(text: &str) -> Result<SecretRef, String> {
    const FORM: &str = "a Secret is given as namespace.name, for instance registry-access.dockerhub";
    let (namespace, name) = text.split_once('.').ok_or(FORM)?;
    if !is_dns_label(namespace) {
        return Err(format!("{namespace:?} is not the name of a namespace; {FORM}"));
    }
    if !is_dns_subdomain(name) {
        return Err(format!("{name:?} is not the name of a Secret; {FORM}"));
    }
    Ok(SecretRef::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: [&str; 2] = ["--target-secret", "shop.pull"];

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        Args::try_parse_from([&["imps"], arguments].concat()).map_err(|error| error.to_string())
    }

    fn refresher(arguments: &[&str]) -> Result<RefresherArgs, String> {
        match parse(&[&["refresher"], arguments].concat())?.command {
            Command::Refresher(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_refresher_is_told_its_secrets_as_the_original_s_was() {
        let args = refresher(&[
            "--source-secret=home.hub",
            "--source-secret",
            "home.a.b",
            "--target-secret=shop.pull",
            "--periodic-reconcile-interval=30",
            "--metrics-addr=:9090",
            "--log.level=debug",
            "--log.format=json",
        ])
        .unwrap();
        // The name of a Secret may have dots.
        let sources = [SecretRef::new("home", "hub"), SecretRef::new("home", "a.b")];
        assert_eq!(
            (&args.source_secret[..], &args.target_secret),
            (&sources[..], &SecretRef::new("shop", "pull"))
        );
        let operation = args.operation;
        assert_eq!((operation.periodic_reconcile_interval, operation.metrics_addr.as_str()), (30, ":9090"));
        let defaults = refresher(&[&["--source-secret=home.hub"], &TARGET[..]].concat()).unwrap().operation;
        assert_eq!((defaults.periodic_reconcile_interval, defaults.metrics_addr.as_str()), (300, ":8080"));
    }

    #[test]
    fn a_reference_that_is_none_is_refused_with_its_flag_its_value_and_the_form() {
        for bad in ["hub", "home/hub", "", ".hub", "home.", "Home.hub", "home.Hub", "home.a..b", "a_b.hub"] {
            let given = format!("--source-secret={bad}");
            let complaint = refresher(&[&[given.as_str()], &TARGET[..]].concat()).unwrap_err();
            let words = ["--source-secret <NAMESPACE.NAME>", &format!("'{bad}'"), "as namespace.name"];
            assert!(
                bad.is_empty() || words.iter().all(|word| complaint.contains(word)),
                "{bad}: {complaint}"
            );
        }
        let complaint = refresher(&["--source-secret=home.hub", "--target-secret=pull"]).unwrap_err();
        assert!(complaint.contains("'pull' for '--target-secret <NAMESPACE.NAME>'"), "{complaint}");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refresher(&TARGET).unwrap_err().contains("--source-secret <NAMESPACE.NAME>"));
        let complaint = refresher(&["--source-secret=home.hub"]).unwrap_err();
        assert!(complaint.contains("--target-secret <NAMESPACE.NAME>"), "{complaint}");
    }

    #[test]
    fn what_is_diagnosed_is_named_as_kubectl_names_it() {
        let target = |text: &str| -> Result<Target, String> {
            match parse(&["diagnose", text])?.command {
                Command::Diagnose(args) => Ok(args.target.unwrap()),
                other => panic!("{other:?}"),
            }
        };
        for (text, kind) in [
            ("web", "Pod"),
            ("pod/web", "Pod"),
            ("deploy/web", "Deployment"),
            ("deployments.apps/web", "Deployment"),
            ("sts/web", "StatefulSet"),
            ("job/web", "Job"),
        ] {
            assert_eq!(target(text), Ok(Target { kind, name: "web".to_owned() }), "{text}");
        }
        assert!(target("svc/web").unwrap_err().contains("can be diagnosed"));
        assert!(target("pod/Web_1").is_err());
        for bad in [&["diagnose"][..], &["diagnose", "--image=a"], &["diagnose", "web", "--all"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn all_of_them_is_not_meant_unless_it_is_said_twice() {
        for good in [
            &["suspend", "a", "b.c"][..],
            &["suspend", "-A", "--yes"],
            &["resume", "--all", "--dry-run"],
            &["resume", "a", "--dry-run"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}: {:?}", parse(good));
        }
        for bad in [
            &["suspend"][..],
            &["suspend", "--all"],
            &["suspend", "a", "--all", "--yes"],
            &["suspend", "a", "--yes"],
            &["suspend", "A_1"],
            &["suspend", "--dry-run"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refresh_is_for_names_or_for_all_and_waits_as_long_as_is_said() {
        let timeout = |arguments: &[&str]| match parse(&[&["refresh"], arguments].concat())?.command {
            Command::Refresh(args) => Ok::<_, String>(args.timeout.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(timeout(&["a", "b.c"]), Ok(120));
        assert_eq!(timeout(&["-A", "--wait"]), Ok(120));
        for (text, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400)] {
            assert_eq!(timeout(&["a", "--wait", "--timeout", text]), Ok(seconds), "{text}");
        }
        for bad in [
            &[][..],
            &["a", "--all"],
            &["A_1"],
            &["a", "--timeout=5m"],
            &["a", "--wait", "--timeout=-5s"],
            &["a", "--wait", "--timeout=0"],
            &["a", "--wait", "--timeout=soon"],
        ] {
            assert!(timeout(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_a_namespace_and_with_a_namespace_an_image() {
        let topic = |arguments: &[&str]| -> Result<Topic, String> {
            match parse(&[&["explain"], arguments].concat())?.command {
                Command::Explain(args) => args.topic(),
                other => panic!("{other:?}"),
            }
        };
        let image = |image: &str| Topic::Image { namespace: "yard".to_owned(), image: image.to_owned() };
        assert_eq!(topic(&["shop"]), Ok(Topic::Namespace("shop".to_owned())));
        assert_eq!(topic(&["shop", "-n", "yard"]), Ok(image("shop")));
        assert_eq!(topic(&["reg.example/app:1", "-n", "yard"]), Ok(image("reg.example/app:1")));
        for name in ["team/app", "app:1", "reg.example/app"] {
            assert!(topic(&[name]).unwrap_err().contains("add -n NAMESPACE"), "{name}");
        }
        assert!(topic(&["Shop"]).unwrap_err().contains("neither"));
        assert!(
            topic(&["https://reg.example/app", "-n", "yard"])
                .unwrap_err()
                .contains("not the name of an image")
        );
        assert!(topic(&["shop", "--service-account=builder"]).is_err());
        assert!(topic(&["shop", "-f", "a", "--context=b"]).is_err());
    }

    #[test]
    fn roles_are_printed_for_manifests_or_for_a_refresher_and_not_for_both() {
        assert!(parse(&["rbac", "-f", "a"]).is_ok());
        assert!(parse(&[&["rbac", "--source-secret=home.hub"], &TARGET[..]].concat()).is_ok());
        assert!(parse(&["rbac"]).is_err());
        assert!(parse(&["rbac", "--source-secret=home.hub"]).is_err());
        assert!(parse(&[&["rbac"], &TARGET[..]].concat()).is_err());
        assert!(parse(&[&["rbac", "-f", "a", "--source-secret=home.hub"], &TARGET[..]].concat()).is_err());
    }

    #[test]
    fn how_far_rights_reach_is_told_whole() {
        let rbac = |arguments: &[&str]| parse(&[&["rbac", "-f", "a"], arguments].concat());
        for good in [
            &["--mode=named"][..],
            &["--mode=namespaced", "--namespaces=shop,yard", "--namespace=bank"],
            &["--mode=cluster", "--allow=pods,service-accounts"],
            &["--policies", "--service-account=a/b"],
        ] {
            assert!(rbac(good).is_ok(), "{good:?}: {:?}", rbac(good));
        }
        for (bad, words) in [
            (&["--mode=namespaced"][..], "--namespaces <NAMESPACE>"),
            (&["--mode=namespaced", "--namespaces=Shop"], "not the name of a namespace"),
            (&["--allow=pods"], "--mode <MODE>"),
            (&["--policies"], "--service-account <NAMESPACE/NAME>"),
            (&["--crd"], "cannot be used with"),
        ] {
            let complaint = rbac(bad).unwrap_err();
            assert!(complaint.contains(words), "{bad:?}: {complaint}");
        }
        let Command::Controller(args) = parse(&["controller", "--namespaces=shop,yard"]).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(args.namespaces, ["shop".into(), "yard".into()]);
    }
}
