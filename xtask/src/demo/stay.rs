//! What `--keep` leaves running, and how it ends.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use imps_testbed::binaries::cache_folder;
use imps_testbed::control_plane::{detached_is_up, stop_detached};
use imps_testbed::plane::{ProcessRecord, Record};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use super::stage::{ACCOUNT, HOME, Stage, TARGET};
use super::voice::Voice;

/// A week: whoever keeps a demo longer starts it anew. Nothing renews the token of a process outside the cluster.
const TOKEN_SECONDS: i64 = 7 * 24 * 3600;

/// Where the control plane of a kept demo is; not that of `cargo xtask plane`, so that both can run.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(cache_folder()?.join("demo"))
}

/// Refuses to play over a demo that was kept, and clears away one that died.
pub(super) async fn make_way() -> Result<()> {
    let folder = folder()?;
    if detached_is_up(&folder).await {
        bail!("a demo that was kept runs already; end it with `cargo xtask demo --down`");
    }
    if Record::read(&folder).is_ok() {
        stop_detached(&folder).await.context("cannot clear away what is left of the last demo")?;
    }
    Ok(())
}

/// Ends the control plane of a story that broke off.
pub(super) async fn clear_away() {
    if let Ok(folder) = folder()
        && Record::read(&folder).is_ok()
        && let Err(error) = stop_detached(&folder).await
    {
        eprintln!("not all was cleaned up: {error:#}");
    }
}

/// Ends a kept demo.
pub(super) async fn down() -> Result<ExitCode> {
    let folder = folder()?;
    if Record::read(&folder).is_err() {
        eprintln!("no demo was kept");
        return Ok(ExitCode::SUCCESS);
    }
    let stopped = stop_detached(&folder).await?;
    eprintln!(
        "stopped: {}",
        if stopped.is_empty() { "nothing ran any more".into() } else { stopped.join(", ") }
    );
    Ok(ExitCode::SUCCESS)
}

/// Starts imps again, as the same identity and on its own, and says how to use what stays.
pub(super) async fn stay(stage: &Stage, voice: &Voice) -> Result<()> {
    let folder = folder()?;
    let token = long_token(stage).await?;
    let kubeconfig = stage.plane.write_kubeconfig(ACCOUNT, &token)?;
    let log = folder.join("imps.log");
    let file = File::create(&log).context("cannot make a log file")?;
    let imps = Command::new(&stage.binary)
        .args(["controller", "--metrics-addr", "127.0.0.1:0", "--log.format", "json", "--kubeconfig"])
        .arg(kubeconfig)
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share a log file")?)
        .stderr(file)
        // So that an interrupt at this terminal does not end it.
        .process_group(0)
        .spawn()
        .context("cannot start imps")?;
    // From here on whoever ends the control plane ends imps too.
    let mut record = Record::read(&folder)?;
    record.processes.insert("imps".into(), ProcessRecord { pid: imps.id(), program: stage.binary.clone() });
    let text = serde_json::to_string_pretty(&record).context("cannot write the record")?;
    std::fs::write(folder.join("plane.json"), text).context("cannot write the record")?;
    voice.chapter("It keeps running");
    voice.plain(&format!(
        "  export KUBECONFIG='{kubeconfig}'\n\
         \x20 kubectl get imps -o wide\n\
         \x20 kubectl describe imps {TARGET}\n\
         \x20 kubectl annotate namespace batch sidecar.istio.io/inject=true && kubectl -n batch get secrets\n\n\
         imps (process {pid}) logs to {log}\n\
         End it all with: cargo xtask demo --down",
        kubeconfig = record.kubeconfig.display(),
        pid = imps.id(),
        log = log.display(),
    ));
    Ok(())
}

async fn long_token(stage: &Stage) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(stage.admin.clone(), HOME);
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer = accounts.create_token_request(ACCOUNT, &PostParams::default(), &request).await;
    Ok(answer.context("no token for imps")?.status.context("a token request has no status")?.token)
}
