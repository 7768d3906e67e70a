//! The one kind of request by which tests steer the emulation.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends JSON and returns the JSON of the answer.
pub(super) async fn post(address: &str, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    // In HTTP/1.0 the answer ends with the connection, so there is nothing to parse but the status.
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.context("cannot send")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("cannot receive")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{}: {body}", head.lines().next().unwrap_or_default());
    serde_json::from_str(body).context("the answer is not JSON")
}
