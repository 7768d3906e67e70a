//! `imps plan`: the same world and the same planner as in the operator, fed from manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use imps_api::{keys, lower};
use imps_cluster::view::{AccountView, SourceView, TargetView};
use imps_core::account::{Account, Edit};
use imps_core::census::{Pod, PodUid};
use imps_core::controller::{Controller, Effect, Event};
use imps_core::credential::Credential;
use imps_core::exchange::{Issued, KeylessAllowed};
use imps_core::grant::Verdict;
use imps_core::holding::Version;
use imps_core::name::{AccountRef, NamespaceName, SecretRef, Uid};
use imps_core::plan::Plan;
use imps_core::standing::Standing;
use imps_core::token::Token;
use imps_core::world::{Fact, Namespace, Payload, Room, Stream, TargetState, Terms, World};
use serde_json::Value;

use super::Error;
use super::manifests::{self, namespace_of, text};
use crate::args::{OutputFormat, PlanArgs};
use crate::runtime::output;

pub(super) mod page;
mod table;

/// Whether an operator is started with `--keyless` does not show in manifests.
const EVERYBODY: KeylessAllowed = KeylessAllowed { ambient: true, service_accounts: true };

pub(super) fn run(args: &PlanArgs) -> Result<ExitCode, Error> {
    let page = page(&manifests::read(&args.filename)?)?;
    let text = match args.output {
        OutputFormat::Table => table::render(&page),
        OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(&page)?),
    };
    output::print(&text)?;
    Ok(if page.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an operator would do with these objects.
pub(super) fn page(objects: &[Value]) -> Result<page::Page, Error> {
    Ok(Manifests::sort(objects)?.play())
}

/// How long an operator's token would live; offline it does not matter.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Stands for the token that an operator would get; no credential is ever printed.
fn assumed_token() -> Issued {
    let credential = Credential { username: "AWS".to_owned(), password: Token::new("issued when it runs") };
    Issued { credential, lifetime: Some(LIFETIME), session: None }
}

/// What the manifests say, by kind.
#[derive(Default)]
struct Manifests<'a> {
    grants: Vec<imps_api::ImagePullSecret>,
    namespaces: BTreeMap<NamespaceName, Namespace>,
    pods: Vec<Pod>,
    secrets: BTreeMap<SecretRef, &'a Value>,
    accounts: BTreeMap<AccountRef, Account>,
    /// Namespaces that no manifest describes and others name.
    assumed: BTreeSet<NamespaceName>,
    ignored: BTreeMap<String, usize>,
}

impl<'a> Manifests<'a> {
    fn sort(objects: &'a [Value]) -> Result<Self, Error> {
        let mut sorted = Self::default();
        for (index, object) in objects.iter().enumerate() {
            match manifests::kind(object) {
                (keys::GROUP, keys::KIND) => {
                    let name = text(object, "/metadata/name").to_owned();
                    let grant = serde_json::from_value(object.clone()).map_err(|error| {
                        format!("ImagePullSecret {name} does not fit the schema: {error}")
                    })?;
                    sorted.grants.push(grant);
                }
                ("", "Namespace") => {
                    let namespace = Namespace {
                        labels: tags(object, "/metadata/labels"),
                        annotations: tags(object, "/metadata/annotations"),
                        terminating: object.pointer("/metadata/deletionTimestamp").is_some(),
                    };
                    sorted.namespaces.insert(text(object, "/metadata/name").into(), namespace);
                }
                ("", "Pod") => sorted.pods.push(pod(object, index)),
                ("", "ServiceAccount") => {
                    let at = AccountRef {
                        namespace: namespace_of(object).into(),
                        name: text(object, "/metadata/name").into(),
                    };
                    let view = serde_json::from_value::<AccountView>(object.clone()).map_err(|_| {
                        format!("ServiceAccount {at} is not one that the API server would take")
                    })?;
                    sorted.accounts.insert(at, view.into());
                }
                ("", "Secret") => {
                    sorted.secrets.insert(manifests::place(object), object);
                }
                (_, kind) => *sorted.ignored.entry(kind.to_owned()).or_insert(0) += 1,
            }
        }
        if sorted.grants.is_empty() {
            return Err("no ImagePullSecret among the manifests: nothing to plan for".into());
        }
        sorted.assume();
        Ok(sorted)
    }

    /// A namespace that a pod or a list of names speaks of is taken to exist; a list of namespaces is rarely complete.
    fn assume(&mut self) {
        let named = self.grants.iter().flat_map(|grant| &grant.spec.target.namespaces.names);
        let exact = named.filter(|name| !name.contains('*')).map(NamespaceName::new);
        let all: BTreeSet<NamespaceName> =
            exact.chain(self.pods.iter().map(|pod| pod.namespace.clone())).collect();
        for name in all {
            if let std::collections::btree_map::Entry::Vacant(place) = self.namespaces.entry(name.clone()) {
                place.insert(Namespace::default());
                self.assumed.insert(name);
            }
        }
        // Kubernetes makes this one in every namespace.
        for namespace in self.namespaces.keys() {
            let at = AccountRef { namespace: namespace.clone(), name: "default".into() };
            let fresh = Account { uid: Uid::default(), version: Version::default(), secrets: Vec::new() };
            self.accounts.entry(at).or_insert(fresh);
        }
    }

    /// Feeds the manifests to the operator's machine as its watches would and collects what it would do. No plan is
    /// ever reported back as carried out, so each is what would be done first.
    fn play(self) -> page::Page {
        let now = Instant::now();
        let terms = Terms { read_offer: imps_registry::read, keyless: EVERYBODY, ..Terms::default() };
        let (mut controller, effects) = Controller::new(terms, None, now);
        let mut plans: BTreeMap<NamespaceName, Plan> = BTreeMap::new();
        let mut pending = effects;
        // A grant's streams are only asked for once it is known, so effects lead to facts until none is left.
        while !pending.is_empty() {
            let mut facts = Vec::new();
            for effect in pending.drain(..) {
                match effect {
                    Effect::Watch(stream) => facts.extend(self.listen(&stream)),
                    Effect::Recall(uid, at) => facts.extend(self.recall(uid, &at)),
                    // Offline nobody is asked; what is planned is what would be with a token.
                    Effect::Exchange(ask) => facts.push(Fact::Exchanged(ask.key, Ok(assumed_token()))),
                    Effect::Unwatch(_) | Effect::Apply(_) | Effect::Report(..) | Effect::Hold(_) => {}
                }
            }
            for fact in facts {
                pending.extend(controller.on(Event::Fact(fact), now));
            }
        }
        let world = controller.world();
        for name in self.namespaces.keys() {
            plans.insert(name.clone(), imps_core::plan(world, name));
        }
        self.page(world, &plans)
    }

    fn listen(&self, stream: &Stream) -> Vec<Fact> {
        let mut facts = vec![Fact::Relist(stream.clone())];
        match stream {
            Stream::Grants => {
                facts.extend(self.grants.iter().map(|grant| {
                    let mut fact = lower::lower(grant);
                    // The operator would have put its finalizer on before it attaches anything.
                    fact.tenure.held = true;
                    Fact::Grant(Box::new(fact))
                }));
            }
            Stream::Namespaces => {
                facts.extend(
                    self.namespaces.iter().map(|(name, ns)| Fact::Namespace(name.clone(), ns.clone())),
                );
            }
            Stream::Pods { .. } => facts.extend(self.pods.iter().cloned().map(Fact::Pod)),
            Stream::Source(at) => {
                let document =
                    self.secrets.get(at).and_then(|object| manifests::secret::<SourceView>(object));
                facts.extend(document.map(|view| Fact::Source(at.clone(), view.into())));
            }
            // Without a cluster there are no rights to divide: all namespaces are served.
            Stream::Accounts(name, _) => {
                let named = self.accounts.iter();
                let named = named.filter(|(at, _)| name.as_ref().is_none_or(|name| at.name == *name));
                facts.extend(named.map(|(at, account)| Fact::Account(at.clone(), account.clone())));
            }
            Stream::Targets(name, _) => {
                let named = self.secrets.iter().filter(|(at, _)| at.name == *name);
                facts.extend(named.filter_map(|(at, object)| {
                    let view = manifests::secret::<TargetView>(object)?;
                    Some(Fact::Secret(at.clone(), Box::new(view.into())))
                }));
            }
        }
        facts.push(Fact::Listed(stream.clone()));
        facts
    }

    /// What one of our own targets among the manifests holds, as the operator would read it for a failing source.
    fn recall(&self, uid: Uid, at: &SecretRef) -> Option<Fact> {
        let view: SourceView = manifests::secret(self.secrets.get(at)?)?;
        Some(Fact::Recalled(uid, Ok(view.into())))
    }

    /// The ServiceAccounts that name the Secret of a grant when the plan has been carried out.
    fn attached(&self, room: &Room, plan: &Plan) -> Vec<String> {
        let Some(grant) = room.grant() else { return Vec::new() };
        let name = &grant.template.name;
        let here = self.accounts.iter().filter(|(at, _)| at.namespace == plan.namespace);
        let wanted = here.filter(|(at, _)| room.attaches_to(&at.name).is_some());
        let named = wanted.filter(|(at, account)| {
            let comes = |edit: &Edit| edit.account == at.name && edit.added().any(|added| added == name);
            account.secrets.contains(name) || plan.edits.iter().any(comes)
        });
        named.map(|(at, _)| at.name.to_string()).collect()
    }

    fn page(&self, world: &World, plans: &BTreeMap<NamespaceName, Plan>) -> page::Page {
        let mut page = page::Page {
            assumed: self.assumed.iter().map(ToString::to_string).collect(),
            ignored: self.ignored.clone(),
            ..page::Page::default()
        };
        for room in world.rooms() {
            let standing = Standing::of(world, room);
            page.sources.extend(standing.sources.iter().map(|source| page::Source::of(room, source)));
            let name = room.identity().name.to_string();
            page.rejected.extend(
                room.rejections().iter().map(|r| page::Remark { grant: name.clone(), text: r.to_string() }),
            );
            page.remarks
                .extend(room.remarks().iter().map(|r| page::Remark { grant: name.clone(), text: r.clone() }));
        }
        for (namespace, plan) in plans {
            if self.namespaces[namespace].terminating {
                page.left_out.push(page::LeftOut::terminating(namespace));
                continue;
            }
            for opinion in &plan.opinions {
                let Some(room) = world.room(&opinion.grant) else { continue };
                match (&opinion.verdict, &opinion.state) {
                    (Some(Verdict::Selected(rule)), state) => {
                        let step = plan.give.iter().find(|step| step.grant == opinion.grant);
                        let trouble = match state {
                            Some(TargetState::Troubled { reason, advice }) => Some((*reason, advice.clone())),
                            _ => None,
                        };
                        page.targets.push(page::Target {
                            service_accounts: self.attached(room, plan),
                            ..page::Target::new(namespace, room, rule, step, trouble)
                        });
                    }
                    (Some(verdict), _) => page.left_out.push(page::LeftOut::of(namespace, room, verdict)),
                    (None, _) => {}
                }
            }
            page.removals.extend(page::removals(world, plan));
            page.detached.extend(page::detached(world, plan));
            page.left_out.extend(unselected(world, plan, namespace));
        }
        page.payloads_ready = world.rooms().all(|room| matches!(room.payload(), Payload::Ready(_)));
        page
    }
}

/// The planner does not look at grants that cannot select a namespace; a person wants to know of them too.
fn unselected(world: &World, plan: &Plan, namespace: &NamespaceName) -> Vec<page::LeftOut> {
    let judged: BTreeSet<&Uid> = plan.opinions.iter().map(|opinion| &opinion.grant).collect();
    let rest = world.rooms().filter(|room| room.grant().is_some() && !judged.contains(&room.identity().uid));
    rest.map(|room| page::LeftOut::of(namespace, room, &Verdict::Unselected)).collect()
}

fn tags(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    object.pointer(pointer).cloned().and_then(|tags| serde_json::from_value(tags).ok()).unwrap_or_default()
}

fn pod(object: &Value, index: usize) -> Pod {
    Pod {
        // A manifest has no UID; its place among the manifests is as good.
        uid: PodUid::parse(&format!("manifest {index}")),
        namespace: namespace_of(object).into(),
        labels: tags(object, "/metadata/labels"),
        annotations: tags(object, "/metadata/annotations"),
        deleting: object.pointer("/metadata/deletionTimestamp").is_some(),
    }
}
