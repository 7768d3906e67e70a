//! `imps rbac`: the roles that a set of ImagePullSecrets needs, or a refresher; and policies that hold imps to them.

use std::collections::BTreeSet;
use std::process::ExitCode;

use imps_api::{ImagePullSecret, keys, lower};
use imps_cluster::policy::{self, Bound};
use imps_cluster::remit::Single;
use imps_cluster::rules::{Charter, Mode, Needs, Right};
use imps_cluster::view::SourceView;
use imps_core::exchange::Keyless;
use imps_core::grant::Grant;
use imps_core::name::SecretName;
use imps_core::selector::NamePattern;
use imps_core::source::{Document, Offer};
use serde_json::{Value, json};

use super::{Error, manifests};
use crate::args::{Feature, RbacArgs, RightsMode};
use crate::runtime::output;

/// How wide comments are.
const COMMENT_WIDTH: usize = 100;
/// What is said on top of roles for every Secret.
const DANGER: &str = "Every Secret of the cluster can be read, written and deleted with these rights, those of \
                      kube-system included. Prefer --mode named where the names of the targets are known; admission \
                      policies (--policies) keep imps at least from writing what is not its own.";

/// Namespace and name of a ServiceAccount.
type Account<'a> = (&'a str, &'a str);

pub(super) fn run(args: &RbacArgs) -> Result<ExitCode, Error> {
    let account = match &args.service_account {
        None => None,
        Some(text) => Some(text.split_once('/').ok_or("--service-account wants NAMESPACE/NAME")?),
    };
    let name = |usual| args.name.as_deref().unwrap_or(usual);
    let text = if let Some(target) = &args.target_secret {
        let single = Single::new(&args.source_secret, target.clone())?;
        render(name("imps-refresher"), &Charter::of_single(&single), account)?
    } else if args.crd {
        render(name("imps-crds"), &Charter::of_installer(), account)?
    } else if args.policies {
        let account = account.ok_or("--policies wants --service-account")?;
        let adoptable = adoptable(&manifests::read(&args.filename)?)?;
        let bound = Bound { name: name("imps-controller"), account, adoptable: &adoptable };
        policy::documents(&bound).iter().map(|document| format!("---\n{document}")).collect()
    } else {
        let needs = needs(args)?;
        let danger = if needs.mode == Mode::Cluster { comment(DANGER) } else { String::new() };
        danger + &render(name("imps-controller"), &Charter::of(&needs), account)?
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What the arguments and the manifests that they name ask for.
fn needs(args: &RbacArgs) -> Result<Needs, Error> {
    let mode = match args.mode.unwrap_or(RightsMode::Named) {
        RightsMode::Named => Mode::Named,
        RightsMode::Namespaced => Mode::Namespaced(args.namespaces.iter().cloned().collect()),
        RightsMode::Cluster => Mode::Cluster,
    };
    if mode != Mode::Cluster && args.filename.is_empty() {
        return Err(
            "-f names the manifests with the ImagePullSecrets; only --mode cluster does without".into()
        );
    }
    if mode != Mode::Cluster && !args.allow.is_empty() {
        return Err("--allow goes with --mode cluster; otherwise the manifests tell what is used".into());
    }
    if !matches!(mode, Mode::Namespaced(_)) && !args.namespaces.is_empty() {
        return Err("--namespaces goes with --mode namespaced".into());
    }
    let lease = args.lease_namespace.clone().map(|namespace| (namespace, args.lease_name.clone()));
    let pods = args.allow.contains(&Feature::Pods);
    let mut needs = Needs { mode, pods, lease, ..Needs::default() };
    if args.allow.contains(&Feature::ServiceAccounts) {
        needs.accounts.insert(NamePattern::new("*"));
    }
    let objects = manifests::read(&args.filename)?;
    if !objects.is_empty() || needs.mode != Mode::Cluster {
        learn(&mut needs, &objects)?;
    }
    Ok(needs)
}

/// Adds what manifests need.
fn learn(needs: &mut Needs, objects: &[Value]) -> Result<(), Error> {
    for grant in grants(objects)? {
        needs.targets.insert(grant.template.name);
        needs.sources.extend(grant.sources);
        needs.pods |= !grant.recipients.pods.is_empty();
        needs.accounts.extend(grant.accounts);
    }
    for object in objects.iter().filter(|object| manifests::kind(object) == ("", "Secret")) {
        let at = manifests::place(object);
        let document = manifests::secret::<SourceView>(object).map(Document::from);
        let offer =
            document.filter(|_| needs.sources.contains(&at)).and_then(|d| imps_registry::read(&at, &d));
        // What is wrong with a Secret is for `imps plan` to say.
        let Some(Ok(Offer::Exchange(order))) = offer else { continue };
        if let Some(Keyless::ServiceAccount(account)) = order.keyless {
            needs.service_accounts.insert((at.namespace, account));
        }
    }
    Ok(())
}

/// The names of targets whose ImagePullSecret takes over what others made.
fn adoptable(objects: &[Value]) -> Result<BTreeSet<SecretName>, Error> {
    if objects.is_empty() {
        return Ok(BTreeSet::new());
    }
    let adopting = grants(objects)?.into_iter().filter(|grant| grant.template.adopt);
    Ok(adopting.map(|grant| grant.template.name).collect())
}

/// The ImagePullSecrets among manifests.
fn grants(objects: &[Value]) -> Result<Vec<Grant>, Error> {
    let mut grants = Vec::new();
    for object in objects.iter().filter(|object| manifests::kind(object) == (keys::GROUP, keys::KIND)) {
        let object: ImagePullSecret = serde_json::from_value(object.clone())?;
        let name = object.metadata.name.clone().unwrap_or_default();
        match lower::lower(&object).grant {
            Ok(grant) => grants.push(grant),
            Err(rejections) => {
                let texts: Vec<String> = rejections.iter().map(ToString::to_string).collect();
                return Err(format!("ImagePullSecret {name}: {}", texts.join("; ")).into());
            }
        }
    }
    if grants.is_empty() { Err("no ImagePullSecret among the manifests".into()) } else { Ok(grants) }
}

/// The roles of a charter and their bindings, as YAML.
fn render(name: &str, charter: &Charter, account: Option<Account<'_>>) -> Result<String, Error> {
    let mut text = String::new();
    let places = charter.namespaces.keys().map(|namespace| Some(namespace.as_str()));
    let places: Vec<Option<&str>> =
        (!charter.cluster.is_empty()).then_some(None).into_iter().chain(places).collect();
    for place in &places {
        let rights = place.map_or(&charter.cluster, |namespace| &charter.namespaces[namespace]);
        text.push_str(&role(name, *place, rights)?);
    }
    for place in places.iter().filter(|_| account.is_some()) {
        text.push_str(&binding(name, *place, account.unwrap_or_default())?);
    }
    Ok(text)
}

fn role(name: &str, place: Option<&str>, rights: &[Right]) -> Result<String, Error> {
    let head = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind(place), "metadata": metadata(name, place),
    });
    let mut text = format!("---\n{}rules:\n", serde_saphyr::to_string(&head)?);
    for right in rights {
        text.push_str(&comment(&format!("to {}", right.why)));
        text.push_str(&serde_saphyr::to_string(&[&right.policy])?);
    }
    Ok(text)
}

fn binding(name: &str, place: Option<&str>, (namespace, account): Account<'_>) -> Result<String, Error> {
    let kind = kind(place);
    let document = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": metadata(name, place),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
    });
    Ok(format!("---\n{}", serde_saphyr::to_string(&document)?))
}

fn kind(place: Option<&str>) -> &'static str {
    if place.is_none() { "ClusterRole" } else { "Role" }
}

fn metadata(name: &str, place: Option<&str>) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(place) = place {
        metadata["namespace"] = json!(place);
    }
    metadata
}

/// A comment, broken between words.
fn comment(words: &str) -> String {
    let mut text = String::new();
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.len() + word.len() >= COMMENT_WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text + &line + "\n"
}
