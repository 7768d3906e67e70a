//! `imps rbac`: the roles that a set of ImagePullSecrets needs, or a refresher.

use std::process::ExitCode;

use imps_api::{ImagePullSecret, keys, lower};
use imps_cluster::remit::Single;
use imps_cluster::rules::{Needs, roles, single_roles};
use imps_cluster::view::SourceView;
use imps_core::exchange::Keyless;
use imps_core::source::{Document, Offer};
use serde_json::{Value, json};

use super::{Error, manifests};
use crate::args::RbacArgs;
use crate::runtime::output;

pub(super) fn run(args: &RbacArgs) -> Result<ExitCode, Error> {
    let account = match &args.service_account {
        None => None,
        Some(text) => Some(text.split_once('/').ok_or("--service-account wants NAMESPACE/NAME")?),
    };
    let (name, cluster_role, roles) = match &args.target_secret {
        Some(target) => {
            let name = args.name.as_deref().unwrap_or("imps-refresher");
            (name, None, single_roles(name, &Single::new(&args.source_secret, target.clone())?))
        }
        None => {
            let name = args.name.as_deref().unwrap_or("imps-controller");
            let lease = args.lease_namespace.as_deref().map(|place| (place.into(), args.lease_name.clone()));
            let needs = Needs { lease, ..needs(&manifests::read(&args.filename)?)? };
            let (cluster_role, roles) = roles(name, &needs);
            (name, Some(cluster_role), roles)
        }
    };
    let mut documents = Vec::new();
    if let Some(role) = &cluster_role {
        documents.push(as_document("ClusterRole", role)?);
    }
    for role in &roles {
        documents.push(as_document("Role", role)?);
    }
    if let Some((namespace, account)) = account {
        if cluster_role.is_some() {
            documents.push(binding("ClusterRole", name, None, namespace, account));
        }
        let places = roles.iter().filter_map(|role| role.metadata.namespace.as_deref());
        documents.extend(places.map(|place| binding("Role", name, Some(place), namespace, account)));
    }
    for document in documents {
        output::print(&format!("---\n{}", serde_saphyr::to_string(&document)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn needs(objects: &[Value]) -> Result<Needs, Error> {
    let mut needs = Needs::default();
    let mut seen = false;
    for object in objects.iter().filter(|object| manifests::kind(object) == (keys::GROUP, keys::KIND)) {
        seen = true;
        let object: ImagePullSecret = serde_json::from_value(object.clone())?;
        let name = object.metadata.name.clone().unwrap_or_default();
        match lower::lower(&object).grant {
            Ok(grant) => {
                needs.targets.insert(grant.template.name);
                needs.sources.extend(grant.sources);
                needs.pods |= !grant.recipients.pods.is_empty();
                needs.accounts.extend(grant.accounts);
            }
            Err(rejections) => {
                let texts: Vec<String> = rejections.iter().map(ToString::to_string).collect();
                return Err(format!("ImagePullSecret {name}: {}", texts.join("; ")).into());
            }
        }
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
    if seen { Ok(needs) } else { Err("no ImagePullSecret among the manifests".into()) }
}

fn as_document(kind: &str, role: &impl serde::Serialize) -> Result<Value, Error> {
    let mut document = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind});
    if let (Value::Object(document), Value::Object(role)) = (&mut document, serde_json::to_value(role)?) {
        document.extend(role);
    }
    Ok(document)
}

fn binding(kind: &str, role: &str, place: Option<&str>, namespace: &str, account: &str) -> Value {
    let mut metadata = json!({"name": role});
    if let Some(place) = place {
        metadata["namespace"] = json!(place);
    }
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": account}],
    })
}
