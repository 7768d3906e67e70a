//! `imps migrate imps`: an installation of banzaicloud/imps, and what changes when this program takes its place.
//!
//! Its flags: `banzaicloud/imps:cmd/controller/main.go`, `cmd/refresher/main.go`, `internal/log/config.go`; its images:
//! `.github/workflows/artifacts.yaml`; what it writes: `controllers/`. `CHANGELOG.md` tells of version 0.4.0, in which
//! the group and the type of sources had another name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clap::Parser;
use imps_api::{ImagePullSecret, keys};
use imps_cluster::remit::{Remit, Single};
use imps_cluster::snapshot::Kind;
use imps_cluster::view::TargetView;
use imps_core::name::SecretRef;
use serde::Serialize;
use serde_json::Value;

use super::super::manifests::{self, text};
use super::super::plan::page::{LeftOut, Page};
use super::super::{Error, plan};
use super::held::Held;
use super::words::{counted, shortened};
use super::workload::{Container, Objects, Workload};
use super::{alexellis, upmc};
use crate::args::{Args, Command, RefresherArgs};
use crate::program;

mod table;

pub(super) use table::render as table;

/// The custom resource as version 0.4.0 had it.
pub(super) const LATER_GRANT: Kind = Kind::of("images.cisco.com", keys::VERSION, keys::KIND, keys::PLURAL);
/// The type of its sources for ECR.
const LATER_ECR_TYPE: &str = "cisco.com/aws-ecr-login-config";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
/// Names of the images; those of the refresher have the first one at their beginning.
const IMAGE: &str = "imagepullsecrets";
const REFRESHER_IMAGE: &str = "imagepullsecrets-refresher";
/// The manager of what a Go program called `manager` writes, as both of its programs are called (`Dockerfile`).
const MANAGERS: [&str; 2] = ["manager", keys::FIELD_MANAGER];

/// The whole answer; the JSON output is just this.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// What of the original was found.
    pub(super) found: Vec<String>,
    /// What needs attention.
    pub(super) attention: Vec<Finding>,
    /// What will be different and needs nothing.
    pub(super) changes: Vec<Finding>,
    /// What will be as it was.
    pub(super) same: Vec<Finding>,
    /// What could not be looked at.
    pub(super) unseen: Vec<String>,
}

/// Something about an object.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// The object.
    pub(super) object: String,
    /// What about it.
    pub(super) what: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) to_do: String,
}

/// What else has to be read.
#[derive(Default)]
pub(super) struct Needs {
    /// Secrets.
    pub(super) secrets: BTreeSet<SecretRef>,
    /// Secrets of these names, in all namespaces.
    pub(super) targets: BTreeSet<String>,
    /// Pods.
    pub(super) pods: bool,
}

impl Report {
    /// Whether nothing needs attention.
    pub(super) fn is_clean(&self) -> bool {
        self.attention.is_empty() && self.unseen.is_empty()
    }

    fn attention(&mut self, object: impl Into<String>, what: impl Into<String>, to_do: impl Into<String>) {
        self.attention.push(Finding { object: object.into(), what: what.into(), to_do: to_do.into() });
    }

    fn change(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.changes.push(Finding { object: object.into(), what: what.into(), to_do: String::new() });
    }

    fn same(&mut self, object: impl Into<String>, what: impl Into<String>) {
        self.same.push(Finding { object: object.into(), what: what.into(), to_do: String::new() });
    }
}

/// What has to be read beside these objects to judge them.
pub(super) fn needs(objects: Objects<'_>) -> Needs {
    let mut needs = Needs::default();
    for group in [keys::GROUP, LATER_GRANT.group] {
        for object in objects.of(group, keys::KIND) {
            let named = |value: &Value| {
                let (namespace, name) = (text(value, "/namespace"), text(value, "/name"));
                (!namespace.is_empty() && !name.is_empty()).then(|| SecretRef::new(namespace, name))
            };
            let listed = object["spec"]["registry"]["credentials"].as_array();
            needs.secrets.extend(listed.into_iter().flatten().filter_map(named));
            let target = text(object, "/spec/target/secret/name");
            needs.targets.extend((!target.is_empty()).then(|| target.to_owned()));
            needs.pods |= object["spec"]["target"]["namespacesWithPods"].is_object();
        }
    }
    for container in objects.workloads().flat_map(Workload::containers).filter(|c| is_refresher(*c)) {
        if let Ok(Command::Refresher(args)) = understood("refresher", container) {
            needs.secrets.extend(args.source_secret);
            needs.secrets.insert(args.target_secret);
        }
    }
    needs
}

/// Judges an installation.
pub(super) fn report(objects: Objects<'_>) -> Result<Report, Error> {
    let mut report = Report::default();
    let containers: Vec<Container<'_>> = objects.workloads().flat_map(Workload::containers).collect();
    for container in containers.iter().copied() {
        if is_refresher(container) {
            refresher(objects, container, &mut report);
        } else if is_controller(container) {
            controller(objects, container, &mut report);
        }
    }
    definitions(objects, &mut report);
    let readable = grants(objects, &mut report);
    later_grants(objects, &mut report);
    if report.found.is_empty() {
        return Err(format!(
            "nothing of banzaicloud/imps: no Deployment with an image {IMAGE} or {REFRESHER_IMAGE}, and no \
             ImagePullSecret"
        )
        .into());
    }
    if readable.iter().any(|object| manifests::kind(object) == (keys::GROUP, keys::KIND)) {
        judge(objects, &plan::page(&readable)?, &mut report);
    }
    competitors(objects, &containers, &mut report);
    Ok(report)
}

// === programs ===

fn is_refresher(container: Container<'_>) -> bool {
    let named = container.image_name().starts_with(REFRESHER_IMAGE);
    named
        || is_controller(container)
            && container.words().iter().any(|word| word.starts_with("--target-secret"))
}

fn is_controller(container: Container<'_>) -> bool {
    let name = container.image_name();
    name == IMAGE || name.starts_with("imagepullsecrets-") && !name.starts_with(REFRESHER_IMAGE)
}

/// The arguments as this program reads them.
fn understood(subcommand: &str, container: Container<'_>) -> Result<Command, String> {
    let words = ["imps", subcommand].into_iter().chain(container.words());
    match Args::try_parse_from(words) {
        Ok(args) => Ok(args.command),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(first.strip_prefix("error: ").unwrap_or(first).to_owned())
        }
    }
}

/// What a container of either program means for whoever replaces its image.
fn program_of(container: Container<'_>, subcommand: &str, report: &mut Report) -> Option<Command> {
    let title = container.workload().title();
    let program = container.program();
    if !program.is_empty() && program::subcommand(program).is_none() {
        report.attention(
            &title,
            format!("it starts the program {program}, which is not in the image of imps"),
            "take command out of the manifest, or name imps there, and the subcommand first in args",
        );
    }
    report.change(&title, format!("its image {} gives way to that of imps", container.image()));
    match understood(subcommand, container) {
        Ok(command) => {
            report.same(&title, "its arguments are accepted as they are");
            Some(command)
        }
        Err(problem) => {
            report.attention(
                &title,
                format!("imps {subcommand} does not start with its arguments: {problem}"),
                format!("compare them with imps {subcommand} --help"),
            );
            None
        }
    }
}

fn controller(objects: Objects<'_>, container: Container<'_>, report: &mut Report) {
    let workload = container.workload();
    let title = workload.title();
    report.found.push(format!("{title}, the controller of banzaicloud/imps, image {}", container.image()));
    if let Some(Command::Controller(args)) = program_of(container, "controller", report) {
        report.change(
            &title,
            format!(
                "--periodic-reconcile-interval={}: changes are seen at once whatever it says, and what is looked at \
                 again then writes nothing when nothing is amiss",
                args.operation.periodic_reconcile_interval
            ),
        );
    }
    if workload.replicas() > 1 {
        report.attention(
            &title,
            format!("it has {} replicas, and imps does not elect a leader yet", workload.replicas()),
            "set spec.replicas to 1",
        );
    }
    if container.settings(objects).variable("LOG_LEVEL").is_some_and(Held::is_set) {
        report.same(&title, "LOG_LEVEL is read");
    }
    report.change(
        &title,
        "it no longer needs rights on all Secrets: imps rbac prints roles that name those it touches",
    );
}

fn refresher(objects: Objects<'_>, container: Container<'_>, report: &mut Report) {
    let workload = container.workload();
    let title = workload.title();
    report.found.push(format!("{title}, a refresher of banzaicloud/imps, image {}", container.image()));
    let Some(Command::Refresher(args)) = program_of(container, "refresher", report) else { return };
    let RefresherArgs { source_secret, target_secret, .. } = args;
    let single = match Single::new(&source_secret, target_secret.clone()) {
        Ok(single) => single,
        Err(problem) => {
            return report.attention(&title, problem.to_string(), "give it another --target-secret");
        }
    };
    for at in &source_secret {
        if let Err(problem) = source_type(objects, at) {
            report.attention(
                format!("Secret {at}"),
                format!("a source of {title} that {}", problem.0),
                problem.1,
            );
        }
    }
    let manifest = objects.of("", "Secret").find(|object| objects.place(object) == target_secret);
    if let Some(view) = manifest.and_then(manifests::secret::<TargetView>) {
        let seen = view.sighting(&Remit::Single(Arc::new(single)));
        if !seen.owners.is_empty() && seen.secret_type == DOCKER_CONFIG {
            report.same(format!("Secret {target_secret}"), "it is taken over in place, with its UID");
        } else {
            report.attention(
                format!("Secret {target_secret}"),
                format!(
                    "the target of {title}, which the original did not make, or which has an owner: it is left alone"
                ),
                "rename or delete it, or use another --target-secret",
            );
        }
    }
    let account = match workload.pod_text("serviceAccountName") {
        "" => "default",
        account => account,
    };
    let sources: Vec<String> =
        source_secret.iter().map(|at| format!("--source-secret={}.{}", at.namespace, at.name)).collect();
    report.change(
        &title,
        format!(
            "it needs Roles for its Secrets and nothing else: imps rbac {} --target-secret={}.{} \
             --service-account={}/{account}",
            sources.join(" "),
            target_secret.namespace,
            target_secret.name,
            workload.namespace()
        ),
    );
}

/// What is wrong with the type of a source, and what to do.
fn source_type(objects: Objects<'_>, at: &SecretRef) -> Result<(), (String, &'static str)> {
    let Some(document) = objects.secret(at) else {
        return if objects.complete { Err(("does not exist".to_owned(), "make it")) } else { Ok(()) };
    };
    match document.secret_type.as_str() {
        LATER_ECR_TYPE => Err((
            format!("is of type {LATER_ECR_TYPE}, as in version 0.4.0, which imps does not read"),
            "make a Secret of type banzaicloud.io/aws-ecr-login-config with the same keys; the type of one that is \
             there cannot be changed",
        )),
        _ => Ok(()),
    }
}

// === objects ===

fn definitions(objects: Objects<'_>, report: &mut Report) {
    for object in objects.of(Kind::DEFINITION.group, Kind::DEFINITION.kind) {
        let (name, group) = (text(object, "/metadata/name"), text(object, "/spec/group"));
        if group != keys::GROUP || text(object, "/spec/names/kind") != keys::KIND {
            continue;
        }
        let title = format!("CustomResourceDefinition {name}");
        let versions = object["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = versions.iter().map(|version| text(version, "/name")).collect();
        if names != [keys::VERSION] {
            report.attention(
                &title,
                format!("it has the versions {}, and imps knows {}", names.join(", "), keys::VERSION),
                "see that all objects are stored in that version before imps crd is applied",
            );
        }
        report.change(
            &title,
            "imps crd adds optional fields to it; never delete it, as all ImagePullSecrets and their Secrets would go",
        );
    }
}

/// The objects that a plan can be made of: those that do not fit the schema are told, and left out.
fn grants(objects: Objects<'_>, report: &mut Report) -> Vec<Value> {
    let mut readable = Vec::new();
    let mut count = 0;
    for object in objects.all {
        if manifests::kind(object) == (keys::GROUP, keys::KIND) {
            let name = text(object, "/metadata/name");
            report.found.push(format!("ImagePullSecret {name}"));
            if serde_json::from_value::<ImagePullSecret>(object.clone()).is_err() {
                report.attention(
                    format!("ImagePullSecret {name}"),
                    "it does not fit the schema of the custom resource",
                    "compare it with kubectl explain imps.spec",
                );
                continue;
            }
            count += 1;
        }
        readable.push(object.clone());
    }
    if count > 0 {
        let what =
            "spec.registry.credentials, spec.target.secret, namespaces and namespacesWithPods mean the same";
        report.same(counted(count, "ImagePullSecret", "ImagePullSecrets"), what);
    }
    readable
}

fn later_grants(objects: Objects<'_>, report: &mut Report) {
    for object in objects.of(LATER_GRANT.group, keys::KIND) {
        let name = text(object, "/metadata/name");
        let title = format!("ImagePullSecret {name}");
        report.found.push(format!("{title} of the group {}", LATER_GRANT.group));
        report.attention(
            format!("{title} ({})", LATER_GRANT.group),
            "it is of the group that version 0.4.0 had, which imps does not read",
            format!(
                "make one of {}/{} with the same spec and spec.target.secret.adopt: true, stop the old controller, and \
                 delete this one when the other is ready",
                keys::GROUP,
                keys::VERSION
            ),
        );
    }
}

/// What a plan says.
fn judge(objects: Objects<'_>, page: &Page, report: &mut Report) {
    for remark in &page.rejected {
        report.attention(
            format!("ImagePullSecret {}", remark.grant),
            format!("it would be rejected: {}", remark.text),
            "correct it; until then its Secrets stay as they are and are not renewed",
        );
    }
    for remark in &page.remarks {
        report.change(format!("ImagePullSecret {}", remark.grant), &remark.text);
    }
    sources(objects, page, report);
    targets(objects, page, report);
    opted_out(objects, page, report);
    let mut removed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for removal in &page.removals {
        removed
            .entry(&removal.because)
            .or_default()
            .push(format!("{}/{}", removal.namespace, removal.secret));
    }
    for (because, names) in removed {
        report.change(shortened(&names), format!("deleted, as the original would: {because}"));
    }
}

fn sources(objects: Objects<'_>, page: &Page, report: &mut Report) {
    let mut told = BTreeSet::new();
    for source in &page.sources {
        let title = format!("Secret {}", source.source);
        if let Some(reason) = source.reason
            && told.insert(&source.source)
        {
            let at = source.source.split_once('/').map(|(namespace, name)| SecretRef::new(namespace, name));
            match at.map(|at| source_type(objects, &at)) {
                Some(Err((what, to_do))) => {
                    report.attention(title.clone(), format!("a source that {what}"), to_do);
                }
                // In files a source is often left out on purpose.
                _ if reason == "SourceMissing" && !objects.complete => {
                    report.attention(
                        title.clone(),
                        "a source that is not among the manifests, and so not checked",
                        "add it, or check the cluster itself",
                    );
                }
                _ => report.attention(
                    title.clone(),
                    format!("a source that would fail: {reason}"),
                    source.message.clone(),
                ),
            }
        }
        if !source.overridden.is_empty() {
            report.change(
                title,
                format!(
                    "an earlier source of {} has a login for {} too and always wins; the original took either",
                    source.image_pull_secret,
                    source.overridden.join(", ")
                ),
            );
        }
    }
}

fn targets(objects: Objects<'_>, page: &Page, report: &mut Report) {
    let standing: BTreeMap<SecretRef, &Value> =
        objects.of("", "Secret").map(|object| (objects.place(object), object)).collect();
    let mut kept = 0;
    let mut with_copy = 0;
    let mut new = Vec::new();
    let mut troubled: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    let mut shared: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for target in &page.targets {
        let at = SecretRef::new(target.namespace.as_str(), target.secret.as_str());
        if let Some(reason) = target.reason {
            // One of the messages stands for all of a kind: they differ in the names of namespaces.
            let (_, names) = troubled.entry(reason).or_insert((&target.message, Vec::new()));
            names.push(at.to_string());
            continue;
        }
        let Some(object) = standing.get(&at) else {
            new.push(at.to_string());
            continue;
        };
        kept += 1;
        let annotations = &object["metadata"]["annotations"];
        with_copy += usize::from(!annotations[keys::LEGACY_COPY_ANNOTATION].is_null());
        for manager in other_writers(object) {
            *shared.entry((manager, &target.secret)).or_insert(0) += 1;
        }
    }
    if kept > 0 {
        report.same(
            counted(kept, "target Secret", "target Secrets"),
            "taken over in place: UID, name, owner and label stay, so pods and kubelets see no change",
        );
    }
    if with_copy > 0 {
        report.change(
            counted(with_copy, "target Secret", "target Secrets"),
            format!(
                "the annotation {} goes: it holds a copy of the credentials",
                keys::LEGACY_COPY_ANNOTATION
            ),
        );
    }
    // In files a target that is not there says nothing.
    if !new.is_empty() && objects.complete {
        report.change(shortened(&new), "a new Secret: the original has not written it");
    }
    for (reason, (message, names)) in troubled {
        report.attention(
            format!("Secret {}", shortened(&names)),
            format!("{reason}: {message}"),
            "see to it first, or it stays as it is and is reported",
        );
    }
    for ((manager, secret), count) in shared {
        report.attention(
            format!("Secret {secret} in {}", counted(count, "namespace", "namespaces")),
            format!("somebody else has written its credentials too, as the field manager {manager}"),
            "find and stop that writer; imps would write over it, and report TargetContended if it goes on",
        );
    }
}

/// Namespaces that the original fills and that say, in the words of another tool, that they want nothing.
fn opted_out(objects: Objects<'_>, page: &Page, report: &mut Report) {
    for namespace in objects.of("", "Namespace") {
        let annotations = &namespace["metadata"]["annotations"];
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(annotations.clone()).unwrap_or_default();
        let Some(opt_out) = keys::OPT_OUTS.iter().find(|opt_out| opt_out.is_set(&annotations)) else {
            continue;
        };
        let name = text(namespace, "/metadata/name");
        // One that nothing selects says nothing new.
        let told = |left: &&LeftOut| left.namespace == name && left.because.contains(opt_out.key);
        let lost: Vec<String> =
            page.left_out.iter().filter(told).filter_map(|left| left.image_pull_secret.clone()).collect();
        if !lost.is_empty() {
            report.attention(
                format!("Namespace {name}"),
                format!(
                    "its annotation {} (of {}) counts under imps: it loses the Secrets of {}",
                    opt_out.key,
                    opt_out.by,
                    shortened(&lost)
                ),
                "take the annotation off if the namespace is to keep them",
            );
        }
    }
}

/// Who else has written the credentials of a Secret.
fn other_writers(object: &Value) -> BTreeSet<String> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let wrote = |entry: &&Value| !entry["fieldsV1"]["f:data"].is_null();
    let managers = entries.filter(wrote).map(|entry| text(entry, "/manager").to_owned());
    managers.filter(|manager| !MANAGERS.contains(&manager.as_str())).collect()
}

/// Other tools that write Secrets of the same names.
fn competitors(objects: Objects<'_>, containers: &[Container<'_>], report: &mut Report) {
    let targets: BTreeSet<&str> = objects
        .of(keys::GROUP, keys::KIND)
        .map(|object| text(object, "/spec/target/secret/name"))
        .filter(|name| !name.is_empty())
        .collect();
    let mut clash = |title: &str, tool: &str, name: &str| {
        if targets.contains(name) {
            report.attention(
                title,
                format!("{tool} writes Secrets named {name}, as an ImagePullSecret here does"),
                "stop it, or give one of them another name",
            );
        }
    };
    for container in containers.iter().copied() {
        let title = container.workload().title();
        if upmc::is_it(container) {
            for name in upmc::secret_names(container, objects) {
                clash(&title, "registry-creds", &name);
            }
        } else if container.image_name() == "imagepullsecret-patcher" {
            clash(&title, "imagepullsecret-patcher", &patched(container, objects));
        }
    }
    for object in objects.of(alexellis::SEEDED.group, alexellis::SEEDED.kind) {
        let name = text(object, "/metadata/name");
        for secret in alexellis::secret_names(name) {
            clash(&format!("ClusterPullSecret {name}"), "registry-creds", &secret);
        }
    }
}

/// The name of the Secrets of imagepullsecret-patcher
/// (titansoft-pte-ltd/imagepullsecret-patcher:main.go, tamcore/imagepullsecret-patcher:internal/config/config.go).
fn patched(container: Container<'_>, objects: Objects<'_>) -> String {
    let settings = container.settings(objects);
    let given = settings.flag("secretname").or_else(|| settings.variable("CONFIG_SECRETNAME"));
    let default = if container.repository().contains("tamcore") {
        "global-imagepullsecret"
    } else {
        "image-pull-secret"
    };
    given.and_then(Held::plain).filter(|name| !name.is_empty()).unwrap_or(default).to_owned()
}
