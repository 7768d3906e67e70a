//! What a Secret says about a login: who asks, as which role, where, and how. Values are checked here, so that nothing
//! else has to doubt them, and complaints about them name the key and the remedy and quote nothing.

use imps_core::exchange::{ExchangeKey, Flaw, Keyless};
use imps_core::name::SecretRef;
use imps_core::source::Document;

use super::partition::{Partition, is_amazons, is_region};
use crate::DataKey;
use crate::endpoint::Endpoint;
use crate::fields::{Fields, LIST_MAX, SERVICE_ACCOUNT_NAME, key};

/// Names the account, or says `public`.
pub(crate) const ACCOUNT_ID: &str = "accountID";
const PUBLIC: &str = "public";

const ACCESS_KEY_ID: &str = "accessKeyID";
const SECRET_KEY: &str = "secretKey";
const SESSION_TOKEN: &str = "sessionToken";
const REGION: &str = "region";
const ROLE_ARN: &str = "roleArn";
const EXTERNAL_ID: &str = "externalID";
const ROLE_SESSION_NAME: &str = "roleSessionName";
const DURATION_SECONDS: &str = "durationSeconds";
const FIPS: &str = "fips";
const DUAL_STACK: &str = "dualStack";
const ENDPOINT: &str = "endpoint";
const STS_ENDPOINT: &str = "stsEndpoint";

/// Of ECR. Those of ECR Public differ in what must be there.
pub(crate) const DATA_KEYS: &[DataKey] = &[
    key(REGION, true, "region of the registry; for ECR Public only where STS is asked for a role"),
    key(ACCOUNT_ID, true, "account of the registry, twelve digits; \"public\" for ECR Public"),
    key(
        "accountIDs",
        false,
        "further accounts whose registries the identity may pull from, separated by commas",
    ),
    key("hosts", false, "further hosts of registries in the region, separated by commas"),
    key(
        ACCESS_KEY_ID,
        false,
        "access key; without it and secretKey the identity of imps or of a ServiceAccount is used",
    ),
    key(SECRET_KEY, false, "secret of the access key"),
    key(SESSION_TOKEN, false, "session token, when the access key is a temporary one"),
    key(SERVICE_ACCOUNT_NAME, false, "ServiceAccount beside the Secret whose identity takes on roleArn"),
    key(ROLE_ARN, false, "role to take on; several, separated by commas, are taken on one after the other"),
    key(EXTERNAL_ID, false, "external ID that the last role asks for"),
    key(ROLE_SESSION_NAME, false, "name of the sessions in the audit log of the account; imps unless given"),
    key(DURATION_SECONDS, false, "length of the last role's session, 900 to 43200"),
    key(FIPS, false, "\"true\": ask the FIPS endpoint, and serve the FIPS hosts of the registries too"),
    key(DUAL_STACK, false, "\"true\": ask the dual-stack endpoint, and serve the dual-stack hosts too"),
    key(
        ENDPOINT,
        false,
        "address of the ECR API, such as a VPC endpoint; fips and dualStack then choose hosts only",
    ),
    key(STS_ENDPOINT, false, "address of the STS API, likewise"),
];

/// Name of sessions unless the Secret gives another.
const SESSION_NAME: &str = "imps";

/// Longer chains are mistakes, and each role is a request.
const ROLES_MAX: usize = 4;

/// Bytes of a session token; Amazon sets no limit and today's are below 2 KiB.
const SESSION_TOKEN_MAX: usize = 16 * 1024;

/// Which API gives the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// Private registries.
    Ecr,
    /// The public gallery.
    EcrPublic,
}

impl Service {
    /// The one region that ECR Public has, whatever the Secret says.
    pub(crate) const PUBLIC_REGION: &str = "us-east-1";

    fn labels(self) -> &'static [&'static str] {
        match self {
            Service::Ecr => &["ecr", "ecr-fips"],
            Service::EcrPublic => &["ecr-public"],
        }
    }
}

/// Whether a Secret of the shared type is for this service.
pub(crate) fn is_for(service: Service, document: &Document) -> bool {
    let account = document.data.get(ACCOUNT_ID);
    let public = account.is_some_and(|account| account.trim_ascii() == PUBLIC.as_bytes());
    public == (service == Service::EcrPublic)
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Identity<'a> {
    /// The keys in the Secret.
    Keys {
        /// Public half.
        id: &'a str,
        /// Secret half.
        secret: &'a str,
        /// What a temporary key needs besides.
        session_token: Option<&'a str>,
    },
    /// A ServiceAccount in the Secret's namespace.
    ServiceAccount {
        /// Where it lives.
        namespace: &'a str,
        /// Its name there.
        name: &'a str,
    },
    /// imps itself.
    Ambient,
}

/// See the module. It has no `Debug`, as it holds secrets.
pub(crate) struct Login<'a> {
    pub(crate) service: Service,
    /// Where the token is asked for.
    pub(crate) region: &'a str,
    /// Where STS is asked for roles.
    pub(crate) sts_region: &'a str,
    pub(crate) identity: Identity<'a>,
    /// Taken on in this order.
    pub(crate) roles: Vec<&'a str>,
    /// With the last role.
    pub(crate) external_id: Option<&'a str>,
    pub(crate) session_name: &'a str,
    /// Seconds, with the last role.
    pub(crate) duration: Option<i32>,
    pub(crate) fips: bool,
    pub(crate) dual_stack: bool,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) sts_endpoint: Option<Endpoint>,
}

impl<'a> Login<'a> {
    /// Reads the values.
    pub(crate) fn read(service: Service, at: &'a SecretRef, fields: &Fields<'a>) -> Result<Self, Flaw> {
        let sts_region = region(service, fields)?;
        let login = Self {
            service,
            region: if service == Service::EcrPublic { Service::PUBLIC_REGION } else { sts_region },
            sts_region,
            identity: identity(at, fields)?,
            roles: roles(fields, Partition::of(sts_region))?,
            external_id: external_id(fields)?,
            session_name: session_name(fields)?,
            duration: duration(fields)?,
            fips: fields.switch(FIPS)?,
            dual_stack: fields.switch(DUAL_STACK)?,
            endpoint: fields.endpoint(ENDPOINT)?,
            sts_endpoint: fields.endpoint(STS_ENDPOINT)?,
        };
        login.check_roles()?;
        login.check_endpoints()?;
        Ok(login)
    }

    fn check_roles(&self) -> Result<(), Flaw> {
        if self.roles.is_empty() {
            if matches!(self.identity, Identity::ServiceAccount { .. }) {
                let problem = "is missing; name the role that the ServiceAccount may take on";
                return Err(Flaw { key: ROLE_ARN, problem });
            }
            let problem = "goes with a role; add roleArn or remove it";
            if self.external_id.is_some() {
                return Err(Flaw { key: EXTERNAL_ID, problem });
            }
            if self.duration.is_some() {
                return Err(Flaw { key: DURATION_SECONDS, problem });
            }
        }
        if self.external_id.is_some() && self.roles.len() == 1 && self.is_web_identity() {
            let problem = "cannot go with the first role of a ServiceAccount; remove it";
            return Err(Flaw { key: EXTERNAL_ID, problem });
        }
        if self.roles.len() > 1 && self.duration.is_some_and(|seconds| seconds > 3600) {
            let problem = "is above 3600, the most for a role that is reached by way of another; lower it";
            return Err(Flaw { key: DURATION_SECONDS, problem });
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), Flaw> {
        if self.fips && self.service == Service::EcrPublic {
            return Err(Flaw {
                key: FIPS,
                problem: "is not to be had, as ECR Public has no FIPS endpoint; remove it",
            });
        }
        if self.dual_stack && !Partition::of(self.region).has_dual_stack_registries() {
            let problem = "is not to be had, as no dual-stack registries are known in the region; remove it";
            return Err(Flaw { key: DUAL_STACK, problem });
        }
        if matches!(self.identity, Identity::Keys { .. }) {
            return Ok(());
        }
        let problem = "is no address of that API in the region; an identity that does not stand in the Secret is shown \
                       to Amazon alone: remove it, or give the keys of an identity";
        let trusted = |endpoint: &Option<Endpoint>, services: &[&str], region: &str| {
            endpoint.as_ref().is_none_or(|endpoint| is_amazons(endpoint, services, region))
        };
        if !trusted(&self.endpoint, self.service.labels(), self.region) {
            return Err(Flaw { key: ENDPOINT, problem });
        }
        if !trusted(&self.sts_endpoint, &["sts", "sts-fips"], self.sts_region) {
            return Err(Flaw { key: STS_ENDPOINT, problem });
        }
        Ok(())
    }

    fn is_web_identity(&self) -> bool {
        matches!(self.identity, Identity::ServiceAccount { .. })
    }

    /// Whose identity is used when the Secret brings none.
    pub(crate) fn keyless(&self) -> Option<Keyless> {
        match self.identity {
            Identity::Keys { .. } => None,
            Identity::ServiceAccount { name, .. } => Some(Keyless::ServiceAccount(name.to_owned())),
            Identity::Ambient => Some(Keyless::Ambient),
        }
    }

    /// All that decides what the token may do, and what of it differs between two Secrets only in name. Accounts and
    /// hosts are not part of it, as one token serves all of the region.
    pub(crate) fn key(&self, provider: &str) -> ExchangeKey {
        let (kind, whose) = match self.identity {
            Identity::Keys { id, secret, session_token } => {
                ("keys", [id, secret, session_token.unwrap_or_default()])
            }
            Identity::ServiceAccount { namespace, name } => ("service account", [namespace, name, ""]),
            Identity::Ambient => ("ambient", ["", "", ""]),
        };
        let duration = self.duration.unwrap_or_default().to_string();
        let switches = format!("{}{}", u8::from(self.fips), u8::from(self.dual_stack));
        let mut parts = vec![provider, self.region, self.sts_region, &switches, kind];
        parts.extend(whose);
        parts.extend([self.external_id.unwrap_or_default(), self.session_name, &duration]);
        let endpoints = [&self.endpoint, &self.sts_endpoint];
        parts
            .extend(endpoints.map(|endpoint| endpoint.as_ref().map_or("", |endpoint| endpoint.url.as_str())));
        parts.extend(&self.roles);
        ExchangeKey::of(parts.into_iter().map(str::as_bytes))
    }

    /// Exchanges at one address share a rate limit.
    pub(crate) fn lane(&self, usual: String) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{usual}/{}", endpoint.authority),
            None => usual,
        }
    }
}

fn region<'a>(service: Service, fields: &Fields<'a>) -> Result<&'a str, Flaw> {
    let flaw = |problem| Err(Flaw { key: REGION, problem });
    match fields.word(REGION, 32)? {
        Some(region) if !is_region(region) => flaw("is no region; write it like eu-west-1"),
        Some(region) if service == Service::EcrPublic && Partition::of(region).id != "aws" => {
            flaw("is of a partition whose identities cannot use ECR Public; remove it")
        }
        Some(region) => Ok(region),
        None if service == Service::EcrPublic => Ok(Service::PUBLIC_REGION),
        None => flaw("is missing; name the region of the registry, like eu-west-1"),
    }
}

fn identity<'a>(at: &'a SecretRef, fields: &Fields<'a>) -> Result<Identity<'a>, Flaw> {
    let id = fields.word(ACCESS_KEY_ID, 128)?;
    let secret = fields.word(SECRET_KEY, 256)?;
    let session_token = fields.word(SESSION_TOKEN, SESSION_TOKEN_MAX)?;
    let service_account = fields.service_account()?;
    // A key without a value is a failure of whoever filled the Secret, and no wish for another identity.
    for (key, value) in [(ACCESS_KEY_ID, id), (SECRET_KEY, secret)] {
        if fields.has(key) && value.is_none() {
            let problem = "is empty; fill it in, or remove accessKeyID and secretKey to use another identity";
            return Err(Flaw { key, problem });
        }
    }
    if id.is_some_and(|id| !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
        return Err(Flaw {
            key: ACCESS_KEY_ID,
            problem: "is no access key id; those have letters and digits only",
        });
    }
    match (id, secret) {
        (Some(_), None) => Err(Flaw { key: SECRET_KEY, problem: "is missing beside accessKeyID; add it" }),
        (None, Some(_)) => Err(Flaw { key: ACCESS_KEY_ID, problem: "is missing beside secretKey; add it" }),
        (Some(_), Some(_)) if service_account.is_some() => Err(Flaw {
            key: SERVICE_ACCOUNT_NAME,
            problem: "stands beside accessKeyID; remove one of the two",
        }),
        (Some(id), Some(secret)) => Ok(Identity::Keys { id, secret, session_token }),
        (None, None) if session_token.is_some() => Err(Flaw {
            key: SESSION_TOKEN,
            problem: "belongs to an access key; add accessKeyID and secretKey",
        }),
        (None, None) => match service_account {
            None => Ok(Identity::Ambient),
            Some(name) => Ok(Identity::ServiceAccount { namespace: at.namespace.as_str(), name }),
        },
    }
}

/// Reads a chain. Names of roles may hold commas, so one separates only where another role begins.
fn roles<'a>(fields: &Fields<'a>, partition: &Partition) -> Result<Vec<&'a str>, Flaw> {
    let flaw = |problem| Err(Flaw { key: ROLE_ARN, problem });
    let text = fields.trimmed(ROLE_ARN, LIST_MAX)?.unwrap_or_default();
    let mut roles = Vec::new();
    for mut word in text.split_ascii_whitespace() {
        while let Some(at) = word.find(",arn:") {
            roles.push(&word[..at]);
            word = &word[at + 1..];
        }
        roles.push(word.trim_matches(','));
    }
    roles.retain(|role| !role.is_empty());
    if roles.len() > ROLES_MAX {
        return flaw("is a chain of more than four roles; shorten it");
    }
    for role in &roles {
        let parts: Vec<&str> = role.splitn(6, ':').collect();
        let name = match parts.as_slice() {
            ["arn", id, "iam", "", account, resource] if super::partition::is_account(account) => {
                resource.strip_prefix("role/").map(|name| (id, name))
            }
            _ => None,
        };
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@/-".contains(&b));
        match name {
            Some((id, _)) if *id != partition.id => {
                return flaw("is a role of another partition than the region");
            }
            Some((_, name))
                if !name.is_empty() && !name.ends_with('/') && role.len() <= 2048 && plain(name) => {}
            _ => return flaw("is no role; write it like arn:aws:iam::123456789012:role/NAME"),
        }
    }
    Ok(roles)
}

fn external_id<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Flaw> {
    let id = fields.word(EXTERNAL_ID, 1224)?;
    let good = |id: &str| {
        id.len() >= 2 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b))
    };
    if id.is_some_and(|id| !good(id)) {
        let problem = "is no external ID; those have 2 to 1224 letters, digits and characters of _+=,.@:/-";
        return Err(Flaw { key: EXTERNAL_ID, problem });
    }
    Ok(id)
}

fn session_name<'a>(fields: &Fields<'a>) -> Result<&'a str, Flaw> {
    let name = fields.word(ROLE_SESSION_NAME, 64)?.unwrap_or(SESSION_NAME);
    if name.len() < 2 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)) {
        let problem = "is no session name; those have 2 to 64 letters, digits and characters of _+=,.@-";
        return Err(Flaw { key: ROLE_SESSION_NAME, problem });
    }
    Ok(name)
}

fn duration(fields: &Fields<'_>) -> Result<Option<i32>, Flaw> {
    let Some(text) = fields.word(DURATION_SECONDS, 8)? else { return Ok(None) };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse().ok().filter(|seconds| digits && (900..=43200).contains(seconds)) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Flaw { key: DURATION_SECONDS, problem: "is no number from 900 to 43200" }),
    }
}
