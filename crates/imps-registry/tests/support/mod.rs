//! A source Secret, and a cloud in this process that answers what a test tells it to and remembers what it was asked.
//! Keys that it signs with are made anew for each test program, so that none lies about.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a cloud that cannot be made has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use imps_core::credential::Credential;
use imps_core::exchange::{ExchangeFault, Flaw, Issued, Order};
use imps_core::name::SecretRef;
use imps_core::registry::RegistryKey;
use imps_core::source::{Document, Offer};
use imps_core::token::Token;
use imps_registry::{BoxFuture, Limits, Outside, ServiceAccountTokens, exchange, read};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

/// The type of Secret that both providers of Amazon read.
pub(crate) const SECRET_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";

/// What the clock of the cloud shows, years from ours.
pub(crate) const DATE: &str = "Sat, 01 Jan 2028 00:00:00 GMT";
/// The same in seconds.
pub(crate) const NOW: u64 = 1_830_297_600;

/// Where the Secret is.
pub(crate) fn at() -> SecretRef {
    SecretRef::new("registry-access", "ecr")
}

/// A Secret of Amazon's type with these values.
pub(crate) fn document<K: AsRef<str>, V: AsRef<[u8]>>(values: &[(K, V)]) -> Document {
    typed(SECRET_TYPE, values)
}

/// A Secret of this type with these values.
pub(crate) fn typed<K: AsRef<str>, V: AsRef<[u8]>>(secret_type: &str, values: &[(K, V)]) -> Document {
    let entry = |(key, value): &(K, V)| (key.as_ref().to_owned(), Zeroizing::new(value.as_ref().to_vec()));
    Document {
        secret_type: secret_type.into(),
        data: values.iter().map(entry).collect(),
        ..Document::default()
    }
}

/// A Secret with some of its values set, or removed where they are none.
pub(crate) fn changed(mut document: Document, changes: &Changes<'_>) -> Document {
    for (key, value) in changes {
        match value {
            Some(value) => document.data.insert((*key).into(), value.as_bytes().to_vec().into()),
            None => document.data.remove(*key),
        };
    }
    document
}

/// A key of `data` with what it is set to.
pub(crate) type Change<'a> = (&'static str, Option<&'a str>);

/// Several of them.
pub(crate) type Changes<'a> = [Change<'a>];

/// The order that a Secret without flaw gives.
pub(crate) fn order(document: &Document) -> Order {
    order_at(&at(), document)
}

/// The same, somewhere else.
pub(crate) fn order_at(at: &SecretRef, document: &Document) -> Order {
    match read(at, document).expect("the type is known") {
        Ok(Offer::Exchange(order)) => order,
        other => panic!("{other:?}"),
    }
}

/// The logins that a Secret without flaw gives: registry, user name and password.
pub(crate) fn logins(document: &Document) -> Vec<(String, String, String)> {
    match read(&at(), document).expect("the type is known") {
        Ok(Offer::Login(keyring)) => {
            let text = |(registry, credential): (&RegistryKey, &Credential)| {
                let password = credential.password.reveal().to_owned();
                (registry.display_name().to_owned(), credential.username.clone(), password)
            };
            keyring.iter().map(text).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The flaw of a Secret that has one. It quotes nothing.
pub(crate) fn flaw(document: &Document) -> Flaw {
    let flaw = read(&at(), document).expect("the type is known").expect_err("it has a flaw");
    assert!(!flaw.to_string().to_lowercase().contains("canary"), "{flaw}");
    assert!(flaw.problem.len() > 10 && !flaw.problem.contains("  "), "{flaw}");
    flaw
}

pub(crate) fn registries(order: &Order) -> Vec<&str> {
    order.registries.iter().map(|registry| registry.as_str()).collect()
}

/// Carries out what a Secret asks for, with time enough for a machine that is busy.
pub(crate) async fn exchanged(document: &Document) -> Result<Issued, ExchangeFault> {
    // One for all, as certificates are read for each.
    static OUTSIDE: OnceLock<Outside> = OnceLock::new();
    let limits = Limits { connect: PATIENCE, answer: PATIENCE, whole: PATIENCE * 3 };
    let outside = OUTSIDE.get_or_init(|| Outside::new(Arc::new(Tokens::default())).with_limits(limits));
    exchange(outside, &at(), document).await
}

/// Long enough for this machine when it is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// User name, password and seconds.
pub(crate) fn issued(issued: &Issued) -> (&str, &str, Option<u64>) {
    let credential = &issued.credential;
    (&credential.username, credential.password.reveal(), issued.lifetime.map(|life| life.as_secs()))
}

/// A private key, in both spellings, and its public half.
pub(crate) struct Key {
    pub(crate) pkcs8: String,
    pub(crate) pkcs1: String,
    public: Vec<u8>,
}

/// The key of this test program.
pub(crate) fn rsa() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = |label: &str, der: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
        };
        Key {
            pkcs8: pem("PRIVATE KEY", der.as_ref()),
            // What PKCS #8 has around the key of this size.
            pkcs1: pem("RSA PRIVATE KEY", &der.as_ref()[26..]),
            public: pair.public_key().as_ref().to_vec(),
        }
    })
}

/// The header and the claims of a token whose signature is by the key of this test program.
pub(crate) fn signed(token: &str) -> (Value, Value) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &rsa().public);
    key.verify(signed.as_bytes(), &signature).expect("the signature is good");
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

/// Claims with a signature that nobody verifies.
pub(crate) fn claims(claims: &Value) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// What the cloud was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST / HTTP/1.1`.
    pub(crate) line: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// A header, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// A field of a form, decoded.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let value = self.body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        let mut decoded = Vec::new();
        let mut bytes = value.bytes();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => {
                    let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(str::from_utf8(&hex).unwrap(), 16).unwrap()
                }
                b'+' => b' ',
                byte => byte,
            });
        }
        Some(String::from_utf8(decoded).unwrap())
    }

    /// The operation, whichever protocol names it.
    pub(crate) fn operation(&self) -> String {
        let target = self.header("x-amz-target");
        if target.is_empty() {
            self.field("Action").unwrap_or_else(|| self.line.clone())
        } else {
            target.to_owned()
        }
    }

    /// The access key that signed it.
    pub(crate) fn signer(&self) -> Option<&str> {
        self.header("authorization").split_once("Credential=")?.1.split('/').next()
    }
}

/// What the cloud answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, headers besides the usual, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Exactly these bytes, and then the end.
    Raw(String),
    /// Nothing, for as long as the client waits.
    Silence,
    /// Bytes without end.
    Endless,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Reply::Answer(200, Vec::new(), body.into())
    }

    pub(crate) fn status(status: u16, body: impl Into<String>) -> Self {
        Reply::Answer(status, Vec::new(), body.into())
    }
}

/// A token of ECR that holds this login and ends so many seconds after the cloud's clock.
pub(crate) fn token(login: &str, seconds: i64) -> Reply {
    let token = base64::engine::general_purpose::STANDARD.encode(login);
    let end = NOW as i64 + seconds;
    let entry = serde_json::json!({"authorizationToken": token, "expiresAt": end});
    Reply::ok(serde_json::json!({"authorizationData": [entry]}).to_string())
}

/// The session of a role, which lasts an hour.
pub(crate) fn role(operation: &str, key_id: &str) -> Reply {
    Reply::ok(format!(
        "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result><Credentials>\
         <AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>secret-of-{key_id}</SecretAccessKey>\
         <SessionToken>session-of-{key_id}</SessionToken><Expiration>2028-01-01T01:00:00Z</Expiration></Credentials>\
         </{operation}Result></{operation}Response>"
    ))
}

/// A server on this machine.
pub(crate) struct Cloud {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cloud {
    /// Answers each request as the script says.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Cloud {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, notes) = (Arc::new(script), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, notes) = (script.clone(), notes.clone());
                tokio::spawn(async move { serve(stream, script.as_ref(), &notes).await });
            }
        });
        Cloud { url, asked, task }
    }

    /// One that answers everything alike.
    pub(crate) async fn always(reply: Reply) -> Cloud {
        Cloud::start(move |_| reply.clone()).await
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The operations that it was asked for.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.asked().iter().map(Asked::operation).collect()
    }
}

async fn serve(stream: TcpStream, script: &(impl Fn(&Asked) -> Reply + Sync), notes: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = hear(&mut stream).await {
        notes.lock().unwrap().push(asked.clone());
        if say(&mut stream, script(&asked)).await.is_err() {
            return;
        }
    }
}

async fn hear(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { line: line.trim_end().to_owned(), headers, body: String::from_utf8(body).unwrap() })
}

async fn say(stream: &mut BufReader<TcpStream>, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
            if !headers.iter().any(|(name, _)| *name == "date") {
                head.push_str(&format!("date: {DATE}\r\n"));
            }
            for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n{body}").as_bytes()).await
        }
        Reply::Raw(bytes) => {
            stream.write_all(bytes.as_bytes()).await?;
            stream.shutdown().await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Reply::Silence => std::future::pending().await,
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            loop {
                stream.write_all(piece.as_bytes()).await?;
            }
        }
    }
}

/// Gives tokens that name whom they are for, or fails as it is told to.
#[derive(Default)]
pub(crate) struct Tokens {
    pub(crate) fault: Option<ExchangeFault>,
}

impl ServiceAccountTokens for Tokens {
    fn token<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Token, ExchangeFault>> {
        Box::pin(async move {
            match &self.fault {
                Some(fault) => Err(fault.clone()),
                None => Ok(Token::new(format!("token.of.{namespace}.{name}.for.{audience}"))),
            }
        })
    }
}
