//! A token service on loopback that knows by itself who may do what: it gives whoever it knows a token for what that
//! user may do of what is asked for, if only for nothing, and others none.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::{Login, TokenService};
use crate::wire::message::{self, Message};

/// Where it gives out tokens.
const PATHS: &[&str] = &["/token"];

/// What its tokens name as their issuer.
const ISSUER: &str = "imps test clerk";

/// Seconds that a token is good for.
const LIFE: u64 = 300;

/// See the module. It ends when this value is dropped.
pub struct Clerk {
    service: TokenService,
    desk: Arc<Desk>,
    listener: JoinHandle<()>,
}

struct Desk {
    /// Logins as they are sent, each with a repository that it may read and write.
    users: Vec<(String, String)>,
    key: KeyPair,
    /// In base64.
    certificate: String,
    /// Whether its tokens have ended when it gives them out.
    is_late: AtomicBool,
    /// Who asked for what.
    asked: Mutex<Vec<(Option<String>, String)>>,
}

impl Clerk {
    /// Starts one that knows these users, each with a repository that is theirs; one may be named again.
    pub async fn start(users: &[(Login<'_>, &str)]) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a P-256 key")?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, ISSUER);
        let certificate = parameters.self_signed(&key).context("cannot make a certificate")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let service = TokenService {
            address: listener.local_addr().context("a listener has no address")?.to_string(),
            paths: PATHS,
            issuer: ISSUER.to_owned(),
            certificate: certificate.pem(),
        };
        let user = |(login, repository): &(Login<'_>, &str)| {
            (STANDARD.encode(format!("{}:{}", login.user, login.password)), (*repository).to_owned())
        };
        let desk = Arc::new(Desk {
            users: users.iter().map(user).collect(),
            key,
            certificate: STANDARD.encode(certificate.der()),
            is_late: AtomicBool::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::spawn(listen(listener, Arc::clone(&desk)));
        Ok(Self { service, desk, listener })
    }

    /// As a registry takes it.
    #[must_use]
    pub fn service(&self) -> &TokenService {
        &self.service
    }

    /// From now on its tokens have ended when it gives them out, as those of a service whose clock is wrong.
    pub fn be_late(&self) {
        self.desk.is_late.store(true, Ordering::Relaxed);
    }

    /// What was asked for so far: `repository:team/app:pull`.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        self.desk.asked().iter().map(|(_, scope)| scope.clone()).collect()
    }

    /// Who asked for this repository, known or not, in the order in which they asked; who asks several times in a row
    /// counts once, and who shows no login does not.
    #[must_use]
    pub fn visitors(&self, repository: &str) -> Vec<String> {
        let about = |scope: &str| scope.split(':').nth(1) == Some(repository);
        let asked = self.desk.asked();
        let asked = asked.iter().filter(|(_, scope)| about(scope));
        let mut visitors: Vec<String> = asked.filter_map(|(user, _)| user.clone()).collect();
        visitors.dedup();
        visitors
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            // A client that goes away ends the connection, which it sees.
            let _ = serve(client, &desk).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(client: TcpStream, desk: &Desk) -> Result<()> {
    let mut client = BufReader::new(client);
    while let Some(request) = message::request(&mut client).await? {
        client.write_all(&desk.answer(&request)?.bytes()).await?;
    }
    Ok(client.shutdown().await?)
}

impl Desk {
    fn answer(&self, request: &Message) -> Result<Message> {
        let (path, query) = request.second_word().split_once('?').unwrap_or((request.second_word(), ""));
        if !PATHS.contains(&path) || !request.head.starts_with("GET ") {
            return Ok(Message::own("404 Not Found", &[], b""));
        }
        let fields: Vec<(String, String)> =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(decoded).collect();
        let scopes: Vec<&str> =
            fields.iter().filter(|(name, _)| name == "scope").map(|(_, scope)| scope.as_str()).collect();
        let shown = request.header("authorization").map(|shown| shown.trim_start_matches("Basic "));
        let user = shown.and_then(user_of);
        self.asked().extend(scopes.iter().map(|scope| (user.clone(), (*scope).to_owned())));
        let known = self.users.iter().filter(|(login, _)| shown == Some(login));
        let theirs: Vec<&str> = known.map(|(_, repository)| repository.as_str()).collect();
        // Somebody without a login gets a token that is good for nothing.
        if shown.is_some() && theirs.is_empty() {
            return Ok(Message::own("401 Unauthorized", &[], b"{}"));
        }
        let granted = |scope: &&str| {
            let parts: Vec<&str> = scope.split(':').collect();
            let [kind, name, actions] = parts[..] else { return None };
            let actions: Vec<&str> = actions.split(',').collect();
            theirs.contains(&name).then(|| json!({"type": kind, "name": name, "actions": actions}))
        };
        let access: Vec<Value> = scopes.iter().filter_map(granted).collect();
        let service = fields.iter().find(|(name, _)| name == "service").map_or("", |(_, service)| service);
        let token = self.token(service, &access)?;
        let body = json!({"token": token, "expires_in": LIFE}).to_string();
        Ok(Message::own("200 OK", &[("Content-Type", "application/json")], body.as_bytes()))
    }

    fn asked(&self) -> MutexGuard<'_, Vec<(Option<String>, String)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn token(&self, service: &str, access: &[Value]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let now = if self.is_late.load(Ordering::Relaxed) { now - 24 * LIFE } else { now };
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let claims = json!({
            "iss": ISSUER, "sub": "somebody", "aud": service, "exp": now + LIFE, "nbf": now - 60, "iat": now,
            "jti": crate::names::fresh_name("token"), "access": access,
        });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.key.sign(signed.as_bytes()).context("cannot sign a token")?;
        let signature =
            URL_SAFE_NO_PAD.encode(fixed(&signature).context("a signature is not as it should be")?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// Whose login this is, as it is sent.
fn user_of(login: &str) -> Option<String> {
    let login = String::from_utf8(STANDARD.decode(login).ok()?).ok()?;
    login.split_once(':').map(|(user, _)| user.to_owned())
}

/// The two numbers of a signature in 32 bytes each, as tokens have them (RFC 7518 section 3.4), out of their DER.
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let mut rest = der.get(2..)?;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (length, after) = (usize::from(*rest.get(1)?), rest.get(2..)?);
        let number: Vec<u8> = after.get(..length)?.iter().copied().skip_while(|byte| *byte == 0).collect();
        numbers.extend(std::iter::repeat_n(0, 32_usize.checked_sub(number.len())?));
        numbers.extend(number);
        rest = after.get(length..)?;
    }
    Some(numbers)
}

/// A field of a query, of which only what clients escape in scopes and hosts is read.
fn decoded((name, value): (&str, &str)) -> (String, String) {
    let value = value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    (name.to_owned(), value)
}
