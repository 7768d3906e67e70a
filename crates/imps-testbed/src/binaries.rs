//! Where etcd, kube-apiserver and kube-controller-manager are on this machine, the kubelet for a node, and helm.
//!
//! The order is the one of Kubernetes' own envtest: a variable for one program (`TEST_ASSET_ETCD`,
//! `TEST_ASSET_KUBE_APISERVER`, and of our own `TEST_ASSET_KUBE_CONTROLLER_MANAGER`), then the folder that
//! `KUBEBUILDER_ASSETS` names, then the cache that `cargo xtask plane build` fills. The kubelet and helm are always our
//! own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// What to do when a program is missing; every error of this module ends with it.
const REMEDY: &str = "build the control plane once with `cargo xtask plane build`";

/// Raise it when the flags of the build change, so that binaries of the old recipe are not taken for new ones.
const RECIPE: &str = "1";

/// What to do when the kubelet is missing.
const NODE_REMEDY: &str = "build the kubelet once with `cargo xtask plane build --kubelet`";

/// The files that decide what comes out of a build of the control plane.
const PINS: [&str; 4] = ["etcd/go.mod", "etcd/go.sum", "kubernetes/go.mod", "kubernetes/go.sum"];

/// The same for a node. In a cache of its own, so that neither build spoils the other.
const NODE_PINS: [&str; 4] = ["kubelet/go.mod", "kubelet/go.sum", "idle/go.mod", "idle/main.go"];

/// What to do when helm is missing.
const HELM_REMEDY: &str = "build helm once with `cargo xtask helm`";

/// The same for helm, which is no part of a control plane.
const HELM_PINS: [&str; 2] = ["../helm/go.mod", "../helm/go.sum"];

/// The programs of a control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The store.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// Missing in envtest's bundles. Without it namespaces are never deleted, no default ServiceAccount appears and
    /// nothing is garbage collected.
    pub kube_controller_manager: Option<PathBuf>,
}

impl Binaries {
    /// Finds the programs, or says what is missing and what to do.
    pub fn find() -> Result<Self> {
        find(&|name| std::env::var_os(name).filter(|value| !value.is_empty()), cached_folder)
    }
}

/// What a node needs beside the programs of Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBinaries {
    /// The node's agent.
    pub kubelet: PathBuf,
    /// A static program that does nothing, for images.
    pub idle: PathBuf,
}

impl NodeBinaries {
    /// Finds the programs, or says what is missing and what to do.
    pub fn find() -> Result<Self> {
        let folder = cached_node_folder().context(NODE_REMEDY)?;
        let program = |name| existing("in the cache", &folder.join(name), NODE_REMEDY);
        Ok(Self { kubelet: program("kubelet")?, idle: program("idle")? })
    }
}

/// Finds helm, or says what is missing and what to do.
pub fn helm() -> Result<PathBuf> {
    let folder = cached_helm_folder().context(HELM_REMEDY)?;
    existing("in the cache", &folder.join("helm"), HELM_REMEDY)
}

/// The cache of this project for this user: `IMPS_CACHE_DIR`, else `imps` in the user's cache folder.
pub fn cache_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("IMPS_CACHE_DIR")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("imps")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/imps")))
        .context("no place for a cache: set IMPS_CACHE_DIR (or HOME) to a folder")?;
    std::path::absolute(folder).context("the cache folder has no absolute path")
}

/// The folder of the binaries that belong to the pinned modules and this machine's Go. It may not exist yet.
pub fn cached_folder() -> Result<PathBuf> {
    cached_by("control-plane", &PINS)
}

/// The same for a node's programs.
pub fn cached_node_folder() -> Result<PathBuf> {
    cached_by("control-plane", &NODE_PINS)
}

/// The same for helm.
pub fn cached_helm_folder() -> Result<PathBuf> {
    cached_by("helm", &HELM_PINS)
}

fn cached_by(place: &str, pins: &[&str]) -> Result<PathBuf> {
    let key = cache_key(&modules_folder(), pins, &go_version()?)?;
    Ok(cache_folder()?.join(place).join(key).join("bin"))
}

/// The version of Go, as `go1.26.8`.
pub(crate) fn go_version() -> Result<String> {
    let output = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
    let output = output.context("Go is not installed (no `go` on the PATH)")?;
    ensure!(
        output.status.success(),
        "`go env GOVERSION` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `tools/control-plane` of the source tree that this crate was compiled from.
pub(crate) fn modules_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/control-plane")
}

/// Changes whenever other binaries would come out of a build.
fn cache_key(modules: &Path, pins: &[&str], go_version: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in pins {
        let path = modules.join(file);
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    hash.update(go_version);
    hash.update(RECIPE);
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn find(
    variable: &dyn Fn(&str) -> Option<OsString>,
    cached: impl FnOnce() -> Result<PathBuf>,
) -> Result<Binaries> {
    let named = |name: &str| {
        variable(name)
            .map(|path| existing(&format!("named by {name}"), &PathBuf::from(path), REMEDY))
            .transpose()
    };
    let etcd = named("TEST_ASSET_ETCD")?;
    let apiserver = named("TEST_ASSET_KUBE_APISERVER")?;
    let controller_manager = named("TEST_ASSET_KUBE_CONTROLLER_MANAGER")?;
    if let (Some(etcd), Some(kube_apiserver)) = (&etcd, &apiserver) {
        // No folder is asked for the third: a controller manager of another version would be worse than none.
        let (etcd, kube_apiserver) = (etcd.clone(), kube_apiserver.clone());
        return Ok(Binaries { etcd, kube_apiserver, kube_controller_manager: controller_manager });
    }
    let (folder, whence) = match variable("KUBEBUILDER_ASSETS") {
        Some(folder) => (PathBuf::from(folder), "in the folder of KUBEBUILDER_ASSETS"),
        None => (cached().with_context(|| REMEDY)?, "in the cache"),
    };
    let beside = folder.join("kube-controller-manager");
    Ok(Binaries {
        etcd: etcd.map_or_else(|| existing(whence, &folder.join("etcd"), REMEDY), Ok)?,
        kube_controller_manager: match (&apiserver, controller_manager) {
            (_, Some(path)) => Some(path),
            (None, None) if beside.is_file() => Some(existing(whence, &beside, REMEDY)?),
            _ => None,
        },
        kube_apiserver: apiserver
            .map_or_else(|| existing(whence, &folder.join("kube-apiserver"), REMEDY), Ok)?,
    })
}

/// The absolute path of a program that is there. Absolute, because daemons run in folders of their own.
fn existing(whence: &str, path: &Path, remedy: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("there is no {} ({whence}); {remedy}", path.display());
    }
    fs::canonicalize(path).with_context(|| format!("cannot resolve {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with empty files of these names.
    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            fs::write(folder.path().join(name), "").expect("written");
        }
        folder
    }

    fn found(variables: &[(&str, &Path)], cached: &Path) -> Result<Binaries> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, path)| path.as_os_str().to_owned())
        };
        find(&variable, || Ok(cached.to_owned()))
    }

    const ALL: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];

    #[test]
    fn without_variables_the_cache_is_used() {
        let cache = folder_of(&ALL);
        let binaries = found(&[], cache.path()).expect("found");
        assert_eq!(binaries.etcd, cache.path().canonicalize().expect("exists").join("etcd"));
        assert!(binaries.kube_controller_manager.is_some());
    }

    #[test]
    fn the_assets_folder_wins_over_the_cache_and_its_missing_controller_manager_stays_missing() {
        let (cache, assets) = (folder_of(&ALL), folder_of(&["etcd", "kube-apiserver"]));
        let binaries = found(&[("KUBEBUILDER_ASSETS", assets.path())], cache.path()).expect("found");
        assert!(binaries.kube_apiserver.starts_with(assets.path().canonicalize().expect("exists")));
        assert_eq!(binaries.kube_controller_manager, None);
    }

    #[test]
    fn a_variable_for_one_program_wins_over_every_folder() {
        let (assets, own) = (folder_of(&ALL), folder_of(&["my-etcd"]));
        let etcd = own.path().join("my-etcd");
        let variables = [("KUBEBUILDER_ASSETS", assets.path()), ("TEST_ASSET_ETCD", etcd.as_path())];
        let binaries = found(&variables, assets.path()).expect("found");
        assert_eq!(binaries.etcd, etcd.canonicalize().expect("exists"));
        assert!(binaries.kube_controller_manager.is_some());
    }

    #[test]
    fn an_api_server_of_ones_own_is_not_paired_with_a_controller_manager_of_another_version() {
        let (cache, own) = (folder_of(&ALL), folder_of(&["server"]));
        let server = own.path().join("server");
        let binaries = found(&[("TEST_ASSET_KUBE_APISERVER", &server)], cache.path()).expect("found");
        assert_eq!(binaries.kube_controller_manager, None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let empty = folder_of(&[]);
        for variables in [vec![], vec![("KUBEBUILDER_ASSETS", empty.path())]] {
            let error = found(&variables, empty.path()).expect_err("nothing there").to_string();
            assert!(error.contains("etcd") && error.contains("cargo xtask plane build"), "{error}");
        }
    }

    #[test]
    fn the_cache_key_follows_the_pins_and_the_version_of_go() {
        let key = |go| cache_key(&modules_folder(), &PINS, go).expect("readable");
        assert_eq!(key("go1.26.8").len(), 16);
        assert_eq!(key("go1.26.8"), key("go1.26.8"));
        assert_ne!(key("go1.26.8"), key("go1.27.0"));
        let node = cache_key(&modules_folder(), &NODE_PINS, "go1.26.8").expect("readable");
        assert_ne!(key("go1.26.8"), node);
    }
}
