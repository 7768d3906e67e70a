//! The public gallery of Amazon ECR. Pulling works without a login too, at a lower rate.

use imps_core::exchange::{ExchangeFault, Flaw, Issued, Order};
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};

use crate::aws::{self, Call, Dialogue, Login, Service};
use crate::fault::flawed;
use crate::fields::Fields;
use crate::{BoxFuture, DataKey, Outside, Provider};

const NAME: &str = "ecr-public";
const HOST: &str = "public.ecr.aws";
const DUAL_STACK_HOST: &str = "ecr-public.aws.com";

/// See the module.
pub(crate) struct EcrPublic;

impl Provider for EcrPublic {
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
        let ours = document.secret_type == aws::SECRET_TYPE && aws::is_for(Service::EcrPublic, document);
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
    let login = login(at, document)?;
    let hosts = [HOST, DUAL_STACK_HOST].into_iter().take(if login.dual_stack { 2 } else { 1 });
    Ok(Order {
        provider: NAME,
        key: login.key(NAME),
        registries: hosts.map(|host| RegistryKey::parse(host).expect("it is a registry")).collect(),
        lane: login.lane(NAME.to_owned()),
        keyless: login.keyless(),
    })
}

fn login<'a>(at: &'a SecretRef, document: &'a Document) -> Result<Login<'a>, Flaw> {
    let fields = Fields::of(document, aws::DATA_KEYS);
    for key in ["accountIDs", "hosts"] {
        if !fields.list(key)?.is_empty() {
            let problem =
                "names private registries, which need another token; make a Secret of their own for them";
            return Err(Flaw { key, problem });
        }
    }
    Login::read(Service::EcrPublic, at, &fields)
}

async fn exchange(outside: &Outside, at: &SecretRef, document: &Document) -> Result<Issued, ExchangeFault> {
    let login = login(at, document).map_err(flawed)?;
    let dialogue = Dialogue::new(outside, &login);
    let session = dialogue.session().await?;
    let client = aws_sdk_ecrpublic::Client::new(&dialogue.config_of_service(&session));
    let answer = client.get_authorization_token().send().await;
    let answer = answer.map_err(|error| aws::fault(Call::EcrPublic, outside.limits(), &error))?;
    let now = dialogue.server_time();
    let offers = answer.authorization_data.into_iter();
    aws::issued(offers.map(|offer| (offer.authorization_token, offer.expires_at)), now, session.remaining())
        .ok_or_else(|| aws::nonsense(Call::EcrPublic))
}
