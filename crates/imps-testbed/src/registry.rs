//! An image registry on loopback that lets nobody in without a login, and a client that pulls as a container
//! runtime does.
//!
//! Both are Debian's: `docker-registry` serves, `skopeo` pushes and pulls. A pull takes a file in the format of a
//! docker config, which is what a Secret of type `kubernetes.io/dockerconfigjson` holds.

mod clerk;
mod gate;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

pub use self::clerk::Clerk;
use self::gate::{Door, Gate};
use crate::certificates::ServerFiles;
use crate::daemon::{Daemon, write_private};
use crate::home::Home;
use crate::image::{self, Content};
use crate::janitor::Janitor;
use crate::names::fresh_name;
use crate::ports::{free_ports, retrying};
use crate::skip::Missing;

/// The programs, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 2] = [("docker-registry", "docker-registry"), ("skopeo", "skopeo")];

/// It starts in a tenth of a second.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What stands before the name of a user in its log, once that is let in.
const LET_IN: &str = " auth.user.name=";

/// What stands around it when that is not.
const REFUSED: (&str, &str) = ("error authenticating user \\\"", "\\\"");

/// The lowest cost that bcrypt has: these passwords protect nothing, and the registry checks one per request.
const BCRYPT_COST: u32 = 4;

/// A user of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Who.
    pub user: &'a str,
    /// And how it is proved.
    pub password: &'a str,
}

/// What became of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The image is here, layers and all.
    Pulled,
    /// The registry did not let us in; what the client said.
    Refused(String),
}

/// How a registry is to be.
#[derive(Clone, Copy, Default, Debug)]
pub struct Settings<'a> {
    /// Who is let in.
    pub users: &'a [Login<'a>],
    /// The host, such as one of a cloud, by whose name clients reach it with TLS; a user of it may then have several
    /// passwords. Without one it is reached at a port of loopback, without TLS.
    pub host: Option<&'a str>,
    /// Who says who is let in, in place of `users`; at the host of the registry if it has one, else where it really is.
    pub tokens: Option<&'a TokenService>,
    /// Whether it speaks TLS at its port, with a certificate that only its own authority vouches for.
    pub encrypted: bool,
    /// Other hosts that its clients reach by their names, with the addresses where they really are.
    pub neighbours: &'a [(&'a str, &'a str)],
}

impl Settings<'_> {
    /// Where a token service knows the users, the registry sees none of their logins.
    fn renames(&self) -> bool {
        self.host.is_some() && self.tokens.is_none()
    }
}

/// A service that clients of a registry show their login to, and whose word the registry takes.
#[derive(Clone, Debug)]
pub struct TokenService {
    /// Where it really is.
    pub address: String,
    /// Its paths at the host of the registry; the first is the one that gives out tokens.
    pub paths: &'static [&'static str],
    /// What its tokens name as their issuer.
    pub issuer: String,
    /// What they are signed by, as PEM.
    pub certificate: String,
}

/// A running registry. It ends, and its images with it, when this value is dropped or this process dies.
pub struct Registry {
    // Fields are dropped in this order.
    gate: Option<Gate>,
    daemon: Daemon,
    name: String,
    /// Whether each login is a user of its own.
    renames: bool,
    authority: Option<PathBuf>,
    _janitor: Janitor,
    home: Home,
}

/// The Debian packages whose programs are missing on this machine.
#[must_use]
pub fn missing_packages() -> Vec<&'static str> {
    packages_without(&PROGRAMS)
}

/// The packages of those programs that are not on the PATH.
pub(crate) fn packages_without(programs: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let mut missing: Vec<_> =
        programs.iter().filter(|(program, _)| !is_here(program)).map(|(_, package)| *package).collect();
    missing.dedup();
    missing
}

impl Registry {
    /// Whether this machine can run one.
    pub fn available() -> Result<(), Missing> {
        let missing = missing_packages();
        if missing.is_empty() { Ok(()) } else { Err(Missing::packages(&missing)) }
    }

    /// Starts an empty registry that knows these users.
    pub async fn start(users: &[Login<'_>]) -> Result<Self> {
        Self::start_with(&Settings { users, ..Settings::default() }).await
    }

    /// Starts an empty registry.
    pub async fn start_with(settings: &Settings<'_>) -> Result<Self> {
        Self::available()?;
        retrying(|| async {
            let home = Home::temporary("imps-registry-")?;
            let [port] = free_ports()?;
            let address = format!("127.0.0.1:{port}");
            let configuration = home.path().join("configuration.json");
            let tokens = settings.tokens.map(|tokens| (tokens, settings.host));
            let files = || ServerFiles::write(&["127.0.0.1"], home.path());
            let files = settings.encrypted.then(files).transpose()?;
            fs::write(&configuration, configuration_of(home.path(), &address, tokens, files.as_ref()))
                .context("cannot write a file")?;
            let arguments = vec!["serve".into(), configuration.into()];
            let daemon = Daemon::new("docker-registry", Path::new("docker-registry"), home.path(), arguments);
            let (gate, name) = match settings.host {
                Some(host) => {
                    let gate = Gate::open(doors(host, &address, settings), home.path()).await?;
                    (Some(gate), host.to_owned())
                }
                None => (None, address.clone()),
            };
            let renames = settings.renames();
            let authority = files.map(|files| files.authority);
            let _janitor = Janitor::watch(home.path())?;
            let registry = Self { gate, daemon, name, renames, authority, _janitor, home };
            match settings.tokens {
                Some(tokens) => write_private(&registry.home.path().join("tokens.crt"), &tokens.certificate)?,
                None => registry.set_users(settings.users)?,
            }
            registry.daemon.start()?;
            registry.daemon.wait_until(READY_WITHIN, "ask for a login", || asks_for_login(&address)).await?;
            Ok(registry)
        })
        .await
    }

    /// The host, with its port if it has one, as it stands before the first slash of an image's name.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.name
    }

    /// The file with the certificate of who vouches for it, when it speaks TLS at its port.
    #[must_use]
    pub fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// What clients in Python want in their environment to reach it by its name.
    #[must_use]
    pub fn environment_for_python(&self) -> Vec<(&'static str, String)> {
        let gate = self.gate.as_ref().map(|gate| {
            let authority = gate.trust().join(gate::AUTHORITY).display().to_string();
            [("HTTPS_PROXY", gate.proxy()), ("REQUESTS_CA_BUNDLE", authority)]
        });
        gate.into_iter().flatten().collect()
    }

    /// Who was let in so far, by the names that the registry has for them: see [`name_of`](Self::name_of). Where a
    /// token service knows the users, it is whom that names in its tokens.
    pub fn let_in(&self) -> Result<BTreeSet<String>> {
        let log = fs::read_to_string(self.daemon.log()).context("cannot read the log of a registry")?;
        Ok(log.lines().filter_map(user_let_in).map(str::to_owned).collect())
    }

    /// Who came for this repository, let in or not, in the order in which they came; who comes several times in a row
    /// counts once. Where a token service knows the users, that is who can tell: [`Clerk::visitors`].
    pub fn visitors(&self, repository: &str) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.daemon.log()).context("cannot read the log of a registry")?;
        let about = format!("vars.name={repository}");
        let lines = log.lines().filter(|line| line.split(' ').any(|word| word == about));
        let mut visitors: Vec<String> = lines
            .filter_map(|line| user_let_in(line).or_else(|| user_refused(line)))
            .map(str::to_owned)
            .collect();
        visitors.dedup();
        Ok(visitors)
    }

    /// The name that the registry has for whoever has this login.
    #[must_use]
    pub fn name_of(&self, login: Login<'_>) -> String {
        if self.renames { gate::user_of(login) } else { login.user.to_owned() }
    }

    /// Where the proxy is that leads to it, and the certificate of who vouches for its name; for a registry that is
    /// reached by one.
    pub(crate) fn way(&self) -> Result<Option<(SocketAddr, String)>> {
        let Some(gate) = &self.gate else { return Ok(None) };
        let authority = fs::read_to_string(gate.trust().join(gate::AUTHORITY));
        Ok(Some((gate.address(), authority.context("cannot read a certificate")?)))
    }

    /// The docker config that holds this login for this registry, as a Secret would.
    #[must_use]
    pub fn docker_config(&self, login: Login<'_>) -> String {
        let auth = STANDARD.encode(format!("{}:{}", login.user, login.password));
        json!({"auths": {&self.name: {"auth": auth}}}).to_string()
    }

    /// Makes a tiny image and pushes it as `image`, which is `repository:tag`.
    pub async fn push_image(&self, image: &str, login: Login<'_>) -> Result<()> {
        self.push(image, Content::Text(image), login).await
    }

    /// Makes an image that runs a static program and pushes it as `image`, which is `repository:tag`. It shares nothing
    /// with images of other names and registries, so that a runtime which has those still has to fetch it.
    pub async fn push_program(&self, image: &str, program: &Path, login: Login<'_>) -> Result<()> {
        let mut program = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        // Kernels do not mind what follows a program.
        program.extend_from_slice(self.reference(image).as_bytes());
        self.push(image, Content::Program(&program), login).await
    }

    async fn push(&self, image: &str, content: Content<'_>, login: Login<'_>) -> Result<()> {
        let layout = self.scratch("image")?;
        image::write_layout(&layout, image, content)?;
        let authfile = self.scratch_file("push.json", &self.docker_config(login))?;
        let target = self.reference(image);
        let source = format!("oci:{}", layout.display());
        match self.skopeo(&["copy".into(), self.trust("dest"), source, target], &authfile).await? {
            Pull::Pulled => Ok(()),
            Pull::Refused(message) => bail!("the registry refused the push of {image}: {message}"),
        }
    }

    /// Pulls `image`, which is `repository:tag`, with the credentials in `authfile` and no others.
    ///
    /// # Errors
    ///
    /// When it fails for another reason than its login: a registry that is gone is not one that refuses.
    pub async fn pull(&self, authfile: &Path, image: &str) -> Result<Pull> {
        self.pull_from(&self.name, authfile, image).await
    }

    /// The same by another name, which clients know to mean the host of this registry: `docker.io` is one.
    pub async fn pull_from(&self, name: &str, authfile: &Path, image: &str) -> Result<Pull> {
        let folder = self.scratch("pulled")?;
        let target = format!("dir:{}", folder.display());
        let arguments = ["copy".into(), self.trust("src"), format!("docker://{name}/{image}"), target];
        let pull = self.skopeo(&arguments, authfile).await;
        fs::remove_dir_all(folder).context("cannot remove what was pulled")?;
        pull
    }

    /// Replaces the users, unless a token service knows them. It holds for the next request: the registry reads the
    /// file anew when it changed.
    pub fn set_users(&self, users: &[Login<'_>]) -> Result<()> {
        // By a rename, so that no request sees half of the file.
        let file = self.scratch_file("htpasswd", &self.htpasswd(users)?)?;
        fs::rename(file, self.home.path().join("htpasswd")).context("cannot replace the users")
    }

    fn reference(&self, image: &str) -> String {
        format!("docker://{}/{image}", self.name)
    }

    fn htpasswd(&self, users: &[Login<'_>]) -> Result<String> {
        let mut lines = String::new();
        for login in users {
            let user = self.name_of(*login);
            let hash = bcrypt::hash(login.password, BCRYPT_COST).context("cannot hash a password")?;
            lines.push_str(&format!("{user}:{hash}\n"));
        }
        Ok(lines)
    }

    /// Which certificates the client takes from the registry at this end of a copy.
    fn trust(&self, end: &str) -> String {
        match &self.gate {
            Some(gate) => format!("--{end}-cert-dir={}", gate.trust().display()),
            None => format!("--{end}-tls-verify=false"),
        }
    }

    /// Runs skopeo with these credentials and no others, and tells a refusal from a failure.
    async fn skopeo(&self, arguments: &[String], authfile: &Path) -> Result<Pull> {
        let mut command = Command::new("skopeo");
        if let Some(gate) = &self.gate {
            command.env("HTTPS_PROXY", gate.proxy()).env_remove("NO_PROXY").env_remove("no_proxy");
        }
        // Which images are to be trusted is the machine's business; ours are made here.
        command.arg("--insecure-policy").args(arguments).arg("--authfile").arg(authfile);
        command.env_remove("REGISTRY_AUTH_FILE").stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("cannot run skopeo")?;
        if output.status.success() {
            return Ok(Pull::Pulled);
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let signs = ["unauthorized", "authentication required", "access denied"];
        if signs.iter().any(|sign| complaint.contains(sign)) {
            return Ok(Pull::Refused(complaint));
        }
        bail!("skopeo {} failed: {complaint}", arguments.join(" "))
    }

    /// A new folder that vanishes with the registry.
    fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.home.path().join("scratch").join(fresh_name(name));
        fs::create_dir_all(&folder).context("cannot make a folder")?;
        Ok(folder)
    }

    fn scratch_file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.scratch("files")?.join(name);
        write_private(&path, text)?;
        Ok(path)
    }
}

/// Whom clients reach by the gate: the registry, with its token service if it has one, and its neighbours.
fn doors(host: &str, registry: &str, settings: &Settings<'_>) -> Vec<Door> {
    let elsewhere = settings.tokens.map(|tokens| (tokens.paths, tokens.address.clone()));
    let renames = settings.renames();
    let mut doors = vec![Door { host: host.to_owned(), server: registry.to_owned(), elsewhere, renames }];
    doors.extend(settings.neighbours.iter().map(|(host, server)| Door {
        host: (*host).to_owned(),
        server: (*server).to_owned(),
        elsewhere: None,
        renames: false,
    }));
    doors
}

/// JSON is YAML, so the registry reads it.
fn configuration_of(
    folder: &Path,
    address: &str,
    tokens: Option<(&TokenService, Option<&str>)>,
    tls: Option<&ServerFiles>,
) -> String {
    let tls = tls.map_or(json!({}), |files| json!({"certificate": files.certificate, "key": files.key}));
    let auth = match tokens {
        Some((tokens, host)) => json!({"token": {
            "realm": format!("{}{}", realm(tokens, host), tokens.paths.first().unwrap_or(&"/")),
            "service": host.unwrap_or(address),
            "issuer": tokens.issuer,
            "rootcertbundle": folder.join("tokens.crt"),
        }}),
        None => json!({"htpasswd": {"realm": "imps", "path": folder.join("htpasswd")}}),
    };
    json!({
        "version": "0.1",
        // Of whom it lets in it tells at this level only.
        "log": {"level": "debug", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": folder.join("storage")}},
        // Relative, because a client may know the registry by another name than the registry does.
        "http": {"addr": address, "secret": fresh_name("secret"), "relativeurls": true, "tls": tls},
        "auth": auth,
    })
    .to_string()
}

/// Where its clients reach a token service.
fn realm(tokens: &TokenService, host: Option<&str>) -> String {
    host.map_or_else(|| format!("http://{}", tokens.address), |host| format!("https://{host}"))
}

/// The user of whom a line of the registry's log says that it was let in.
fn user_let_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(LET_IN)?;
    rest.split(' ').next().map(|name| name.trim_matches('"'))
}

/// The user of whom a line of the registry's log says that it was not.
fn user_refused(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(REFUSED.0)?;
    rest.split(REFUSED.1).next()
}

/// Ready means that it refuses a stranger, or one who does not speak TLS.
async fn asks_for_login(address: &str) -> bool {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(format!("GET /v2/ HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let signs = ["HTTP/1.0 401", "HTTP/1.1 401", "HTTP/1.0 400"];
    ask.await.is_ok_and(|answer| signs.iter().any(|sign| answer.starts_with(sign)))
}
