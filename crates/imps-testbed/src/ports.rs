//! Free ports on loopback. The kernel names them; another process can take one before our server does.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Two processes that ask at the same time collide once in a while, never five times in a row.
const TRIES: usize = 5;

/// Free ports, all different.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    // Held open until all are known, so that they differ.
    let mut listeners = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        *port = listener.local_addr().context("a listener has no port")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Tries again while ports are taken from under us.
pub(crate) async fn retrying<T, F: Future<Output = Result<T>>>(mut start: impl FnMut() -> F) -> Result<T> {
    for _ in 1..TRIES {
        match start().await {
            Err(error) if port_was_taken(&error) => {}
            result => return result,
        }
    }
    start().await
}

/// Whether a server did not start because of its port, as its log says, which is part of the error.
pub(crate) fn port_was_taken(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("address already in use"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn free_ports_differ() {
        let [a, b, c] = free_ports().expect("ports");
        assert!(a != b && b != c && a != c);
    }

    #[tokio::test]
    async fn only_a_taken_port_is_tried_again() {
        let mut tries = 0;
        let done = retrying(|| {
            tries += 1;
            let first = tries == 1;
            async move { if first { bail!("listen tcp: bind: address already in use") } else { Ok(()) } }
        });
        done.await.expect("the second try works");
        assert_eq!(tries, 2);

        let mut tries = 0;
        let done = retrying(|| {
            tries += 1;
            async { Err::<(), _>(anyhow::anyhow!("unknown flag")) }
        });
        done.await.expect_err("is final");
        assert_eq!(tries, 1);
    }
}
