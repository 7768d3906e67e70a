//! Private registries of Amazon ECR. A token serves every registry of the region that the identity may pull from,
//! whichever account it is in.

use imps_core::exchange::{ExchangeFault, Flaw, Issued, Order};
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};

use crate::aws::{self, ACCOUNT_ID, Call, Dialogue, HostFlaw, Login, Service};
use crate::fault::flawed;
use crate::fields::Fields;
use crate::{BoxFuture, DataKey, Outside, Provider};

const NAME: &str = "ecr";
const ACCOUNT_IDS: &str = "accountIDs";
const HOSTS: &str = "hosts";

/// More do not fit into a Secret, as each takes a token of several KiB.
const REGISTRIES_MAX: usize = 200;

/// See the module.
pub(crate) struct Ecr;

impl Provider for Ecr {
    fn name(&self) -> &'static str {
        NAME
    }

    fn secret_types(&self) -> &'static [&'static str] {
        &[aws::SECRET_TYPE]
    }

    fn data_keys(&self) -> &'static [DataKey] {
        aws::DATA_KEYS
    }

    fn read(&self, at: &SecretRef, document: &Document) -> Option<Result<Offer, Flaw>> {
        let ours = document.secret_type == aws::SECRET_TYPE && aws::is_for(Service::Ecr, document);
        ours.then(|| order(at, document).map(Offer::Exchange))
    }

    fn exchange<'a>(
        &'a self,
        outside: &'a Outside,
        at: &'a SecretRef,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Issued, ExchangeFault>> {
        Box::pin(exchange(outside, at, document))
    }
}

fn order(at: &SecretRef, document: &Document) -> Result<Order, Flaw> {
    let fields = Fields::of(document, aws::DATA_KEYS);
    let login = Login::read(Service::Ecr, at, &fields)?;
    Ok(Order {
        provider: NAME,
        key: login.key(NAME),
        registries: registries(&login, &fields)?,
        lane: login.lane(format!("{NAME}/{}", login.region)),
        keyless: login.keyless(),
    })
}

fn registries(login: &Login<'_>, fields: &Fields<'_>) -> Result<Vec<RegistryKey>, Flaw> {
    let flaw = |key, problem| Err(Flaw { key, problem });
    let Some(account) = fields.word(ACCOUNT_ID, 12)? else {
        return flaw(ACCOUNT_ID, "is missing; give the number of the registry's account, or \"public\"");
    };
    let mut hosts = Vec::new();
    let accounts = std::iter::once((ACCOUNT_ID, account));
    for (key, account) in accounts.chain(fields.list(ACCOUNT_IDS)?.into_iter().map(|id| (ACCOUNT_IDS, id))) {
        if !aws::is_account(account) {
            return flaw(key, "is no number of an account; those have twelve digits");
        }
        hosts.extend(aws::hosts(account, login.region, login.fips, login.dual_stack));
    }
    for host in fields.list(HOSTS)? {
        let host = host.to_ascii_lowercase();
        match aws::check_host(&host, login.region) {
            Ok(()) => hosts.push(host),
            Err(HostFlaw::Foreign) => {
                return flaw(HOSTS, "names a host that is none of ECR; give such hosts alone");
            }
            Err(HostFlaw::Region) => {
                return flaw(
                    HOSTS,
                    "names a host of another region; a token serves one: make a Secret for each",
                );
            }
        }
    }
    let mut registries: Vec<RegistryKey> = Vec::new();
    for host in hosts {
        let registry = RegistryKey::parse(&host).expect("a host of ECR is a registry");
        if !registries.contains(&registry) {
            registries.push(registry);
        }
    }
    if registries.len() > REGISTRIES_MAX {
        return flaw(ACCOUNT_IDS, "lists more registries than a Secret has room for; split it into several");
    }
    Ok(registries)
}

async fn exchange(outside: &Outside, at: &SecretRef, document: &Document) -> Result<Issued, ExchangeFault> {
    let fields = Fields::of(document, aws::DATA_KEYS);
    let login = Login::read(Service::Ecr, at, &fields).map_err(flawed)?;
    registries(&login, &fields).map_err(flawed)?;
    let dialogue = Dialogue::new(outside, &login);
    let session = dialogue.session().await?;
    let client = aws_sdk_ecr::Client::new(&dialogue.config_of_service(&session));
    let answer = client.get_authorization_token().send().await;
    let answer = answer.map_err(|error| aws::fault(Call::Ecr, outside.limits(), &error))?;
    let now = dialogue.server_time();
    let offers = answer.authorization_data.unwrap_or_default().into_iter();
    aws::issued(offers.map(|offer| (offer.authorization_token, offer.expires_at)), now, session.remaining())
        .ok_or_else(|| aws::nonsense(Call::Ecr))
}
