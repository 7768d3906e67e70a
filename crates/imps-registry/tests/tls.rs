//! Encrypted addresses: the certificates of the machine say who is believed. They are those of a whole process, so the
//! test starts this program once more and carries out its exchanges there.

#![allow(clippy::unwrap_used, reason = "a connection that cannot be made has failed")]

mod support;

use std::process::Stdio;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use support::{exchanged, issued, rsa, typed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Where the servers are; it is there in the child only.
const ADDRESSES: &str = "IMPS_TEST_ADDRESSES";
/// Where the child writes what came of its exchanges.
const OUTCOME: &str = "IMPS_TEST_OUTCOME";

/// A token endpoint by the name of localhost, and the certificate that it shows.
async fn endpoint() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            // The request is short and comes whole.
            let read = stream.read(&mut [0; 16 * 1024]).await;
            let body = json!({"access_token": "encrypted", "expires_in": 60}).to_string();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = (read, stream.write_all(answer.as_bytes()).await, stream.shutdown().await);
        }
    });
    (address, made.cert.pem())
}

#[tokio::test]
async fn only_who_shows_a_certificate_that_the_machine_trusts_is_believed() {
    if let (Ok(addresses), Ok(file)) = (std::env::var(ADDRESSES), std::env::var(OUTCOME)) {
        let mut outcomes = Vec::new();
        for address in addresses.split(' ') {
            let key = json!({
                "type": "service_account", "client_email": "a@b.c", "private_key": rsa().pkcs8, "token_uri": address,
            });
            let values = [("hosts", "gcr.io".to_owned()), ("key.json", key.to_string())];
            outcomes.push(match exchanged(&typed("images.banzaicloud.io/gcp", &values)).await {
                Ok(answer) => issued(&answer).1.to_owned(),
                Err(fault) => fault.code,
            });
        }
        std::fs::write(file, outcomes.join(", ")).unwrap();
        return;
    }
    let ((known, certificate), (stranger, _)) = (endpoint().await, endpoint().await);
    let folder = tempfile::tempdir().unwrap();
    let (trusted, file) = (folder.path().join("trusted.pem"), folder.path().join("outcome"));
    std::fs::write(&trusted, certificate).unwrap();
    // The right certificate under another name is as bad as none.
    let misnamed = known.replace("localhost", "127.0.0.1");
    let status = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "only_who_shows_a_certificate_that_the_machine_trusts_is_believed"])
        .env(ADDRESSES, [known, stranger, misnamed].join(" "))
        .env(OUTCOME, &file)
        .env("SSL_CERT_FILE", &trusted)
        .env_remove("SSL_CERT_DIR")
        .stdout(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    let outcome = std::fs::read_to_string(&file).unwrap();
    assert_eq!(outcome, "encrypted, no connection, no connection");
}
