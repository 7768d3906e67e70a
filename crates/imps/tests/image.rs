//! The image that is shipped, as `cargo xtask image` builds it, of the program under test: what is in it, and that the
//! program runs there as nobody, with nothing around it.
#![allow(clippy::unwrap_used, reason = "a test fails where its ground does")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use imps_testbed::binaries::Binaries;
use imps_testbed::shipped_image::{self, Image, Recipe};
use imps_testbed::{ControlPlane, Missing, Options};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

/// One of the names in the API server's certificate, by which nothing is found here without DNS.
const SERVER: &str = "kubernetes.default.svc";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// Whom the image names as its user.
const NOBODY: &str = "65532:65532";

struct Ground {
    image: Image,
    /// The files of the image, which may be changed.
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl Ground {
    fn lay() -> Result<Self, Missing> {
        shipped_image::available()?;
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe {
            program: Path::new(env!("CARGO_BIN_EXE_imps")),
            name: "registry.local/imps:under-test",
            version: env!("CARGO_PKG_VERSION"),
            revision: "0123456789abcdef",
            timestamp: 1_700_000_000,
        };
        let image = shipped_image::build(&recipe, &folder.path().join("layout")).unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        image.unpack(&root).unwrap();
        Ok(Self { image, root, _folder: folder })
    }

    /// Runs a program of the image as its user, with no environment.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("/usr/sbin/chroot");
        command.env_clear().arg(format!("--userspec={NOBODY}")).arg(&self.root).arg(program);
        command.args(arguments).output().unwrap()
    }

    fn write(&self, path: &str, content: &str) {
        fs::write(self.root.join(path), content).unwrap();
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file and link below a folder.
fn files(folder: &Path, below: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files(&path, below, found);
        } else {
            found.insert(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn there_is_the_program_in_the_image_and_what_it_cannot_do_without() {
    let ground = match Ground::lay() {
        Ok(ground) => ground,
        Err(missing) => return missing.skip_or_fail(),
    };
    let mut found = BTreeSet::new();
    files(&ground.root, &ground.root, &mut found);
    let (libraries, rest): (BTreeSet<_>, BTreeSet<_>) =
        found.into_iter().partition(|path| path.starts_with("lib"));
    let (licences, rest): (BTreeSet<_>, BTreeSet<_>) =
        rest.into_iter().partition(|path| path.starts_with("licenses/"));
    let names: BTreeSet<_> = libraries.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let loader = names.iter().filter(|name| name.starts_with("ld-linux")).count();
    let known = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
    assert!(loader == 1 && names.len() == known.len() + 1, "{libraries:?}");
    assert!(known.iter().all(|name| names.contains(name)), "{libraries:?}");
    let known = ["ca-certificates", "imps", "libc6", "libgcc-s1"].map(|name| format!("licenses/{name}"));
    assert_eq!(licences, BTreeSet::from(known));
    let packages =
        ["ca-certificates", "libc6", "libgcc-s1"].map(|name| format!("var/lib/dpkg/status.d/{name}"));
    let mut known = BTreeSet::from(packages);
    known.extend(["usr/bin/imps", "manager", "refresher", BUNDLE].map(str::to_owned));
    known.extend(["group", "nsswitch.conf", "os-release", "passwd"].map(|name| format!("etc/{name}")));
    assert_eq!(rest, known, "no shell, and no file that nobody decided to ship");

    let configuration = ground.image.configuration().unwrap();
    let run = &configuration["config"];
    assert_eq!(run["User"], NOBODY, "in numbers, so that runAsNonRoot can be judged");
    assert_eq!(run["Entrypoint"], json!(["/usr/bin/imps"]));
    let label = |name: &str| &run["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("revision"), "0123456789abcdef");
    assert_eq!(label("created"), "2023-11-14T22:13:20Z");
    assert_eq!(label("licenses"), "Apache-2.0");
}

#[tokio::test]
async fn in_the_image_the_program_runs_as_nobody_finds_hosts_by_dns_and_trusts_the_bundle() {
    let Ok(port) = name_server_port() else {
        return Missing::privilege("needs root, to change roots and to answer at port 53").skip_or_fail();
    };
    if let Err(error) = Binaries::find() {
        return imps_testbed::skip_or_fail(format!("{error:#}"));
    }
    let ground = match Ground::lay() {
        Ok(ground) => ground,
        Err(missing) => return missing.skip_or_fail(),
    };
    let output = ground.run("/usr/bin/imps", &["--version"]);
    assert_eq!(said(&output), format!("imps {}\n", env!("CARGO_PKG_VERSION")));
    for (link, subcommand) in [("/manager", "imps controller"), ("/refresher", "imps refresher")] {
        let output = said(&ground.run(link, &["--help"]));
        assert!(output.contains(subcommand), "{link}: {output}");
    }

    let plane = ControlPlane::start(Options::api_server()).await.unwrap();
    let address = port.local_addr().unwrap().ip();
    ground.write("etc/resolv.conf", &format!("nameserver {address}\n"));
    ground.write("kubeconfig", &by_name(&plane).to_string());
    let (told, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || answer(&port, &told));
    let apply = || ground.run("/usr/bin/imps", &["crd", "apply", "--kubeconfig", "/kubeconfig"]);

    let refused = apply();
    assert!(!refused.status.success(), "nobody vouches for the server yet: {}", said(&refused));
    answered.try_recv().expect("it asked for the address of the server by DNS and got it");
    let bundle = fs::read_to_string(ground.root.join(BUNDLE)).unwrap();
    let authorities = fs::read_dir("/usr/share/ca-certificates/mozilla").unwrap().count();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), authorities, "those of Mozilla and no others");
    ground.write(BUNDLE, &format!("{bundle}{}", plane.ca_pem().unwrap()));
    let applied = apply();
    assert!(applied.status.success(), "{}", said(&applied));
    let definitions = Api::<CustomResourceDefinition>::all(plane.admin_client().await.unwrap());
    assert_eq!(definitions.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

/// The administrator's kubeconfig, where the server has a name and nobody is said to vouch for it.
fn by_name(plane: &ControlPlane) -> Value {
    let text = fs::read_to_string(plane.admin_kubeconfig().unwrap()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    let port = plane.url().rsplit(':').next().unwrap();
    kubeconfig["clusters"][0]["cluster"] = json!({"server": format!("https://{SERVER}:{port}")});
    kubeconfig
}

/// The port of a name server, at an address of loopback that no other process takes.
fn name_server_port() -> std::io::Result<UdpSocket> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low.max(1)), 53))?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(socket)
}

/// Answers questions for the one name, which is on this machine, and tells of it; it knows no other.
fn answer(socket: &UdpSocket, told: &std::sync::mpsc::Sender<()>) {
    const A: [u8; 2] = [0, 1];
    let name: Vec<u8> =
        SERVER.split('.').flat_map(|part| [&[part.len() as u8], part.as_bytes()].concat()).collect();
    let mut question = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        // Behind the header of twelve bytes: the name with an empty part at its end, the type, the class.
        let end = 12 + question[12..length].iter().position(|byte| *byte == 0).unwrap_or_default() + 1;
        let (asked, kind) = (&question[12..end - 1], &question[end..end + 2]);
        let known = asked.eq_ignore_ascii_case(&name);
        let answers = u8::from(known && kind == A);
        let mut reply = question[..2].to_vec();
        // A reply, with recursion, and without an error or with «no such name».
        reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
        reply.extend(&question[12..end + 4]);
        if answers == 1 {
            let _ = told.send(());
            // The name of the question, its address, for a minute.
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        }
        let _ = socket.send_to(&reply, client);
    }
}
