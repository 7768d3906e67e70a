//! Cases and laws of parsing and rendering. The laws are about secrecy too: a canary is put wherever a secret
//! can stand, and everything that is returned is printed and searched for it.

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::registry::KeyFault;

const CANARY: &str = "canary8019210420527506405";
const CANARY_NUMBER: u64 = 8_019_210_420_527_506_405;

fn b64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn key(spelling: &str) -> RegistryKey {
    RegistryKey::parse(spelling).unwrap()
}

fn login(username: &str, password: &str) -> Credential {
    Credential { username: username.into(), password: Token::new(password) }
}

fn parse_json(document: &Value) -> Result<Parsed, DocumentFault> {
    parse(Format::DockerConfigJson, document.to_string().as_bytes())
}

/// The login of one entry under a good key, or the fault.
fn entry(entry: Value) -> Result<(String, String), EntryFault> {
    match parse_json(&json!({"auths": {"reg.io": entry}})) {
        Ok(parsed) => {
            let credential = parsed.keyring.get(&key("reg.io")).unwrap();
            Ok((credential.username.clone(), credential.password.reveal().to_owned()))
        }
        Err(DocumentFault::NothingUsable { rejected }) => Err(rejected[0].fault),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_forms_of_a_login_that_the_kubelet_reads_are_read() {
    let long = b64(&format!("u:{}", "p".repeat(100)));
    let (first, second) = long.split_at(76);
    for (document, username, password) in [
        (json!({"username": "u", "password": "p"}), "u", "p"),
        (json!({"Username": "u", "PASSWORD": "p"}), "u", "p"),
        (json!({"auth": b64("u:p")}), "u", "p"),
        (json!({"AUTH": b64("u:p")}), "u", "p"),
        (json!({"auth": b64("U:P"), "username": "u", "password": "p"}), "U", "P"),
        (json!({"auth": "", "username": "u", "password": "p"}), "u", "p"),
        (json!({"auth": null, "username": "u", "password": "p"}), "u", "p"),
        (json!({"auth": BASE64_STANDARD_NO_PAD.encode("u:p2")}), "u", "p2"),
        (json!({"auth": format!("{}\n", b64("u:p2"))}), "u", "p2"),
        (json!({"auth": format!("{first}\r\n{second}")}), "u", &"p".repeat(100)),
        (json!({"auth": b64("u:p:q:")}), "u", "p:q:"),
        (json!({"auth": b64("ü:pä\n")}), "ü", "pä\n"),
        (json!({"username": "u", "password": " p:\n"}), "u", " p:\n"),
        (json!({"username": "u", "password": "p", "email": 7, "identitytoken": "t"}), "u", "p"),
        (json!({"username": "u", "password": "p", "Username": "v"}), "u", "p"),
        // Bits behind the last byte: `dTpR` would be clean, Go does not look.
        (json!({"auth": "dTpwcR=="}), "u", "pq"),
    ] {
        assert_eq!(entry(document.clone()), Ok((username.to_owned(), password.to_owned())), "{document}");
    }
}

#[test]
fn an_entry_that_cannot_be_used_is_refused_with_its_reason() {
    let wrong = |field, kind| EntryFault::WrongType { field, kind };
    for (document, fault) in [
        (json!("dTpw"), EntryFault::NotAnObject(Kind::Text)),
        (json!(["u", "p"]), EntryFault::NotAnObject(Kind::List)),
        (json!(7), EntryFault::NotAnObject(Kind::Number)),
        (json!(null), EntryFault::NotAnObject(Kind::Null)),
        (json!(true), EntryFault::NotAnObject(Kind::Bool)),
        (json!({"username": "u", "password": 7}), wrong("password", Kind::Number)),
        (json!({"username": ["u"], "password": "p"}), wrong("username", Kind::List)),
        (json!({"auth": {"u": "p"}}), wrong("auth", Kind::Object)),
        (json!({"auth": BASE64_URL_SAFE.encode("u:\u{ff}\u{3fff}???>>>")}), EntryFault::AuthUrlSafe),
        (json!({"auth": "u:p"}), EntryFault::AuthNotBase64),
        (json!({"auth": "-+"}), EntryFault::AuthNotBase64),
        (json!({"auth": format!("{} ", b64("u:pw"))}), EntryFault::AuthNotBase64),
        (json!({"auth": "dTpwcQ="}), EntryFault::AuthNotBase64),
        (json!({"auth": "dTpwcQ===="}), EntryFault::AuthNotBase64),
        (json!({"auth": "\n"}), EntryFault::AuthWithoutColon),
        (json!({"auth": b64("up")}), EntryFault::AuthWithoutColon),
        (json!({"auth": b64(&b64("u:p"))}), EntryFault::AuthWithoutColon),
        (json!({"auth": BASE64_STANDARD.encode(b"u:\xff")}), EntryFault::AuthNotText),
        (json!({"identitytoken": "t"}), EntryFault::IdentityTokenOnly),
        (json!({"auth": b64("u:"), "identitytoken": "t"}), EntryFault::IdentityTokenOnly),
        (json!({"registrytoken": "t", "username": "u"}), EntryFault::IdentityTokenOnly),
        (json!({}), EntryFault::NoLogin),
        (json!({"auth": b64(":")}), EntryFault::NoLogin),
        (json!({"identitytoken": ""}), EntryFault::NoLogin),
        (json!({"password": "p"}), EntryFault::NoUsername),
        (json!({"auth": b64(":p")}), EntryFault::NoUsername),
        (json!({"username": "u"}), EntryFault::NoPassword),
        (json!({"auth": b64("u:")}), EntryFault::NoPassword),
        (json!({"username": "u:v", "password": "p"}), EntryFault::UsernameColon),
    ] {
        assert_eq!(entry(document.clone()), Err(fault), "{document}");
    }
}

#[test]
fn a_document_that_cannot_be_used_is_refused_with_its_reason() {
    let config = Format::DockerConfigJson;
    let not_json = |problem, line, column| DocumentFault::NotJson { problem, line, column };
    let large = vec![b' '; MAX_SECRET_BYTES + 1];
    for (format, bytes, fault) in [
        (config, b"".as_slice(), DocumentFault::Empty),
        (config, &large, DocumentFault::TooLarge { bytes: MAX_SECRET_BYTES + 1 }),
        (config, b"{\"a\xff\":1}", DocumentFault::NotText { offset: 3 }),
        (config, b"{\"auths\":", not_json("unexpected end", 1, 9)),
        (config, b"{\n  nonsense}", not_json("syntax error", 2, 3)),
        (config, b"{} {}", not_json("syntax error", 1, 4)),
        (config, b"[]", DocumentFault::NotAnObject(Kind::List)),
        (config, b"null", DocumentFault::NotAnObject(Kind::Null)),
        (config, b"\"e30=\"", DocumentFault::NotAnObject(Kind::Text)),
        (config, b"{}", DocumentFault::NoAuths),
        (config, b"{\"credsStore\":\"desktop\"}", DocumentFault::OnlyHelpers),
        (config, b"{\"credHelpers\":{}}", DocumentFault::OnlyHelpers),
        (config, b"{\"reg.io\":{\"auth\":\"dTpw\"}}", DocumentFault::BareEntries),
        (config, b"{\"auths\":[]}", DocumentFault::AuthsNotAnObject(Kind::List)),
        (config, b"{\"auths\":\"e30=\"}", DocumentFault::AuthsNotAnObject(Kind::Text)),
        (Format::DockerCfg, b"{\"auths\":{\"reg.io\":{\"auth\":\"dTpw\"}}}", DocumentFault::NestedAuths),
        (Format::DockerCfg, b"[]", DocumentFault::NotAnObject(Kind::List)),
    ] {
        assert_eq!(
            parse(format, bytes),
            Err(fault),
            "{:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(60)])
        );
    }
    let entries = ENTRIES_MAX + 1;
    let many: Map<String, Value> =
        (0..entries).map(|n| (format!("{n}.io"), json!({"auth": "dTpw"}))).collect();
    assert_eq!(parse_json(&json!({"auths": many})), Err(DocumentFault::TooManyEntries { entries }));
    let nested = "[".repeat(100_000);
    assert_eq!(parse(config, nested.as_bytes()), Err(not_json("syntax error", 1, 128)));
}

#[test]
fn a_document_without_entries_is_a_will_and_not_a_fault() {
    for (format, text) in [(Format::DockerConfigJson, r#"{"Auths":{}}"#), (Format::DockerCfg, "{}")] {
        let parsed = parse(format, text.as_bytes()).unwrap();
        assert!(parsed.keyring.is_empty() && parsed.rejected.is_empty(), "{text}");
    }
}

#[test]
fn a_bad_entry_does_not_spoil_the_others() {
    let good = json!({"username": "u", "password": "p"});
    let parsed = parse_json(&json!({"auths": {
        "z.io": "nonsense", "reg.io": good, "https://u:hunter2@a.io": {"auth": "?"}, "re g.io": good,
        "reg.io:x": good,
    }}))
    .unwrap();
    assert_eq!(parsed.keyring.registries().collect::<Vec<_>>(), [&key("reg.io")]);
    let rejected: Vec<String> = parsed.rejected.iter().map(Rejected::to_string).collect();
    assert_eq!(
        rejected,
        [
            "registry a.io: auth is not base64",
            "registry re?g.io: the key has a space or a control character in it",
            "registry reg.io:...: the port in the key is not a number from 1 to 65535",
            "registry z.io: the entry is a string, not an object",
        ]
    );
    assert_eq!(parsed.rejected[1].fault, EntryFault::Key(KeyFault::Blank));
    let registries: Vec<_> = parsed.rejected.iter().map(|rejected| rejected.registry.clone()).collect();
    assert_eq!(registries, [Some(key("a.io")), None, None, Some(key("z.io"))]);
    assert!(parsed.rejected[0].fault.remedy().contains("base64 -w0"));
}

#[test]
fn entries_that_are_all_bad_make_a_malformed_document_that_names_the_first() {
    let fault = parse_json(&json!({"auths": {"b.io": {}, "a.io": {"username": "u"}}})).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "none of the 2 entries of the docker config can be used; the first: registry a.io: \
         the entry has a user name but no password"
    );
    assert_eq!(fault.remedy(), "add the password");
}

#[test]
fn the_spelling_that_the_kubelet_would_use_wins_and_the_others_are_reported() {
    let entry = |password| json!({"username": "u", "password": password});
    let parsed = parse_json(&json!({"auths": {
        "Reg.io": entry("dead"), "https://reg.io/v2": entry("dead too"), "https://reg.io": entry("live"),
        "reg.io": entry("second"),
        "https://index.docker.io/v1/": entry("same"), "docker.io": entry("same"),
        "bad.io": "", "https://bad.io": entry("good"),
    }}))
    .unwrap();
    let password = |registry| parsed.keyring.get(&key(registry)).unwrap().password.reveal();
    assert_eq!((password("reg.io"), password("docker.io"), password("bad.io")), ("live", "same", "good"));
    let told: Vec<String> = parsed.respelled.iter().map(Respelled::to_string).collect();
    assert_eq!(
        told,
        [
            "registry docker.io is spelled in 2 ways with the same login; docker.io is used",
            "registry reg.io is spelled in 4 ways with different logins; reg.io is used",
        ]
    );
    assert_eq!(parsed.respelled[1].unused, ["reg.io", "Reg.io", "reg.io/v2"]);
}

#[test]
fn of_a_key_that_stands_there_twice_the_last_counts() {
    let text = r#"{"auths":{"reg.io":{"auth":"?"},"reg.io":{"username":"u","password":"p"}}}"#;
    let parsed = parse(Format::DockerConfigJson, text.as_bytes()).unwrap();
    assert_eq!(parsed.keyring.get(&key("reg.io")), Some(&login("u", "p")));
    assert!(parsed.rejected.is_empty());
}

#[test]
fn what_is_dropped_is_named_if_its_name_is_known_and_counted_if_not() {
    let parsed = parse_json(&json!({
        "auths": {
            "a.io": {"username": "u", "password": "p", "email": "e", "IdentityToken": "t", "hunter2": 1},
            "b.io": {
                "auth": b64("u:p"), "serveraddress": "b.io",
                "registrytoken": "t", "identitytoken": "t", "x": 1,
            },
            "c.io": {"y": 1},
        },
        "credsStore": "desktop", "httpheaders": {"X": "hunter2"}, "hunter2": {}, "hunter3": {},
    }))
    .unwrap();
    let field = |registry, name| Ignored::Field { registry: key(registry), name };
    assert_eq!(
        parsed.ignored,
        [
            Ignored::Setting("credsStore"),
            Ignored::Setting("HttpHeaders"),
            Ignored::UnknownSettings(2),
            field("a.io", "identitytoken"),
            field("b.io", "identitytoken"),
            field("b.io", "registrytoken"),
            Ignored::UnknownFields(2),
        ]
    );
    assert_eq!(parsed.ignored[0].to_string(), "credsStore is ignored: the kubelet does not use it");
}

#[test]
fn the_legacy_format_has_its_entries_at_the_top() {
    let text = json!({"https://reg.io/v1/": {"auth": b64("u:p"), "email": "e"}}).to_string();
    let parsed = parse(Format::DockerCfg, text.as_bytes()).unwrap();
    assert_eq!(parsed.keyring.get(&key("reg.io")), Some(&login("u", "p")));
    assert!(parsed.ignored.is_empty());
}

#[test]
fn the_formats_are_known_by_the_types_of_secrets() {
    for format in [Format::DockerConfigJson, Format::DockerCfg] {
        assert_eq!(Format::from_secret_type(format.secret_type()), Some(format));
        assert_eq!(format.data_key(), format.secret_type().replace("kubernetes.io/", "."));
    }
    assert_eq!(Format::from_secret_type("Opaque"), None);
}

// === render ===

#[test]
fn a_rendered_config_has_sorted_keys_and_all_three_fields() {
    let keyring: Keyring = [
        (key("reg.io"), login("u\"", "p\n")),
        (key("docker.io"), login("hub", "é")),
        (key("a.io:5000/team"), login("u", "p")),
    ]
    .into_iter()
    .collect();
    let payload = render(&keyring).unwrap();
    let expected = concat!(
        r#"{"auths":{"a.io:5000/team":{"username":"u","password":"p","auth":"dTpw"},"#,
        r#""https://index.docker.io/v1/":{"username":"hub","password":"é","auth":"aHViOsOp"},"#,
        r#""reg.io":{"username":"u\"","password":"p\n","auth":"dSI6cAo="}}}"#,
    );
    assert_eq!(std::str::from_utf8(payload.bytes()).unwrap(), expected);
    assert_eq!(payload.digest(), <[u8; 32]>::from(Sha256::digest(expected)));
    assert_eq!(format!("{payload:?} {payload:#?}"), "Payload(..) Payload(..)");
    assert_eq!(render(&keyring), Ok(payload));
}

#[test]
fn a_keyring_without_entries_is_rendered_too() {
    assert_eq!(render(&Keyring::new()).unwrap().bytes(), br#"{"auths":{}}"#);
}

#[test]
fn docker_hub_is_written_twice_when_another_key_would_hide_it() {
    let keys = |registries: &[&str]| -> Vec<String> {
        let keyring: Keyring = registries.iter().map(|raw| (key(raw), login("u", "p"))).collect();
        let document: Value = serde_json::from_slice(render(&keyring).unwrap().bytes()).unwrap();
        document["auths"].as_object().unwrap().keys().cloned().collect()
    };
    let hub = "https://index.docker.io/v1/";
    assert_eq!(keys(&["docker.io", "docker.io/org"]), ["docker.io", "docker.io/org", hub]);
    assert_eq!(keys(&["docker.io", "*.io"]), ["*.io", "docker.io", hub]);
    assert_eq!(keys(&["docker.io", "*.com", "reg.io"]), ["*.com", hub, "reg.io"]);
    assert_eq!(keys(&["docker.io/org"]), ["docker.io/org"]);
}

#[test]
fn what_does_not_fit_into_a_secret_is_not_rendered() {
    let limit = MAX_SECRET_BYTES - RENDER_MARGIN_BYTES;
    let size = |password_bytes: usize| {
        let keyring: Keyring =
            [(key("reg.io"), login("u", &"p".repeat(password_bytes)))].into_iter().collect();
        render(&keyring).map(|payload| payload.bytes().len())
    };
    let fitting = (limit - 66) / 7 * 3;
    assert!(size(fitting).unwrap() > limit - 32);
    let fault = size(fitting + 30).unwrap_err();
    assert!(fault.bytes > limit && fault.entries == 1);
    assert!(fault.to_string().starts_with(&format!("the 1 merged entries make {} bytes", fault.bytes)));
}

// === laws ===

fn any_keyring() -> impl Strategy<Value = Keyring> {
    let registry = prop_oneof![
        "[a-z*]{1,5}\\.(io|com)(:[1-9][0-9]{0,3})?(/(v1|v2|[a-z]{1,3})){0,3}",
        prop::sample::select(vec!["docker.io", "docker.io/org", "[::1]:5000", "*.io"])
            .prop_map(str::to_owned),
    ];
    let username = any::<String>().prop_filter("a user name", |name| !name.is_empty() && !name.contains(':'));
    let password = any::<String>().prop_filter("a password", |password| !password.is_empty());
    let entry = (registry, username, password);
    prop::collection::vec(entry, 0..6).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(registry, user, password)| (key(&registry), login(&user, &password)))
            .collect()
    })
}

/// A value with the canary in it, or one that parsing may stumble over.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(CANARY)),
        Just(json!(b64(&format!("{CANARY}:{CANARY}")))),
        Just(json!(BASE64_STANDARD.encode([CANARY.as_bytes(), b":\xff"].concat()))),
        Just(json!(BASE64_URL_SAFE.encode(format!("{CANARY}:\u{ff}\u{3fff}???>>>")))),
        Just(json!(b64(CANARY))),
        Just(json!(CANARY_NUMBER)),
        Just(json!(null)),
        Just(json!("")),
        Just(json!(true)),
        Just(json!(format!("{CANARY}:"))),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((any_field(), inner), 0..4).prop_map(object),
        ]
    })
}

fn object(entries: Vec<(String, Value)>) -> Value {
    Value::Object(entries.into_iter().collect())
}

fn any_field() -> impl Strategy<Value = String> {
    let known =
        ["username", "Username", "password", "auth", "AUTH", "email", "identitytoken", CANARY, CANARY];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

/// Keys with the canary where a login stands, well formed or not.
fn any_registry() -> impl Strategy<Value = String> {
    let login = prop::sample::select(vec![
        String::new(),
        format!("{CANARY}:{CANARY}@"),
        format!("https://{CANARY}@"),
        format!("https://a/{CANARY}:?{CANARY}@"),
        format!("{CANARY}%40"),
        format!("{CANARY} @#@"),
    ]);
    let host = prop::sample::select(vec![
        "reg.io",
        "re g.io",
        "docker.io",
        "reg.io:x",
        "",
        "reg.io/team",
        "reg.io/%zz",
    ]);
    let tail = prop::sample::select(vec![String::new(), format!("?{CANARY}"), format!(":{CANARY}")]);
    (login, host, tail).prop_map(|(login, host, tail)| [&login, host, &tail].concat())
}

fn any_auths() -> impl Strategy<Value = Value> {
    prop::collection::vec((any_registry(), any_value()), 0..5).prop_map(object)
}

fn any_config() -> impl Strategy<Value = Value> {
    // An object with the canary as a key of its own would show it rightly: there it is the name of a
    // registry.
    let no_auths = any_value().prop_filter("no object", |value| !value.is_object());
    let auths = prop_oneof![4 => any_auths(), 1 => no_auths];
    let settings =
        prop::sample::select(vec!["credsStore", "HttpHeaders", "plugins", CANARY]).prop_map(str::to_owned);
    let settings = prop::collection::vec((settings, any_value()), 0..3);
    (auths, settings).prop_map(|(auths, mut settings)| {
        settings.push(("auths".to_owned(), auths));
        object(settings)
    })
}

/// Everything that a person could get to see of a result.
fn everything_printed(result: &Result<Parsed, DocumentFault>) -> String {
    let mut printed = format!("{result:?} {result:#?}");
    let mut show = |text: String| printed.push_str(&text);
    let rejected = match result {
        Ok(parsed) => {
            parsed.ignored.iter().for_each(|ignored| show(ignored.to_string()));
            parsed.respelled.iter().for_each(|respelled| show(respelled.to_string()));
            parsed.keyring.registries().for_each(|registry| show(format!("{registry} {}", registry.path())));
            parsed.rejected.clone()
        }
        Err(fault) => {
            show(format!("{fault} {}", fault.remedy()));
            match fault {
                DocumentFault::NothingUsable { rejected } => rejected.clone(),
                _ => Vec::new(),
            }
        }
    };
    rejected.iter().for_each(|rejected| show(format!("{rejected} {}", rejected.fault.remedy())));
    printed
}

fn check_no_canary(result: &Result<Parsed, DocumentFault>) -> Result<(), TestCaseError> {
    let printed = everything_printed(result);
    for canary in [CANARY, &CANARY_NUMBER.to_string(), &b64(CANARY)[..20]] {
        prop_assert!(!printed.contains(canary), "{}", printed);
    }
    Ok(())
}

#[test]
fn the_search_for_the_canary_would_find_it() {
    let shown = parse_json(&json!({"auths": {CANARY: {}}}));
    assert!(check_no_canary(&shown).is_err());
}

proptest! {
    #[test]
    fn what_is_rendered_is_parsed_again_as_it_was(keyring in any_keyring()) {
        let payload = render(&keyring).unwrap();
        let parsed = parse(Format::DockerConfigJson, payload.bytes()).unwrap();
        prop_assert_eq!(&parsed.keyring, &keyring);
        prop_assert!(parsed.rejected.is_empty() && parsed.ignored.is_empty());
        prop_assert!(parsed.respelled.iter().all(|respelled| respelled.identical));
        prop_assert_eq!(render(&parsed.keyring).unwrap().digest(), payload.digest());
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), legacy: bool) {
        let format = if legacy { Format::DockerCfg } else { Format::DockerConfigJson };
        prop_assert!(parse(format, &bytes).is_err());
    }

    #[test]
    fn no_value_of_a_config_is_ever_printed(document in any_config()) {
        check_no_canary(&parse_json(&document))?;
    }

    #[test]
    fn no_value_of_a_legacy_config_is_ever_printed(document in any_auths()) {
        check_no_canary(&parse(Format::DockerCfg, document.to_string().as_bytes()))?;
    }

    #[test]
    fn no_value_of_a_broken_config_is_ever_printed(
        document in any_config(), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
    ) {
        let mut bytes = document.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let result = parse(Format::DockerConfigJson, &bytes);
        // A changed byte can turn a login into the name of a registry, and that is shown.
        if matches!(result, Err(ref fault) if !matches!(fault, DocumentFault::NothingUsable { .. })) {
            check_no_canary(&result)?;
        }
    }

    #[test]
    fn the_same_document_gives_the_same_answer(document in any_config()) {
        prop_assert_eq!(parse_json(&document), parse_json(&document.clone()));
    }
}
