//! A source Secret, and a cloud in this process that answers what a test tells it to and remembers what it was asked.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a cloud that cannot be made has failed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use imps_core::exchange::ExchangeFault;
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_core::token::Token;
use imps_registry::{BoxFuture, ServiceAccountTokens};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

/// The type of Secret that both providers read.
pub(crate) const SECRET_TYPE: &str = "banzaicloud.io/aws-ecr-login-config";

/// What the clock of the cloud shows, years from ours.
pub(crate) const DATE: &str = "Sat, 01 Jan 2028 00:00:00 GMT";
/// The same in seconds.
pub(crate) const NOW: u64 = 1_830_297_600;

/// Where the Secret is.
pub(crate) fn at() -> SecretRef {
    SecretRef::new("registry-access", "ecr")
}

/// A Secret with these values.
pub(crate) fn document<K: AsRef<str>, V: AsRef<[u8]>>(values: &[(K, V)]) -> Document {
    let entry = |(key, value): &(K, V)| (key.as_ref().to_owned(), Zeroizing::new(value.as_ref().to_vec()));
    Document {
        secret_type: SECRET_TYPE.into(),
        data: values.iter().map(entry).collect(),
        ..Document::default()
    }
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
    use base64::Engine as _;
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
