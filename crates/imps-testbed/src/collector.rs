//! A collector of traces on loopback: it takes whatever is posted and keeps it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// It ends when this is dropped.
pub struct Collector {
    address: String,
    posts: Arc<Mutex<Vec<Post>>>,
    task: JoinHandle<()>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its first line and headers.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Collector {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a collector")?;
        let address = listener.local_addr()?.to_string();
        let posts = Arc::<Mutex<Vec<Post>>>::default();
        let kept = posts.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                tokio::spawn(async move {
                    // Who hangs up in the middle has posted nothing.
                    if let Ok(post) = take(stream).await {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(post);
                    }
                });
            }
        });
        Ok(Self { address, posts, task })
    }

    /// Where it is, as `OTEL_EXPORTER_OTLP_ENDPOINT` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was posted so far.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one request, whose length is told, and says yes to it.
async fn take(mut stream: TcpStream) -> Result<Post> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.context("the length is not told")?];
    stream.read_exact(&mut body).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    Ok(Post { head, body })
}
