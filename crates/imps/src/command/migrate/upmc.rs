//! registry-creds of UPMC Enterprises, the add-on of Minikube included: its settings become sources and
//! `ImagePullSecret`s.
//!
//! Names, defaults and behaviour are those of `upmc-enterprises/registry-creds:main.go`; `k8s/deployment.yaml` and
//! `k8s/secret.yaml` there, `charts/registry-creds` and kubernetes/minikube:deploy/addons/registry-creds say how people
//! set it up.

use imps_api::keys;
use imps_core::name::{SecretRef, is_dns_label, is_dns_subdomain};
use imps_core::registry::RegistryKey;

use super::super::manifests::text;
use super::departure::{Content, Departure, Duty, Field, Phase, Source};
use super::held::Held;
use super::words::{counted, shortened};
use super::workload::{Container, Objects, Settings, Workload};

/// Variables that nothing else has (`main.go` validateParams).
const MARKS: [&str; 3] = ["awsaccount", "DOCKER_PRIVATE_REGISTRY_SERVER", "gcrurl"];
/// The name of its image (`Makefile`), wherever it was copied to.
const IMAGE: &str = "registry-creds";
/// `--aws-region` unless given.
const REGION: &str = "us-east-1";
/// `--gcr-url` unless given.
const GCR: &str = "https://gcr.io";
/// Where the library of Google looks for a login, below the home folder.
const GCLOUD: &str = ".config/gcloud";
const GCLOUD_FILE: &str = "application_default_credentials.json";
/// Its type of Secret for a login of Google Container Registry (`main.go` generateSecretObj), which never changes:
/// Kubernetes keeps the type of a Secret as it is.
const OLD_DOCKER_CONFIG: &str = "kubernetes.io/dockercfg";
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
/// Type of the sources for ECR, as the original had it.
const ECR_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";
/// An annotation that an article tells users to put on namespaces and that no version of the tool reads.
const FABLED_OPT_OUT: &str = "registry-creds/ignore";

/// One of its four kinds of registry.
struct Provider {
    /// For people.
    title: &'static str,
    /// The flag that names its Secrets.
    flag: &'static str,
    /// Their name unless given.
    secret: &'static str,
}

const ECR: Provider = Provider { title: "Amazon ECR", flag: "aws-secret-name", secret: "awsecr-cred" };
const GCR_SECRET: Provider =
    Provider { title: "Google Container Registry", flag: "gcr-secret-name", secret: "gcr-secret" };
const PRIVATE: Provider =
    Provider { title: "a private registry", flag: "dpr-secret-name", secret: "dpr-secret" };
const AZURE: Provider =
    Provider { title: "Azure Container Registry", flag: "acr-secret-name", secret: "acr-secret" };

/// In no version of the tool: an article that many follow has these variables, and Secrets of that name.
const HUB: Provider = Provider { title: "Docker Hub", flag: "", secret: "dockerhub-secret" };
const HUB_USER: &str = "DOCKER_USER";
const HUB_PASSWORD: &str = "DOCKER_PASSWORD";
/// Likewise.
const FABLED_GCR: &str = "GCR_URL";
const FABLED_GCR_KEY: &str = "GCR_APPLICATION_DEFAULT_CREDENTIALS";

/// Whether a container is the tool. The other project of that name is not.
pub(super) fn is_it(container: Container<'_>) -> bool {
    let by_name = container.image_name() == IMAGE && !super::alexellis::is_it(container);
    by_name || MARKS.iter().filter(|mark| container.mentions(mark)).count() >= 2
}

/// The names of the Secrets that it writes.
pub(super) fn secret_names(container: Container<'_>, objects: Objects<'_>) -> [String; 5] {
    let settings = container.settings(objects);
    [&ECR, &GCR_SECRET, &PRIVATE, &AZURE, &HUB].map(|provider| provider.secret_name(&settings))
}

/// Reads one deployment of it.
pub(super) fn leave(objects: Objects<'_>, container: Container<'_>, departure: &mut Departure) {
    let settings = container.settings(objects);
    departure.problems.extend(settings.problems.iter().cloned());
    let mut reading =
        Reading { objects, container, settings, departure, served: Vec::new(), idle: Vec::new() };
    reading.ecr();
    reading.gcr();
    reading.private();
    reading.azure();
    reading.hub();
    reading.end();
}

impl Provider {
    /// The name of its Secrets.
    fn secret_name(&self, settings: &Settings) -> String {
        let given = settings.flag(self.flag).and_then(Held::plain).filter(|name| is_dns_subdomain(name));
        given.unwrap_or(self.secret).to_owned()
    }
}

struct Reading<'a, 'd> {
    objects: Objects<'a>,
    container: Container<'a>,
    settings: Settings,
    departure: &'d mut Departure,
    /// What it is used for.
    served: Vec<&'static str>,
    /// Names of Secrets that it writes without a login in them.
    idle: Vec<String>,
}

impl<'a> Reading<'a, '_> {
    fn workload(&self) -> Workload<'a> {
        self.container.workload()
    }

    /// A setting that says something: the variable goes before the flag, as in `main.go` validateParams.
    fn given(&self, variable: &str, flag: &str) -> Option<Held> {
        let set = |held: &&Held| held.is_set();
        let variable = self.settings.variable(variable).filter(set);
        variable.or_else(|| self.settings.flag(flag).filter(set)).cloned()
    }

    fn ecr(&mut self) {
        let name = ECR.secret_name(&self.settings);
        let id = self.given("AWS_ACCESS_KEY_ID", "");
        let secret = self.given("AWS_SECRET_ACCESS_KEY", "");
        let Some(accounts) = self.given("awsaccount", "") else {
            if id.is_some() || secret.is_some() {
                self.departure.problems.push(format!(
                    "{} has an access key of AWS and no awsaccount, without which it gets no token of ECR: \
                     nothing is made of them",
                    self.workload().title()
                ));
            }
            return self.idle.push(name);
        };
        self.served.push(ECR.title);
        let mut fields = Vec::new();
        match self.given("awsregion", "aws-region") {
            Some(held) => fields.push(seen("region", held)),
            None => fields.push(plain("region", REGION)),
        }
        self.accounts(accounts, &mut fields);
        match (id, secret) {
            (Some(id), Some(secret)) => {
                fields.push(kept("accessKeyID", id));
                fields.push(kept("secretKey", secret));
                // Without AWS_ACCESS_KEY_ID the tool would not look at it either.
                if let Some(token) = self.given("AWS_SESSION_TOKEN", "").filter(Held::is_known) {
                    fields.push(kept("sessionToken", token));
                    self.departure.differences.push(format!(
                        "the access key of {name} comes with a session token: it is a temporary one, and ends on \
                         its own; give imps a lasting key or a role"
                    ));
                }
            }
            (None, None) => self.keyless(&name),
            // The SDK takes both or looks further.
            _ => {
                self.departure.problems.push(format!(
                    "{} has one half of an access key of AWS, which is none",
                    self.workload().title()
                ));
                self.keyless(&name);
            }
        }
        if let Some(role) = self.given("aws_assume_role", "aws_assume_role") {
            fields.push(seen("roleArn", role));
        }
        self.carry_over(&name, ECR_TYPE.to_owned(), fields);
    }

    fn accounts(&mut self, accounts: Held, fields: &mut Vec<Field>) {
        let Some(list) = accounts.plain() else {
            self.departure.problems.push(format!(
                "the account numbers could not be read ({}): where there are several, the first goes into accountID \
                 and the others into accountIDs",
                accounts.whence.in_words()
            ));
            return fields.push(kept("accountID", accounts));
        };
        let mut list = list.split(',').map(str::trim).filter(|account| !account.is_empty());
        fields.push(plain("accountID", list.next().unwrap_or_default()));
        let more: Vec<&str> = list.collect();
        if !more.is_empty() {
            fields.push(plain("accountIDs", &more.join(",")));
        }
    }

    /// Without keys the tool uses what its pod or node is (the chain of the AWS SDK for Go).
    fn keyless(&mut self, name: &str) {
        let account = match self.workload().pod_text("serviceAccountName") {
            "" => "default",
            account => account,
        };
        let (title, namespace) = (self.workload().title(), self.workload().namespace());
        let text = format!(
            "{title} has no keys of AWS: it pulls as the role of its node, or of its ServiceAccount \
             {namespace}/{account} where that has one. The source for {name} has no keys either: start imps with \
             --keyless=ambient, give its pod the same role, and let only those write source Secrets who may pull as it"
        );
        self.departure.step(Phase::Identity, text, Vec::new());
    }

    fn gcr(&mut self) {
        let name = GCR_SECRET.secret_name(&self.settings);
        let url = self.given("gcrurl", "gcr-url").or_else(|| self.fabled(FABLED_GCR));
        let host = match &url {
            None => Content::Plain(host_of(GCR)),
            Some(held) => match held.plain() {
                Some(url) => Content::Plain(host_of(url)),
                None => Content::Kept(held.clone()),
            },
        };
        let mut fields = vec![Field { key: "hosts", value: host }];
        let file = self.container.file(self.objects, GCLOUD, GCLOUD_FILE);
        let key = file.or_else(|| self.fabled(FABLED_GCR_KEY));
        let holds_login =
            self.objects.secrets_named(&name).any(|(_, secret)| text(secret, "/type") == OLD_DOCKER_CONFIG);
        match key {
            Some(key) if !key.is_set() => return self.idle.push(name),
            Some(key) => match key.json_type().as_deref() {
                Some("service_account") => fields.push(kept("key.json", key)),
                None if !key.is_known() => fields.push(kept("key.json", key)),
                kind => {
                    self.departure.left_behind.push(format!(
                        "{name}: the login of Google ({}) is {}, which imps does not use: make a key of a service \
                         account that may read the images, and a source Secret of type {} with it",
                        key.whence.in_words(),
                        match kind {
                            Some(kind) => format!("of the type {kind}"),
                            None => "no JSON document with a type".to_owned(),
                        },
                        provided("gcp"),
                    ));
                    return;
                }
            },
            // The node's own identity: the tool asks the metadata server, and there is no setting for it.
            None if holds_login => {
                let text = format!(
                    "Secrets named {name} hold a login though no key is configured: it is that of the Google Cloud \
                     nodes. The source for {name} has no key either: start imps with --keyless=ambient on such nodes"
                );
                self.departure.step(Phase::Identity, text, Vec::new());
            }
            None => return self.idle.push(name),
        }
        self.served.push(GCR_SECRET.title);
        self.carry_over(&name, provided("gcp"), fields);
        let command = format!(
            "kubectl get secrets -A --field-selector metadata.name={name},type!={DOCKER_CONFIG} \
             -o jsonpath='{{range .items[*]}}{{.metadata.namespace}}{{\"\\n\"}}{{end}}' | \
             xargs -r -n1 kubectl delete secret {name} -n"
        );
        self.departure.left_behind.push(format!(
            "{name}: the Secrets that are there are of type {OLD_DOCKER_CONFIG} (or Opaque and empty), and Kubernetes \
             never changes the type of a Secret. imps leaves them alone and reports TargetConflict until they are \
             deleted; then it makes new ones of that name, so that pods need no change. Or give the new ones another \
             name, and pods that name the Secret themselves that name"
        ));
        let text =
            format!("Delete the Secrets named {name} that cannot be taken over; imps makes new ones at once");
        self.departure.step(Phase::Replace, text, vec![command]);
    }

    fn private(&mut self) {
        let server = self.given("DOCKER_PRIVATE_REGISTRY_SERVER", "dpr-server");
        let user = self.given("DOCKER_PRIVATE_REGISTRY_USER", "dpr-user");
        let password = self.given("DOCKER_PRIVATE_REGISTRY_PASSWORD", "dpr-password");
        self.login(&PRIVATE, server, user, password);
    }

    /// What it calls ACR is a plain login too: nothing is exchanged with Azure (`main.go` acrClient).
    fn azure(&mut self) {
        let url = self.given("ACR_URL", "acr-url");
        let client = self.given("ACR_CLIENT_ID", "acr-client-id");
        let password = self.given("ACR_PASSWORD", "acr-password");
        let carried = self.login(&AZURE, url, client, password);
        if carried {
            let name = AZURE.secret_name(&self.settings);
            self.departure.differences.push(format!(
                "{name} stays what it was, the name and password of a service principal as a plain login; a source \
                 of type {} with tenantID, clientID and clientSecret, or without a secret, is exchanged for tokens \
                 that end soon",
                provided("acr"),
            ));
        }
    }

    /// What was meant by whoever followed the article.
    fn hub(&mut self) {
        let (user, password) = (self.fabled(HUB_USER), self.fabled(HUB_PASSWORD));
        if let (Some(user), Some(password)) = (user, password) {
            self.served.push(HUB.title);
            let fields = vec![kept("username", user), kept("password", password)];
            self.carry_over(HUB.secret, provided("docker-hub"), fields);
        }
    }

    /// A variable that no version of the tool reads, though users were told so.
    fn fabled(&mut self, name: &str) -> Option<Held> {
        let held = self.given(name, "")?;
        self.departure.problems.push(format!(
            "{} sets {name}, which no version of the tool reads: what is made of it here is new to the cluster",
            self.workload().title()
        ));
        Some(held)
    }

    fn login(
        &mut self,
        provider: &Provider,
        server: Option<Held>,
        user: Option<Held>,
        password: Option<Held>,
    ) -> bool {
        let name = provider.secret_name(&self.settings);
        let (server, user, password) = match (server, user, password) {
            (Some(server), Some(user), Some(password)) => (server, user, password),
            (None, None, None) => {
                self.idle.push(name);
                return false;
            }
            _ => {
                // The tool makes no login of it either (`main.go` getAuthToken).
                self.departure.problems.push(format!(
                    "{} has only some of the server, the user and the password for {name}: nothing is made of them",
                    self.workload().title()
                ));
                self.idle.push(name);
                return false;
            }
        };
        let registry = match server.plain().map(RegistryKey::parse) {
            None => Content::Kept(server.clone()),
            Some(Ok(key)) => Content::Plain(key.display_name().to_owned()),
            Some(Err(fault)) => {
                self.departure.problems.push(format!(
                    "the server for {name} is no registry, so that no kubelet uses that login: {fault}; nothing is \
                     made of it"
                ));
                self.idle.push(name);
                return false;
            }
        };
        self.served.push(provider.title);
        let fields = vec![
            Field { key: "registry", value: registry },
            kept("username", user),
            kept("password", password),
        ];
        self.carry_over(&name, provided("private"), fields);
        true
    }

    /// Makes a source and an object of a provider that is in use.
    fn carry_over(&mut self, name: &str, secret_type: String, fields: Vec<Field>) {
        let at = SecretRef::new(self.workload().namespace(), format!("{name}-source").as_str());
        let source = Source { at: at.clone(), secret_type, fields };
        if let Some(Err(flaw)) =
            source.document().and_then(|document| imps_registry::read(&source.at, &document))
        {
            self.departure
                .problems
                .push(format!("imps will not take the source {at} as it is: in it {flaw}"));
        }
        let (namespaces, exclude) = self.namespaces();
        self.departure.grant(Duty {
            name,
            secret: name,
            source: &at,
            namespaces,
            exclude,
            service_accounts: "default",
        });
        self.departure.sources.push(source);
        self.survey(name);
    }

    /// Which namespaces it fills: all but kube-system, or as the flags of upmc-enterprises/registry-creds pull request
    /// 104 say, which many builds have.
    fn namespaces(&self) -> (Vec<String>, Vec<String>) {
        let list = |flag: &str| -> Vec<String> {
            let text = self.settings.flag(flag).and_then(Held::plain).unwrap_or_default();
            text.split(',').filter(|name| is_dns_label(name)).map(str::to_owned).collect()
        };
        let mut exclude = Vec::new();
        if self.settings.flag("skip-kube-system").and_then(Held::plain) != Some("false") {
            exclude.push("kube-system".to_owned());
        }
        let include = list("include-namespaces");
        // It does not look at the other list then, but at kube-system all the same.
        if include.is_empty() {
            exclude.extend(list("exclude-namespaces"));
        }
        (include, exclude)
    }

    /// What stands at the target's name today, where that was read.
    fn survey(&mut self, name: &str) {
        let mut fit = 0;
        let mut unfit = Vec::new();
        for (at, secret) in self.objects.secrets_named(name) {
            if text(secret, "/type") == DOCKER_CONFIG {
                fit += 1;
            } else {
                unfit.push(at.namespace.to_string());
            }
        }
        if fit > 0 {
            let them = counted(fit, "Secret", "Secrets");
            self.departure
                .differences
                .push(format!("{them} named {name} will be taken over in place, with its UID"));
        }
        if !unfit.is_empty() && name != GCR_SECRET.secret_name(&self.settings) {
            self.departure.left_behind.push(format!(
                "{name}: not of type {DOCKER_CONFIG}, so to be deleted first, in {}",
                shortened(&unfit)
            ));
        }
    }

    fn end(self) {
        let Self { objects, container, settings, departure, served, idle } = self;
        let workload = container.workload();
        let used_for =
            if served.is_empty() { "nothing that is configured".to_owned() } else { served.join(", ") };
        departure
            .found
            .push(format!("{}, upmc-enterprises/registry-creds, for {used_for}", workload.title()));
        if served.is_empty() {
            return;
        }
        let (namespace, argument) = (workload.namespace(), workload.argument());
        let minikube = workload.label("kubernetes.io/minikube-addons") == "registry-creds";
        let stop = if minikube {
            "minikube addons disable registry-creds".to_owned()
        } else {
            format!("kubectl scale {argument} -n {namespace} --replicas=0")
        };
        departure.step(
            Phase::Stop,
            format!(
                "Stop {}. The Secrets stay; tokens of ECR in them work for up to twelve hours, those of Google for \
                 up to one. Running beside imps it would write over them every hour",
                workload.title()
            ),
            vec![stop],
        );
        let mut remove = Vec::new();
        if !minikube {
            remove.push(format!("kubectl delete {argument} -n {namespace}"));
        }
        let mut words = format!("Remove {}, its roles", workload.title());
        let old = settings_secrets(departure);
        if !old.is_empty() {
            words.push_str(", and its Secrets once nothing reads them");
            remove.extend(
                old.iter().map(|SecretRef { namespace, name }| {
                    format!("kubectl delete secret {name} -n {namespace}")
                }),
            );
        }
        departure.step(Phase::Remove, words, remove);
        if !idle.is_empty() {
            departure.left_behind.push(format!(
                "{}: it writes these Secrets without a login in them and attaches them to every ServiceAccount \
                 default; nothing takes their place, and pods do not miss them. Delete them when you like",
                idle.join(", ")
            ));
        }
        departure.differences.push(
            "tokens are renewed at half of their life, and failures are tried again with a growing delay; what \
             --refresh-mins, TOKEN_RETRY_TYPE, TOKEN_RETRIES and TOKEN_RETRY_DELAY say has no effect"
                .to_owned(),
        );
        departure.differences.push(
            "when a token cannot be had, the last one stays; the tool wrote a Secret without any login instead"
                .to_owned(),
        );
        for flag in ["kubecfg-file", "kube-master-url"] {
            if settings.flag(flag).is_some_and(Held::is_set) {
                departure
                    .differences
                    .push(format!("--{flag} has no counterpart: see --kubeconfig and --context"));
            }
        }
        let believed: Vec<String> = objects
            .of("", "Namespace")
            .filter(|namespace| !namespace["metadata"]["annotations"][FABLED_OPT_OUT].is_null())
            .map(|namespace| text(namespace, "/metadata/name").to_owned())
            .collect();
        if !believed.is_empty() {
            departure.differences.push(format!(
                "{FABLED_OPT_OUT} is on {}: the tool does not know this annotation and fills them; imps leaves them \
                 out where it says \"true\"",
                shortened(&believed)
            ));
        }
    }
}

/// The Secrets that the credentials are kept in today.
fn settings_secrets(departure: &Departure) -> Vec<SecretRef> {
    let mut found: Vec<SecretRef> = Vec::new();
    for field in departure.sources.iter().flat_map(|source| &source.fields) {
        if let Content::Kept(Held { whence: super::held::Whence::Key { kind: "secret", at, .. }, .. }) =
            &field.value
            && !found.contains(at)
        {
            found.push(at.clone());
        }
    }
    found
}

/// The type of a source of this provider.
fn provided(provider: &str) -> String {
    format!("{}/{provider}", keys::GROUP)
}

fn host_of(url: &str) -> String {
    RegistryKey::parse(url).map_or_else(|_| url.to_owned(), |key| key.display_name().to_owned())
}

fn plain(key: &'static str, text: &str) -> Field {
    Field { key, value: Content::Plain(text.to_owned()) }
}

fn kept(key: &'static str, held: Held) -> Field {
    Field { key, value: Content::Kept(held) }
}

/// A setting that may be seen, if it could be looked at.
fn seen(key: &'static str, held: Held) -> Field {
    match held.plain() {
        Some(text) => plain(key, text),
        None => kept(key, held),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::alexellis;
    use super::*;

    fn with<T>(container: serde_json::Value, look: impl FnOnce(Objects<'_>, Container<'_>) -> T) -> T {
        let all = [json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "creds"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        })];
        let objects = Objects { all: &all, namespace: "kube-system", complete: true };
        let container = objects.workloads().flat_map(Workload::containers).next().unwrap();
        look(objects, container)
    }

    /// Names selected, and names left out, with these flags.
    fn namespaces(flags: &[&str]) -> (Vec<String>, Vec<String>) {
        with(json!({ "args": flags }), |objects, container| {
            let mut departure = Departure::default();
            let settings = container.settings(objects);
            let (served, idle) = (Vec::new(), Vec::new());
            Reading { objects, container, settings, departure: &mut departure, served, idle }.namespaces()
        })
    }

    #[test]
    fn the_two_tools_of_one_name_are_told_apart() {
        let which = |container: serde_json::Value| {
            with(container, |_, container| (is_it(container), alexellis::is_it(container)))
        };
        assert_eq!(which(json!({"image": "upmcenterprises/registry-creds:1.10"})), (true, false));
        assert_eq!(which(json!({"image": "mirror.example/registry-creds"})), (true, false));
        assert_eq!(which(json!({"image": "ghcr.io/alexellis/registry-creds:0.3.2"})), (false, true));
        let copied = json!({"image": "mirror.example/registry-creds", "command": ["/controller"]});
        assert_eq!(which(copied), (false, true));
        let variables = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        let renamed = json!({"image": "mine", "env": variables(&["awsaccount", "gcrurl"])});
        assert_eq!(which(renamed), (true, false));
        assert_eq!(which(json!({"image": "mine", "env": variables(&["awsaccount"])})), (false, false));
    }

    #[test]
    fn namespaces_are_those_that_the_flags_say() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(namespaces(&[]), (list(&[]), list(&["kube-system"])));
        assert_eq!(namespaces(&["--skip-kube-system=false"]), (list(&[]), list(&[])));
        assert_eq!(
            namespaces(&["--exclude-namespaces=a,,b,No Name"]),
            (list(&[]), list(&["kube-system", "a", "b"]))
        );
        // The one list silences the other.
        assert_eq!(
            namespaces(&["--exclude-namespaces=a", "--include-namespaces", "a,b"]),
            (list(&["a", "b"]), list(&["kube-system"]))
        );
    }

    #[test]
    fn a_name_that_no_secret_can_have_is_not_taken() {
        let names = |flag: &str| with(json!({"args": [flag]}), |objects, c| secret_names(c, objects));
        assert_eq!(names("--aws-secret-name=mine")[0], "mine");
        assert_eq!(names("--aws-secret-name=$(reboot)")[0], "awsecr-cred");
        assert_eq!(names(""), ["awsecr-cred", "gcr-secret", "dpr-secret", "acr-secret", "dockerhub-secret"]);
    }

    /// What is made of a login of Google with this content, and what cannot be.
    fn google(key: Option<&str>, complete: bool) -> Departure {
        let key = key.map(|key| {
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gcr", "namespace": "kube-system"},
                "stringData": {GCLOUD_FILE: key},
            })
        });
        let all: Vec<serde_json::Value> = [json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "creds"},
            "spec": {"template": {"spec": {
                "containers": [{
                    "image": "registry-creds", "env": [{"name": "gcrurl", "value": "https://eu.gcr.io/"}],
                    "volumeMounts": [{"name": "gcr", "mountPath": "/.config/gcloud"}],
                }],
                "volumes": [{"name": "gcr", "secret": {"secretName": "gcr"}}],
            }}},
        })]
        .into_iter()
        .chain(key)
        .collect();
        let objects = Objects { all: &all, namespace: "kube-system", complete };
        let container = objects.workloads().flat_map(Workload::containers).next().unwrap();
        let mut departure = Departure::default();
        leave(objects, container, &mut departure);
        departure
    }

    #[test]
    fn a_service_account_of_google_is_carried_over_and_a_person_is_not() {
        let carried = google(Some(r#"{"type": "service_account", "client_email": "a@b"}"#), true);
        let document = carried.sources[0].document().unwrap();
        assert_eq!(document.data["hosts"].as_slice(), b"eu.gcr.io");
        assert!(document.data["key.json"].starts_with(br#"{"type": "service_account""#));
        assert_eq!(carried.names().collect::<Vec<_>>(), ["gcr-secret"]);
        for (login, what) in [
            (r#"{"type": "authorized_user"}"#, "of the type authorized_user"),
            ("no json", "no JSON document with a type"),
        ] {
            let refused = google(Some(login), true);
            assert!(refused.sources.is_empty() && refused.grants.is_empty());
            assert!(refused.left_behind.iter().any(|text| text.contains(what)), "{:?}", refused.left_behind);
        }
        // Nothing is known against it.
        assert!(google(None, false).sources[0].document().is_none());
        assert!(google(None, true).sources.is_empty() && google(Some("changeme"), true).sources.is_empty());
    }
}
