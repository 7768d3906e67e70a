//! `imps plan`: the same world and the same planner as in the operator, fed from manifests or from a cluster.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use imps_core::account::{Edit, Verb};
use imps_core::controller::{Controller, Effect, Event};
use imps_core::credential::Credential;
use imps_core::diagnosis::is_obeyed;
use imps_core::difference::Difference;
use imps_core::exchange::{Issued, KeylessAllowed};
use imps_core::grant::Verdict;
use imps_core::name::{SecretRef, Uid};
use imps_core::plan::{Action, Plan, Step};
use imps_core::reason::Fault;
use imps_core::standing::Standing;
use imps_core::token::Token;
use imps_core::world::{Fact, Payload, Room, Stream, TargetState, Terms, World};
use jiff::Timestamp;
use serde_json::Value;

use super::answer::print;
use super::cluster::at_cluster;
use super::{Error, UNDETERMINED, USAGE, manifests};
use crate::args::PlanArgs;
use crate::runtime::output;

mod changes;
mod live;
mod objects;
pub(super) mod page;
mod table;

use live::Live;
use objects::Objects;

/// Whether an operator is started with `--keyless` does not show in manifests.
const EVERYBODY: KeylessAllowed = KeylessAllowed { ambient: true, service_accounts: true };

pub(super) fn run(args: &PlanArgs) -> ExitCode {
    if args.is_at_odds() {
        let problem =
            "manifests alone are planned for without a cluster; add --live for the cluster with them applied";
        output::complain(&*Error::from(problem));
        return ExitCode::from(USAGE);
    }
    let planned = if args.is_live() { at_the_cluster(args) } else { from_manifests(args) };
    planned.unwrap_or_else(|error| {
        output::complain(&*error);
        if args.is_live() { ExitCode::from(UNDETERMINED) } else { ExitCode::FAILURE }
    })
}

fn from_manifests(args: &PlanArgs) -> Result<ExitCode, Error> {
    let page = page(&manifests::read(&args.filename)?)?;
    print(args.output, &page, || shown(&table::render(&page)))?;
    Ok(if page.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn at_the_cluster(args: &PlanArgs) -> Result<ExitCode, Error> {
    let manifests = manifests::read(&args.filename)?;
    let page = at_cluster(args.access.clone(), async |client| {
        let mut live = Live::new(client, manifests)?;
        let mut objects = Objects::default();
        let seconds = Timestamp::now().as_duration().as_secs_f64();
        let bring = async |stream: &Stream, objects: &mut Objects| live.bring(stream, objects).await;
        let controller = rehearse(&mut objects, seconds, bring).await;
        output::progress("");
        live.finish(page_of(&objects, &controller))
    })?;
    print(args.output, &page, || shown(&changes::render(&page)))?;
    Ok(match () {
        () if !page.unseen.is_empty() => ExitCode::from(UNDETERMINED),
        () if page.is_clean() && !page.changes_anything() => ExitCode::SUCCESS,
        () => ExitCode::FAILURE,
    })
}

/// As a terminal may get it, whatever stands in manifests and statuses.
fn shown(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !is_obeyed(*c)).collect()
}

/// What an operator would do with these objects.
pub(super) fn page(manifests: &[Value]) -> Result<page::Page, Error> {
    let mut objects = Objects::from_manifests(manifests)?;
    let rehearsal = rehearse(&mut objects, 0.0, async |_, _| Ok(())).now_or_never();
    let controller = rehearsal.expect("nothing has to be brought, so nothing is waited for");
    Ok(page_of(&objects, &controller))
}

/// How long an operator's token would live; what is planned does not depend on it.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Stands for the token that an operator would get; no credential is ever printed.
fn assumed_token() -> Issued {
    let credential = Credential { username: "AWS".to_owned(), password: Token::new("issued when it runs") };
    Issued { credential, lifetime: Some(LIFETIME), session: None }
}

/// Feeds the objects to the operator's machine as its watches would, each stream when it has been brought, and leaves
/// out what the machine would do: no plan is ever reported back as carried out, so each is what would be done first.
async fn rehearse(
    objects: &mut Objects,
    wall_clock: f64,
    mut bring: impl AsyncFnMut(&Stream, &mut Objects) -> Result<(), Fault>,
) -> Controller {
    let now = Instant::now();
    let terms = Terms { read_offer: imps_registry::read, keyless: EVERYBODY, wall_clock, ..Terms::default() };
    let (mut controller, mut pending) = Controller::new(terms, None, now);
    // A grant's streams are only asked for once it is known, so effects lead to facts until none is left.
    while !pending.is_empty() {
        let mut facts = Vec::new();
        for effect in pending.drain(..) {
            match effect {
                Effect::Watch(stream) => match bring(&stream, objects).await {
                    Ok(()) => facts.extend(objects.listen(&stream)),
                    Err(fault) => facts.push(Fact::Broken(stream, fault)),
                },
                Effect::Recall(uid, at) => facts.extend(objects.recall(uid, &at)),
                // Nobody is asked; what is planned is what would be with a token.
                Effect::Exchange(ask) => facts.push(Fact::Exchanged(ask.key, Ok(assumed_token()))),
                Effect::Unwatch(_) | Effect::Apply(_) | Effect::Report(..) | Effect::Hold(_) => {}
            }
        }
        for fact in facts {
            pending.extend(controller.on(Event::Fact(fact), now));
        }
    }
    controller
}

fn page_of(objects: &Objects, controller: &Controller) -> page::Page {
    let world = controller.world();
    let mut page = page::Page {
        assumed: objects.assumed.iter().map(ToString::to_string).collect(),
        ignored: objects.ignored.clone(),
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
    for (name, namespace) in &objects.namespaces {
        if namespace.terminating {
            page.left_out.push(page::LeftOut::terminating(name));
        } else {
            add_namespace(&mut page, objects, world, &imps_core::plan(world, name));
        }
    }
    page.payloads_ready = world.rooms().all(|room| matches!(room.payload(), Payload::Ready(_)));
    page
}

fn add_namespace(page: &mut page::Page, objects: &Objects, world: &World, plan: &Plan) {
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
                    service_accounts: attached(objects, room, plan),
                    difference: step.map(|step| difference(objects, world, plan, step)).unwrap_or_default(),
                    ..page::Target::new(&plan.namespace, room, rule, step, trouble)
                });
            }
            (Some(verdict), _) => page.left_out.push(page::LeftOut::of(&plan.namespace, room, verdict)),
            (None, _) => {}
        }
    }
    let taken = plan.take.iter();
    page.removals.extend(taken.map(|step| page::Removal {
        registries: difference(objects, world, plan, step).removed,
        ..page::Removal::new(world, plan, step)
    }));
    page.attached.extend(page::namings(world, plan, Verb::Attach));
    page.detached.extend(page::namings(world, plan, Verb::Detach));
    page.left_out.extend(unselected(world, plan));
}

/// What a step would change in the Secret that is there.
fn difference(objects: &Objects, world: &World, plan: &Plan, step: &Step) -> page::Difference {
    let at = SecretRef { namespace: plan.namespace.clone(), name: step.action.secret().clone() };
    let present = objects.document(&at).unwrap_or_default();
    let holding =
        || world.holdings(&plan.namespace).find(|(name, _)| **name == at.name).map(|(_, held)| held);
    match &step.action {
        Action::Create(sealed) => Difference::made(sealed).into(),
        Action::Update(_, sealed) => holding()
            .map(|held| page::Difference::from(Difference::updated(&present, held, sealed)))
            .unwrap_or_default(),
        Action::Scrub(_) => page::Difference::default(),
        Action::Delete(_) => Difference::deleted(&present).into(),
    }
}

/// The ServiceAccounts that name the Secret of a grant when the plan has been carried out.
fn attached(objects: &Objects, room: &Room, plan: &Plan) -> Vec<String> {
    let Some(grant) = room.grant() else { return Vec::new() };
    let name = &grant.template.name;
    let here = objects.accounts.iter().filter(|(at, _)| at.namespace == plan.namespace);
    let wanted = here.filter(|(at, _)| room.attaches_to(&at.name).is_some());
    let named = wanted.filter(|(at, account)| {
        let comes = |edit: &Edit| edit.account == at.name && edit.added().any(|added| added == name);
        account.secrets.contains(name) || plan.edits.iter().any(comes)
    });
    named.map(|(at, _)| at.name.to_string()).collect()
}

/// The planner does not look at grants that cannot select a namespace; a person wants to know of them too.
fn unselected(world: &World, plan: &Plan) -> Vec<page::LeftOut> {
    let judged: BTreeSet<&Uid> = plan.opinions.iter().map(|opinion| &opinion.grant).collect();
    let rest = world.rooms().filter(|room| room.grant().is_some() && !judged.contains(&room.identity().uid));
    rest.map(|room| page::LeftOut::of(&plan.namespace, room, &Verdict::Unselected)).collect()
}
