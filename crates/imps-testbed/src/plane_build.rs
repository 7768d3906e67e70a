//! Builds etcd, kube-apiserver and kube-controller-manager, for a node the kubelet, and helm for charts, from pinned Go
//! modules into the cache.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::binaries::{cached_folder, cached_helm_folder, cached_node_folder, go_version, modules_folder};
use crate::daemon::last_lines;

/// How often whoever watches is told that a step goes on.
pub(crate) const TELL_EVERY: Duration = Duration::from_secs(1);

/// How much of Go's output a failure shows.
const SHOWN_LINES: usize = 20;

/// What the folder of a build is called until it is whole.
pub(crate) const PARTIAL: &str = ".building-";

/// What a build says while it runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Something worth knowing before it starts.
    Note(&'a str),
    /// A step begins.
    Step {
        /// Which step, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// What it does.
        what: &'a str,
    },
    /// The step goes on; told about once a second.
    Still {
        /// Since the step began.
        elapsed: Duration,
        /// What it is busy with.
        detail: &'a str,
    },
    /// The step is done.
    Done {
        /// How long the step took.
        elapsed: Duration,
    },
}

/// Builds what is missing of the control plane and returns the folder of the programs.
///
/// Safe to call from several processes at once: the second waits for the first and finds its work. With `force` it
/// builds again even when the programs are there.
pub fn build(force: bool, watch: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    build_kit(&CONTROL_PLANE, cached_folder()?, force, watch)
}

/// Builds what is missing for a node, as [`build`] does for the control plane.
pub fn build_node(force: bool, watch: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    build_kit(&NODE, cached_node_folder()?, force, watch)
}

/// Builds helm if it is missing, as [`build`] does for the control plane.
pub fn build_helm(force: bool, watch: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    build_kit(&HELM, cached_helm_folder()?, force, watch)
}

fn build_kit(kit: &Kit, bin: PathBuf, force: bool, watch: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf> {
    check_go(kit)?;
    if !force && bin.is_dir() {
        return Ok(bin);
    }
    let home = bin.parent().context("the cached folder has a parent")?;
    let cache = home.parent().context("the cache has a folder")?;
    let _lock = lock(cache, watch)?;
    if !force && bin.is_dir() {
        return Ok(bin);
    }
    watch(Progress::Note(&format!(
        "the first build takes about {} on two cores; it is cached in {}",
        kit.takes,
        bin.display()
    )));
    remove_interrupted_builds(cache)?;
    let partial = tempfile::Builder::new().prefix(PARTIAL).tempdir_in(cache);
    let partial = partial.context("cannot make a folder for the build")?;
    let partial_bin = partial.path().join("bin");
    install_all(kit, &partial_bin, watch)?;
    // Only a whole build gets the final name, so a build that was interrupted is never mistaken for one.
    if home.exists() {
        fs::remove_dir_all(home).context("cannot remove the previous build")?;
    }
    fs::rename(partial.keep(), home).context("cannot put the build in place")?;
    Ok(bin)
}

/// Only under the lock, where no other build can be under way.
pub(crate) fn remove_interrupted_builds(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).context("cannot read the cache folder")? {
        let path = entry.context("cannot read the cache folder")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL)) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// One program to build.
struct Tool {
    module: &'static str,
    package: &'static str,
    /// The name that Go gives to the program, and the one that it should have.
    comes_out_as: &'static str,
    program: &'static str,
}

/// Programs that are built together.
struct Kit {
    tools: &'static [Tool],
    /// For a person who waits for it.
    takes: &'static str,
    /// What else there is for a person who has no Go, as the end of a sentence.
    without_go: &'static str,
}

/// Only etcd and kube-apiserver can come from elsewhere.
const ASSETS: &str = ", or let KUBEBUILDER_ASSETS name a folder with etcd and kube-apiserver";

const CONTROL_PLANE: Kit = Kit {
    takes: "five minutes",
    without_go: ASSETS,
    tools: &[
        Tool {
            module: "etcd",
            package: "go.etcd.io/etcd/server/v3",
            comes_out_as: "server",
            program: "etcd",
        },
        Tool {
            module: "kubernetes",
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
            comes_out_as: "kube-apiserver",
            program: "kube-apiserver",
        },
        Tool {
            module: "kubernetes",
            package: "k8s.io/kubernetes/cmd/kube-controller-manager",
            comes_out_as: "kube-controller-manager",
            program: "kube-controller-manager",
        },
    ],
};

const NODE: Kit = Kit {
    takes: "a minute, once the control plane is built,",
    without_go: "",
    tools: &[
        Tool {
            module: "kubelet",
            package: "k8s.io/kubernetes/cmd/kubelet",
            comes_out_as: "kubelet",
            program: "kubelet",
        },
        Tool { module: "idle", package: ".", comes_out_as: "idle", program: "idle" },
    ],
};

const HELM: Kit = Kit {
    takes: "two minutes",
    without_go: "",
    tools: &[Tool {
        // Beside the folder of the control plane's modules, as it is no part of one.
        module: "../helm",
        package: "helm.sh/helm/v4/cmd/helm",
        comes_out_as: "helm",
        program: "helm",
    }],
};

fn install_all(kit: &Kit, bin: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    for (index, tool) in kit.tools.iter().enumerate() {
        let what = format!("building {}", tool.program);
        watch(Progress::Step { number: index + 1, of: kit.tools.len(), what: &what });
        let begun = Instant::now();
        install(tool, bin, watch)?;
        if tool.comes_out_as != tool.program {
            fs::rename(bin.join(tool.comes_out_as), bin.join(tool.program))
                .context("cannot rename a program")?;
        }
        watch(Progress::Done { elapsed: begun.elapsed() });
    }
    Ok(())
}

fn install(tool: &Tool, bin: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let mut go = go(tool.module);
    // -v names each package as it is compiled, which is all the progress that Go can show.
    go.args(["install", "-v", "-trimpath", "-ldflags", &linker_flags(tool)?, tool.package]).env("GOBIN", bin);
    let mut child = go.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let output = Output::follow(&mut child)?;
    let begun = Instant::now();
    let mut told = begun;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for go")? {
            break status;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            watch(Progress::Still { elapsed: begun.elapsed(), detail: &output.summary() });
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if status.success() { Ok(()) } else { Err(failure(tool, &output.finished())) }
}

/// Go in the folder of a module, with an environment that does not depend on the developer's settings.
fn go(module: &str) -> Command {
    let mut go = Command::new("go");
    go.current_dir(modules_folder().join(module))
        .env("CGO_ENABLED", "0")
        // A dependency that wants a newer Go fails with a clear sentence instead of fetching a toolchain.
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    go
}

/// Kubernetes reports the version that the linker puts in; without it clients cannot parse `/version`.
fn linker_flags(tool: &Tool) -> Result<String> {
    let mut flags = String::from("-s -w");
    if !tool.package.starts_with("k8s.io/kubernetes/") {
        return Ok(flags);
    }
    let output = go(tool.module).args(["list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"]).output()?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || version.is_empty() {
        bail!("cannot read the version of Kubernetes: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (key, value) in [
            ("gitVersion", version.as_str()),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "archive"),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ] {
            flags.push_str(&format!(" -X {package}.{key}={value}"));
        }
    }
    Ok(flags)
}

fn check_go(kit: &Kit) -> Result<()> {
    let needed = needed_go(kit)?;
    let programs: Vec<&str> = kit.tools.iter().map(|tool| tool.program).collect();
    let how = format!(
        "Go {needed} or newer is needed once to build {}; install it as https://go.dev/doc/install says{}",
        programs.join(", "),
        kit.without_go
    );
    let installed = go_version().with_context(|| how.clone())?;
    if numbers(&installed) < numbers(&needed) {
        bail!("{installed} is too old: {how}");
    }
    Ok(())
}

/// The newest `go` line of the modules.
fn needed_go(kit: &Kit) -> Result<String> {
    let mut needed = String::new();
    for tool in kit.tools {
        let path = modules_folder().join(tool.module).join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default().trim();
        if numbers(line) > numbers(&needed) {
            line.clone_into(&mut needed);
        }
    }
    Ok(needed)
}

/// `go1.26.8` as numbers; what follows them (`rc1`, an experiment's name) is left out.
fn numbers(version: &str) -> Vec<u32> {
    let plain = version.trim_start_matches("go");
    let end = plain.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(plain.len());
    plain[..end].split('.').filter_map(|part| part.parse().ok()).collect()
}

fn failure(tool: &Tool, output: &str) -> anyhow::Error {
    let signs =
        ["dial tcp", "no such host", "i/o timeout", "TLS handshake", "connection refused", "proxyconnect"];
    let hint = if signs.iter().any(|sign| output.contains(sign)) {
        "\nThis looks like the network: Go could not fetch modules. See `go env GOPROXY`, then try again: what was \
         fetched so far is kept."
    } else {
        ""
    };
    anyhow!(
        "building {} failed. The end of Go's output:\n{}{hint}",
        tool.program,
        last_lines(output, SHOWN_LINES)
    )
}

/// Waits until no other process builds in this folder of the cache, and makes the folder.
pub(crate) fn lock(folder: &Path, watch: &mut dyn FnMut(Progress<'_>)) -> Result<File> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
    let file = File::create(folder.join("build.lock")).context("cannot make a lock file")?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => watch(Progress::Note("another process builds; waiting for it")),
        Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock the cache"),
    }
    file.lock().context("cannot wait for the lock of the cache")?;
    Ok(file)
}

/// What a running `go` has printed so far.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Output {
    fn follow(child: &mut Child) -> Result<Self> {
        let pipe = child.stderr.take().context("go was started without a pipe")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { lines, reader })
    }

    /// One line for a person: what Go does and how far it came.
    fn summary(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = lines.last() else { return "reading packages and linking".to_owned() };
        if let Some(module) = last.strip_prefix("go: downloading ") {
            return format!("fetching {module}");
        }
        let compiled = lines.iter().filter(|line| !line.starts_with("go: ")).count();
        format!("{compiled} packages compiled, last {last}")
    }

    fn finished(self) -> String {
        // The pipe is closed once the process has ended; a panic in the reader would only lose lines.
        let _ = self.reader.join();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_compare_by_number() {
        assert!(numbers("go1.26.8") > numbers("1.26.0"));
        assert!(numbers("go1.9") < numbers("go1.26.0"));
        assert_eq!(numbers("go1.27rc1"), vec![1, 27]);
    }

    #[test]
    fn a_failure_of_the_network_says_so_and_shows_the_end_of_the_output() {
        let output = "first line\ngo: k8s.io/api@v0.36.2: dial tcp 127.0.0.1:9: connect: connection refused";
        let text = failure(&CONTROL_PLANE.tools[1], output).to_string();
        assert!(
            text.contains("kube-apiserver") && text.contains("dial tcp") && text.contains("network"),
            "{text}"
        );
    }

    #[test]
    fn the_kubernetes_replaces_all_carry_the_pinned_version() {
        let [plane, node] = ["kubernetes", "kubelet"].map(pinned);
        assert_eq!(plane, node, "the kubelet is of another version than the API server");
    }

    /// The version of Kubernetes that a module requires, after all its replaces were compared with it.
    fn pinned(module: &str) -> String {
        let path = modules_folder().join(module).join("go.mod");
        let text = fs::read_to_string(path).expect("readable");
        let pinned = text
            .lines()
            .find_map(|line| line.trim().trim_start_matches("require ").strip_prefix("k8s.io/kubernetes v1."))
            .and_then(|rest| rest.split_whitespace().next())
            .expect("Kubernetes is required");
        let replaced: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(" => ").map(|(_, to)| to)).collect();
        assert_eq!(replaced.len(), 33);
        for line in replaced {
            assert!(line.ends_with(&format!(" v0.{pinned}")), "{line} does not match Kubernetes 1.{pinned}");
        }
        pinned.to_owned()
    }
}
