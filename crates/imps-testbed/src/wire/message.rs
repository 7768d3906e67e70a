//! Requests and answers of HTTP/1.1 as the bytes that they are, and where they end.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// More than any client of a token server sends before its body.
const HEAD_MAX: usize = 256 * 1024;

/// More than any token server sends; what is to be larger is made here.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A request or an answer: its head to the empty line, and its body as it is on the wire, chunks and all.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether only the end of the connection says where the body ends.
    open_ended: bool,
}

/// How the end of a body is found.
enum Length {
    Bytes(usize),
    Chunks,
    ToTheEnd,
}

impl Message {
    /// An answer of our own, as `status` with its words, and headers each in a line of its own.
    pub(crate) fn own(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        Self { head, body: body.to_vec(), open_ended: false }
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }

    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The second word of the first line: the target of a request, the status of an answer.
    pub(crate) fn second_word(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether nothing can follow on the same connection.
    pub(crate) fn ends_connection(&self) -> bool {
        self.open_ended || self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The name of what a request asks for.
    pub(crate) fn operation(&self) -> String {
        if let Some(target) = self.header("x-amz-target") {
            return target.rsplit('.').next().unwrap_or(target).to_owned();
        }
        let (path, query) = self.second_word().split_once('?').unwrap_or((self.second_word(), ""));
        if let Some(action) = self.action(query) {
            return action;
        }
        format!("{} {path}", self.head.split(' ').next().unwrap_or_default())
    }

    /// `Action` of the query protocol of AWS.
    pub(crate) fn action(&self, query: &str) -> Option<String> {
        let form = self.header("content-type").is_some_and(|kind| kind.contains("x-www-form-urlencoded"));
        let body = if form { String::from_utf8_lossy(&self.body) } else { Cow::Borrowed("") };
        let mut fields = body.split('&').chain(query.split('&'));
        fields.find_map(|field| field.strip_prefix("Action=")).map(str::to_owned)
    }

    fn length(&self) -> Result<Option<Length>> {
        if self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(Some(Length::Chunks));
        }
        let length = self.header("content-length").map(str::parse).transpose();
        Ok(length.context("a length that is not a number")?.map(Length::Bytes))
    }
}

/// The next request; none if the client is done.
pub(crate) async fn request(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Message>> {
    let Some(mut message) = head(stream).await? else { return Ok(None) };
    if let Some(length) = message.length()? {
        message.body = body(stream, length).await?;
    }
    Ok(Some(message))
}

/// The answer to a request.
pub(crate) async fn answer(stream: &mut (impl AsyncBufRead + Unpin), request: &Message) -> Result<Message> {
    let mut message = head(stream).await?.context("no answer")?;
    let empty = matches!(message.second_word(), "204" | "304") || request.head.starts_with("HEAD ");
    if !empty {
        let length = message.length()?.unwrap_or(Length::ToTheEnd);
        message.open_ended = matches!(length, Length::ToTheEnd);
        message.body = body(stream, length).await?;
    }
    Ok(message)
}

/// Brings a request to a server, on a connection of its own, and returns the answer.
pub(crate) async fn ask(server: &str, request: &Message) -> Result<Message> {
    let server = TcpStream::connect(server).await.context("the server cannot be reached")?;
    let mut server = BufReader::new(server);
    server.write_all(&request.bytes()).await.context("the server does not read")?;
    answer(&mut server, request).await.context("the server does not answer")
}

/// A head to its empty line; none if the connection ends before it begins.
async fn head(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Message>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = (&mut *stream).take(HEAD_MAX as u64).read_until(b'\n', &mut head).await?;
        if read == 0 && head.is_empty() {
            return Ok(None);
        }
        ensure!(read > 0 && head.len() < HEAD_MAX, "a head without an end");
    }
    let head = String::from_utf8(head).context("a head that is not text")?;
    Ok(Some(Message { head, body: Vec::new(), open_ended: false }))
}

async fn body(stream: &mut (impl AsyncBufRead + Unpin), length: Length) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    match length {
        Length::Bytes(length) => {
            ensure!(length <= BODY_MAX, "a body that is too large");
            body.resize(length, 0);
            stream.read_exact(&mut body).await?;
        }
        Length::Chunks => while chunk(stream, &mut body).await? {},
        Length::ToTheEnd => {
            stream.take(BODY_MAX as u64).read_to_end(&mut body).await?;
        }
    }
    Ok(body)
}

/// Adds a chunk as it is on the wire; false after the last one, whose trailers are read too.
async fn chunk(stream: &mut (impl AsyncBufRead + Unpin), body: &mut Vec<u8>) -> Result<bool> {
    let size = line(stream, body).await?;
    let size = size.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(size, 16).context("a chunk without a size")?;
    if size == 0 {
        while !line(stream, body).await?.trim().is_empty() {}
        return Ok(false);
    }
    ensure!(body.len() + size <= BODY_MAX, "a body that is too large");
    let start = body.len();
    body.resize(start + size, 0);
    stream.read_exact(&mut body[start..]).await?;
    line(stream, body).await?;
    Ok(true)
}

/// Adds a line and returns it.
async fn line(stream: &mut (impl AsyncBufRead + Unpin), body: &mut Vec<u8>) -> Result<String> {
    let start = body.len();
    if (&mut *stream).take(HEAD_MAX as u64).read_until(b'\n', body).await? == 0 {
        bail!("a body that breaks off");
    }
    Ok(String::from_utf8_lossy(&body[start..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Message {
        request(&mut text.as_bytes()).await.expect("readable").expect("a request")
    }

    #[tokio::test]
    async fn an_operation_is_a_target_an_action_or_a_path() {
        let target = "POST / HTTP/1.1\r\nx-amz-target: Service_V1.GetToken\r\n\r\n";
        assert_eq!(read(target).await.operation(), "GetToken");
        let form = "POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
                    Content-Length: 26\r\n\r\nVersion=1&Action=AssumeRole";
        assert_eq!(read(&form.replace("26", "27")).await.operation(), "AssumeRole");
        assert_eq!(read("GET /?Action=Who&a=b HTTP/1.1\r\n\r\n").await.operation(), "Who");
        assert_eq!(read("GET /token?scope=a HTTP/1.1\r\n\r\n").await.operation(), "GET /token");
    }

    #[tokio::test]
    async fn two_requests_in_one_stream_are_told_apart_and_keep_their_bytes() {
        let first =
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n";
        let second = "POST /b HTTP/1.1\r\ncOnTent-length: 2\r\n\r\nxy";
        let text = format!("{first}{second}");
        let mut stream = text.as_bytes();
        for expected in [first, second] {
            let message = request(&mut stream).await.expect("readable").expect("a request");
            assert_eq!(message.bytes(), expected.as_bytes());
        }
        assert!(request(&mut stream).await.expect("readable").is_none());
    }

    #[tokio::test]
    async fn an_answer_without_a_length_lasts_as_long_as_the_connection() {
        let asked = read("GET / HTTP/1.1\r\n\r\n").await;
        let mut stream = "HTTP/1.1 200 OK\r\n\r\nabc".as_bytes();
        let message = answer(&mut stream, &asked).await.expect("readable");
        assert_eq!(message.body, b"abc");
        assert!(message.ends_connection());
    }
}
