//! Pull secrets as they are found on clusters, each with what the kubelet makes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imps_core::diagnosis::Code;
use imps_core::dockerconfig::Format;
use imps_testbed::Login;
use serde_json::{Value, json};

/// A registry with the name of a host.
pub(crate) const COMPANY: &str = "registry.company.example";

/// Who is let in.
pub(crate) const ANN: Login<'static> = Login { user: "ann", password: "made-up" };
/// At the registry with a token service, who is known and has no right.
pub(crate) const BOB: Login<'static> = Login { user: "bob", password: "also-made-up" };
/// Who is not.
const EVE: Login<'static> = Login { user: "eve", password: "unknown" };
const MAL: Login<'static> = Login { user: "mal", password: "unknown-too" };
const STALE: Login<'static> = Login { user: "ann", password: "of-last-year" };

const HUB: &str = "https://index.docker.io/v1/";

/// A pod and what it is given.
pub(crate) struct Row {
    /// Of the pod and of its namespace.
    pub(crate) name: &'static str,
    pub(crate) image: String,
    pub(crate) list: List,
    pub(crate) secrets: Vec<Pull>,
    /// The logins that are tried, in this order, until one is let in.
    pub(crate) tries: Vec<Login<'static>>,
    /// Whether they stand in one Secret under two spellings of one name, of which the kubelet takes any first.
    pub(crate) in_any_order: bool,
    pub(crate) outcome: Outcome,
}

/// Where the names of the Secrets stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    /// In the ServiceAccount, from which the pod has them.
    Account,
    /// In the ServiceAccount, but only since the pod was made.
    Late,
    /// The last one in the pod, and the others in the ServiceAccount.
    Own,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Pulled,
    /// What the kubelet's words mean, and what is the reason.
    Failed(Code, Code),
}

/// A Secret, unless it has no type: then it is missing.
pub(crate) struct Pull {
    pub(crate) secret_type: &'static str,
    /// Its data, by their keys.
    pub(crate) says: Value,
    /// Whose login is under a key of the docker config, for those that are tried.
    pub(crate) logins: Vec<(String, Login<'static>)>,
}

/// All of them. Both are addresses: of a registry at a port, and of one with a token service.
pub(crate) fn rows(port: &str, tokens: &str) -> Vec<Row> {
    let mut rows = spellings(port);
    rows.extend(places(port));
    rows.extend(orders(port));
    rows.extend(entries(port));
    rows.extend(secrets(port));
    rows.extend(hosts());
    rows.extend(docker_hub());
    rows.extend(token_service(tokens));
    rows
}

/// How a key is written.
fn spellings(at: &str) -> Vec<Row> {
    let one = |name, key: String| row(name, format!("{at}/{name}/app:1"), vec![config(&[(&key, ANN)])]);
    vec![
        one("exact", at.to_owned()).pulls(&[ANN]),
        one("https", format!("https://{at}")).pulls(&[ANN]),
        one("http", format!("http://{at}")).pulls(&[ANN]),
        one("slash", format!("{at}/")).pulls(&[ANN]),
        one("v1", format!("https://{at}/v1/")).pulls(&[ANN]),
        one("v2", format!("{at}/v2/")).pulls(&[ANN]),
        one("v2-path", format!("https://{at}/v2/v2-path")).pulls(&[ANN]),
        one("user-in-key", format!("https://somebody@{at}")).pulls(&[ANN]),
        one("no-slash", format!("https://{at}/v2")).offers_nothing(Code::MissSpelling),
        one("other-scheme", format!("oci://{at}")).offers_nothing(Code::MissSpelling),
    ]
}

/// What a key is for.
fn places(at: &str) -> Vec<Row> {
    let (host, port) = at.split_once(':').unwrap_or((at, ""));
    let one = |name, key: String| row(name, format!("{at}/{name}/app:1"), vec![config(&[(&key, ANN)])]);
    vec![
        one("no-port", host.to_owned()).offers_nothing(Code::MissPort),
        one("other-port", format!("{host}:1")).offers_nothing(Code::MissPort),
        one("port-star", format!("{host}:*")).offers_nothing(Code::NoMatch),
        one("path", format!("{at}/path")).pulls(&[ANN]),
        one("path-whole", format!("{at}/path-whole/app")).pulls(&[ANN]),
        // Not one of whole segments.
        one("teamwork", format!("{at}/team")).pulls(&[ANN]),
        one("path-slash", format!("{at}/path-slash/")).pulls(&[ANN]),
        one("path-other", format!("{at}/team/app")).offers_nothing(Code::MissPath),
        one("path-below", format!("{at}/path-below/app/")).offers_nothing(Code::MissSpelling),
        one("path-star", format!("{at}/*")).offers_nothing(Code::MissPath),
        one("star", format!("*.0.0.1:{port}")).pulls(&[ANN]),
        one("star-within", format!("12*.0.*.1:{port}")).pulls(&[ANN]),
        one("star-too-wide", format!("*.1:{port}")).offers_nothing(Code::MissHostParts),
        one("star-too-long", format!("*.*.0.0.1:{port}")).offers_nothing(Code::MissHostParts),
        one("elsewhere", "registry.example".to_owned()).offers_nothing(Code::NoMatch),
    ]
}

/// Which of several is first.
fn orders(at: &str) -> Vec<Row> {
    let port = at.split_once(':').map_or("", |(_, port)| port);
    let image = |name| format!("{at}/{name}/app:1");
    let one = |login| config(&[(at, login)]);
    let longer = |name| [format!("{at}/{name}"), format!("{at}/{name}/app")];
    let [path, whole] = longer("longer-first");
    let [long, _] = longer("longer-in-later");
    let stars = [format!("127.*.0.1:{port}"), format!("*.0.0.1:{port}")];
    vec![
        row("longer-first", image("longer-first"), vec![config(&[(at, ANN), (&path, MAL), (&whole, EVE)])])
            .pulls(&[EVE, MAL, ANN]),
        row("longer-in-later", image("longer-in-later"), vec![one(EVE), config(&[(&long, MAL)]), one(ANN)])
            .pulls(&[MAL, EVE, ANN]),
        row("star-last", image("star-last"), vec![config(&[(&stars[1], ANN), (&stars[0], MAL), (at, EVE)])])
            .pulls(&[EVE, MAL, ANN]),
        row("pod-order", image("pod-order"), vec![one(EVE), one(MAL), one(ANN)]).pulls(&[EVE, MAL, ANN]),
        row("pod-order-turned", image("pod-order-turned"), vec![one(MAL), one(EVE)]).refused_as(&[MAL, EVE]),
        row("first-is-enough", image("first-is-enough"), vec![one(ANN), one(EVE)]).pulls(&[ANN, EVE]),
        Row {
            in_any_order: true,
            ..row(
                "two-spellings",
                image("two-spellings"),
                vec![config(&[(&format!("{at}/"), EVE), (&format!("https://{at}"), MAL)])],
            )
            .refused_as(&[EVE, MAL])
        },
        // The last one of equal keys, as in every document.
        row(
            "key-twice",
            image("key-twice"),
            vec![Pull {
                logins: vec![(at.to_owned(), ANN)],
                ..written(format!(
                    r#"{{"auths": {{"{at}": {{"auth": "{}"}}, "{at}": {{"auth": "{}"}}}}}}"#,
                    auth(EVE),
                    auth(ANN)
                ))
            }],
        )
        .pulls(&[ANN]),
    ]
}

/// What an entry holds.
fn entries(at: &str) -> Vec<Row> {
    let one = |name, entry: Value| row(name, format!("{at}/{name}/app:1"), vec![entry_for(at, entry)]);
    let fields = |login: Login<'_>| json!({"username": login.user, "password": login.password});
    let mut both = fields(EVE);
    both["auth"] = auth(ANN).into();
    let mut capitals = json!({"AUTH": auth(ANN)});
    capitals["Email"] = "ann@company.example".into();
    let unpadded = auth(ANN).trim_end_matches('=').to_owned();
    let not_text = STANDARD.encode(b"ann:\xff");
    let good = || config(&[(at, ANN)]);
    let bad = |entry: Value| written(json!({"auths": {"registry.example": entry}}).to_string());
    let beside = |name, entry: Value| row(name, format!("{at}/{name}/app:1"), vec![good(), bad(entry)]);
    vec![
        one("fields", fields(ANN)).pulls(&[ANN]),
        one("auth-wins", both).pulls(&[ANN]),
        one("field-names", capitals).pulls(&[ANN]),
        one("unpadded", json!({"auth": unpadded})).pulls(&[ANN]),
        one("stale", json!({"auth": auth(STALE)})).refused_as(&[STALE]),
        row("stale-first", format!("{at}/stale-first/app:1"), vec![config(&[(at, STALE)]), good()])
            .pulls(&[STALE, ANN]),
        one("empty-entry", json!({})).offers_nothing(Code::NoLogin),
        one("empty-auth", json!({"auth": ""})).offers_nothing(Code::NoLogin),
        one("identity-token", json!({"identitytoken": "made-up"})).offers_nothing(Code::NoLogin),
        one("not-text", json!({"auth": not_text})).fails(&[], Code::NoLogin, Code::NoLogin),
        row(
            "not-text-first",
            format!("{at}/not-text-first/app:1"),
            vec![entry_for(at, json!({"auth": not_text})), good()],
        )
        .pulls(&[ANN]),
        one("no-colon", json!({"auth": STANDARD.encode("ann")})).spoils(),
        one("not-base64", json!({"auth": "?"})).spoils(),
        beside("no-colon-beside", json!({"auth": STANDARD.encode("ann")})).spoils(),
        beside("not-base64-beside", json!({"auth": "*"})).spoils(),
        beside("text-beside", json!("ann")).spoils(),
        beside("number-beside", json!({"password": 7})).spoils(),
    ]
}

/// What kind of Secret it is, and where it is named.
fn secrets(at: &str) -> Vec<Row> {
    let image = |name| format!("{at}/{name}/app:1");
    let one = |name, pull| row(name, image(name), vec![pull]);
    let good = || config(&[(at, ANN)]);
    let legacy = Format::DockerCfg;
    let content = json!({at: {"auth": auth(ANN)}}).to_string();
    let old = Pull {
        secret_type: legacy.secret_type(),
        says: json!({legacy.data_key(): content}),
        logins: vec![(at.to_owned(), ANN)],
    };
    let opaque = Pull { secret_type: "Opaque", ..good() };
    let missing = || Pull { secret_type: "", ..good() };
    let helpers = json!({"auths": {}, "credHelpers": {at: "ecr-login"}});
    vec![
        one("dockercfg", old).pulls(&[ANN]),
        one("opaque", opaque).offers_nothing(Code::SecretType),
        one("no-auths", written(content)).offers_nothing(Code::SecretEmpty),
        one("empty-auths", written(json!({"auths": {}}).to_string())).offers_nothing(Code::SecretEmpty),
        one("helpers", written(helpers.to_string())).offers_nothing(Code::SecretHelpers),
        one("missing", missing()).offers_nothing(Code::SecretMissing),
        row("missing-first", image("missing-first"), vec![missing(), good()]).pulls(&[ANN]),
        row("none", image("none"), Vec::new()).offers_nothing(Code::NoReferences),
        Row { list: List::Late, ..one("late", good()).offers_nothing(Code::AccountNewer) },
        Row {
            list: List::Own,
            ..row("own", image("own"), vec![good(), config(&[("registry.example", EVE)])])
                .offers_nothing(Code::OwnList)
        },
        Row {
            list: List::Own,
            ..row("own-wins", image("own-wins"), vec![config(&[(at, EVE)]), good()]).pulls(&[ANN])
        },
    ]
}

/// Names of hosts, whose registry is at the usual port.
fn hosts() -> Vec<Row> {
    let one = |name, key: &str| row(name, format!("{COMPANY}/{name}/app:1"), vec![config(&[(key, ANN)])]);
    vec![
        one("host", COMPANY).pulls(&[ANN]),
        one("host-star", "*.company.example").pulls(&[ANN]),
        one("host-capitals", "Registry.Company.Example").offers_nothing(Code::MissSpelling),
        one("host-443", &format!("{COMPANY}:443")).offers_nothing(Code::MissPort),
        one("host-above", "company.example").offers_nothing(Code::MissHostParts),
        one("host-star-above", "*.example").offers_nothing(Code::MissHostParts),
    ]
}

fn docker_hub() -> Vec<Row> {
    let one = |name, image: &str, key: &str| row(name, image.to_owned(), vec![config(&[(key, ANN)])]);
    let both =
        |name, image: &str, key: &str| row(name, image.to_owned(), vec![config(&[(HUB, ANN), (key, EVE)])]);
    vec![
        one("hub", "hub/app:1", HUB).pulls(&[ANN]),
        one("hub-library", "hub-library:1", HUB).pulls(&[ANN]),
        one("hub-host", "docker.io/hub-host/app:1", "docker.io").pulls(&[ANN]),
        one("hub-v2", "hub-v2/app:1", "https://index.docker.io/v2/").pulls(&[ANN]),
        one("hub-old-image", "index.docker.io/hub-old-image/app:1", "docker.io").pulls(&[ANN]),
        one("hub-no-slash", "hub-no-slash/app:1", "https://index.docker.io/v1").offers_nothing(Code::MissHub),
        one("hub-server", "hub-server/app:1", "registry-1.docker.io").offers_nothing(Code::MissHub),
        one("hub-path", "hub-path/app:1", "index.docker.io/hub-path").offers_nothing(Code::MissHub),
        // What matches keeps the other from being fallen back to.
        both("hub-no-fall-back", "hub-no-fall-back/app:1", "docker.io/hub-no").refused_as(&[EVE]),
        both("hub-fall-back", "hub-fall-back/app:1", "docker.io/other").pulls(&[ANN]),
    ]
}

/// A registry that sends its clients to a token service.
fn token_service(at: &str) -> Vec<Row> {
    let one = |name, logins: &[Login<'static>]| {
        let secrets = logins.iter().map(|login| config(&[(at, *login)])).collect();
        row(name, format!("{at}/{name}/app:1"), secrets)
    };
    vec![
        one("token", &[ANN]).pulls(&[ANN]),
        one("token-refused", &[EVE]).fails(&[EVE], Code::CredentialRefused, Code::CredentialRefused),
        one("token-no-right", &[BOB]).fails(&[BOB], Code::NotFoundOrDenied, Code::NotFoundOrDenied),
        one("token-several", &[EVE, BOB, ANN]).pulls(&[EVE, BOB, ANN]),
        one("token-none", &[]).fails(&[], Code::NotFoundOrDenied, Code::NotFoundOrDenied),
    ]
}

// === how they are written ===

fn row(name: &'static str, image: String, secrets: Vec<Pull>) -> Row {
    let (tries, outcome) = (Vec::new(), Outcome::Pulled);
    Row { name, image, list: List::Account, secrets, tries, in_any_order: false, outcome }
}

impl Row {
    fn pulls(self, tries: &[Login<'static>]) -> Self {
        Self { tries: tries.to_vec(), ..self }
    }

    fn fails(self, tries: &[Login<'static>], heard: Code, verdict: Code) -> Self {
        Self { tries: tries.to_vec(), outcome: Outcome::Failed(heard, verdict), ..self }
    }

    /// It is refused as whom it comes.
    fn refused_as(self, tries: &[Login<'static>]) -> Self {
        self.fails(tries, Code::Unauthorized, Code::Unauthorized)
    }

    /// It comes as nobody, for this reason.
    fn offers_nothing(self, verdict: Code) -> Self {
        self.fails(&[], Code::Unauthorized, verdict)
    }

    /// It does not come at all.
    fn spoils(self) -> Self {
        self.fails(&[], Code::SecretUndecodable, Code::SecretUndecodable)
    }
}

fn config(logins: &[(&str, Login<'static>)]) -> Pull {
    let auths: serde_json::Map<String, Value> =
        logins.iter().map(|(key, login)| ((*key).to_owned(), json!({"auth": auth(*login)}))).collect();
    let logins = logins.iter().map(|(key, login)| ((*key).to_owned(), *login)).collect();
    Pull { logins, ..written(json!({"auths": auths}).to_string()) }
}

/// With one entry. Whatever it holds, it can only be Ann's, or Ann's of last year.
fn entry_for(key: &str, entry: Value) -> Pull {
    let stale = entry["auth"] == auth(STALE).as_str();
    let logins = vec![(key.to_owned(), if stale { STALE } else { ANN })];
    Pull { logins, ..written(json!({"auths": {key: entry}}).to_string()) }
}

fn written(text: String) -> Pull {
    let format = Format::DockerConfigJson;
    Pull { secret_type: format.secret_type(), says: json!({format.data_key(): text}), logins: Vec::new() }
}

fn auth(login: Login<'_>) -> String {
    STANDARD.encode(format!("{}:{}", login.user, login.password))
}
