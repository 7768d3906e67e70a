//! Answers that look well and are not.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use super::message::Message;

/// What tokens are called that are not in a list.
const TOKENS: [&str; 4] = ["access_token", "accessToken", "refresh_token", "token"];

/// The last second of the year 9999, in seconds and in words; and one of the year 2000.
const FAR_FUTURE: (u64, &str) = (253_402_300_799, "9999-12-31T23:59:59Z");
const PAST: (u64, &str) = (946_684_800, "2000-01-01T00:00:00Z");

/// How much of a huge body there is, in pieces that fit into a buffer.
const HUGE_PIECES: usize = 4096;
const PIECE: usize = 64 * 1024;

/// What is wrong with an answer. Those that concern a token or an expiry are bent from the server's own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It does not say when what it gives expires.
    NoExpiry,
    /// It has expired in the year 2000.
    PastExpiry,
    /// It expires at the end of the year 9999.
    FarFuture,
    /// It is a page for people.
    NotJson,
    /// It gives nothing: a list of the right name is empty, or there is no token where one should be.
    EmptyList,
    /// The token is not base64, nor is it one in three parts.
    TokenNotBase64,
    /// The token is base64 of something that is not user and password.
    TokenWithoutColon,
    /// It does not end within 256 MiB.
    HugeBody,
    /// Somebody else should be asked, with status 307.
    Redirect {
        /// Where to.
        to: String,
    },
}

/// The server's answer with the lie in it. An answer that is a refusal stays as it is.
pub(super) fn bend(answer: Message, lie: &Lie) -> Message {
    if !matches!(answer.second_word(), "200" | "201") {
        return answer;
    }
    let kind = answer.header("content-type").unwrap_or("application/json").to_owned();
    let plain = dechunked(&answer);
    let body = match serde_json::from_slice::<Value>(&plain) {
        _ if *lie == Lie::NotJson => b"<html><body>Please log in</body></html>".to_vec(),
        Ok(mut value) => {
            bend_value(&mut value, lie);
            value.to_string().into_bytes()
        }
        Err(_) => bend_xml(&String::from_utf8_lossy(&plain), lie).into_bytes(),
    };
    Message::own(&format!("{} Bent", answer.second_word()), &[("Content-Type", &kind)], &body)
}

/// Sends the beginning of an answer that has the right shape and nearly no end.
pub(super) async fn pour(client: &mut (impl AsyncWriteExt + Unpin)) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await?;
    client.write_all(br#"{"authorizationData":[{"authorizationToken":""#).await?;
    let piece = vec![b'A'; PIECE];
    for _ in 0..HUGE_PIECES {
        client.write_all(&piece).await?;
    }
    client.shutdown().await?;
    Ok(())
}

fn bend_value(value: &mut Value, lie: &Lie) {
    match value {
        Value::Object(fields) => bend_object(fields, lie),
        Value::Array(values) => values.iter_mut().for_each(|value| bend_value(value, lie)),
        _ => {}
    }
}

fn bend_object(fields: &mut Map<String, Value>, lie: &Lie) {
    let is_expiry = |name: &str| name.to_ascii_lowercase().starts_with("expir");
    if *lie == Lie::NoExpiry {
        fields.retain(|name, _| !is_expiry(name));
    }
    if *lie == Lie::EmptyList {
        fields.retain(|name, _| !TOKENS.contains(&name.as_str()));
    }
    for (name, value) in fields {
        match (lie, name.as_str()) {
            // A number of seconds from now, and those never lie in the past.
            (Lie::PastExpiry, "expires_in") => *value = if value.is_number() { json!(0) } else { json!("0") },
            (Lie::PastExpiry, name) if is_expiry(name) => *value = instant(value, PAST),
            (Lie::FarFuture, name) if is_expiry(name) => *value = instant(value, FAR_FUTURE),
            (Lie::EmptyList, "authorizationData") => *value = json!([]),
            (Lie::TokenNotBase64, "authorizationToken") => *value = json!("%% not base64 %%"),
            (Lie::TokenNotBase64, "refresh_token") => *value = json!("opaque"),
            (Lie::TokenWithoutColon, "authorizationToken") => *value = json!(STANDARD.encode("no colon")),
            _ => bend_value(value, lie),
        }
    }
}

/// In the form in which the server would have said it.
fn instant(before: &Value, (seconds, words): (u64, &str)) -> Value {
    let digits = before.as_str().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match before {
        Value::Number(_) => json!(seconds),
        _ if digits => json!(seconds.to_string()),
        _ => json!(words),
    }
}

fn bend_xml(text: &str, lie: &Lie) -> String {
    let (open, close) = ("<Expiration>", "</Expiration>");
    let Some((before, rest)) = text.split_once(open) else { return text.to_owned() };
    let Some((_, after)) = rest.split_once(close) else { return text.to_owned() };
    match lie {
        Lie::NoExpiry => format!("{before}{after}"),
        Lie::PastExpiry => format!("{before}{open}{}{close}{after}", PAST.1),
        Lie::FarFuture => format!("{before}{open}{}{close}{after}", FAR_FUTURE.1),
        _ => text.to_owned(),
    }
}

/// The body without its chunks, if it has them.
fn dechunked(answer: &Message) -> Vec<u8> {
    if answer.header("transfer-encoding").is_none() {
        return answer.body.clone();
    }
    let mut plain = Vec::new();
    let mut rest = answer.body.as_slice();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(end + 2..end + 2 + size).filter(|chunk| !chunk.is_empty()) else { break };
        plain.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_bent_in_its_own_form_and_at_any_depth() {
        let mut value = json!({"authorizationData": [{"expiresAt": 1.5, "authorizationToken": "x"}]});
        bend_value(&mut value, &Lie::PastExpiry);
        assert_eq!(value["authorizationData"][0]["expiresAt"], json!(PAST.0));
        let mut value = json!({"Expiration": "2030-01-01T00:00:00Z"});
        bend_value(&mut value, &Lie::FarFuture);
        assert_eq!(value, json!({"Expiration": FAR_FUTURE.1}));
        bend_value(&mut value, &Lie::NoExpiry);
        assert_eq!(value, json!({}));
        let mut value = json!({"expires_in": 3599, "expires_on": "1795772420"});
        bend_value(&mut value, &Lie::PastExpiry);
        assert_eq!(value, json!({"expires_in": 0, "expires_on": PAST.0.to_string()}));
        assert_eq!(bend_xml("<a><Expiration>x</Expiration></a>", &Lie::NoExpiry), "<a></a>");
    }

    #[test]
    fn an_answer_in_chunks_is_read_without_them() {
        let mut answer = Message::own("200 OK", &[("Transfer-Encoding", "chunked")], b"");
        answer.body = b"2\r\n{\"\r\n6;a=b\r\na\":1}\n\r\n0\r\n\r\n".to_vec();
        assert_eq!(dechunked(&answer), b"{\"a\":1}\n");
    }
}
