//! Source Secrets that say their login themselves: which registries get it, and what is wrong with others.

mod support;

use imps_core::exchange::ExchangeFaultClass;
use imps_core::source::Document;
use imps_registry::read;
use proptest::prelude::*;
use support::{Change, Changes, at, changed, exchanged, flaw, logins, typed};

const HUB: &str = "images.banzaicloud.io/docker-hub";
const PRIVATE: &str = "images.banzaicloud.io/private";
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const OPAQUE: &str = "Opaque";
const USUAL: [(&str, &str); 3] = [("registry", "reg.example"), ("username", "robot"), ("password", "canary")];

fn with(secret_type: &str, changes: &Changes<'_>) -> Document {
    changed(typed(secret_type, &USUAL), changes)
}

fn login(registry: &str, user: &str, password: &str) -> (String, String, String) {
    (registry.into(), user.into(), password.into())
}

#[test]
fn a_login_of_docker_hub_is_for_the_whole_hub() {
    let document = typed(HUB, &[("username", "my-org\n"), ("password", "dckr_oat_x\n")]);
    assert_eq!(logins(&document), [login("docker.io", "my-org", "dckr_oat_x")]);
}

#[test]
fn a_login_is_for_the_registries_that_are_named() {
    for secret_type in [PRIVATE, BASIC_AUTH, OPAQUE] {
        assert_eq!(
            logins(&with(secret_type, &[])),
            [login("reg.example", "robot", "canary")],
            "{secret_type}"
        );
    }
    let many = "https://Reg.example:5000/v2/, reg.example/team\n docker.io,quay.io/org quay.io/org/";
    let registries: Vec<_> = logins(&with(PRIVATE, &[("registry", Some(many))]))
        .into_iter()
        .map(|(registry, ..)| registry)
        .collect();
    assert_eq!(registries, ["docker.io", "quay.io/org", "reg.example/team", "reg.example:5000"]);
}

#[test]
fn passwords_are_kept_as_they_are_but_for_the_line_break_at_their_end() {
    for (written, meant) in [
        ("pässword:with % \"everything\" in it ", "pässword:with % \"everything\" in it "),
        ("password\r\n", "password"),
        (" leading", " leading"),
    ] {
        let document = with(PRIVATE, &[("password", Some(written)), ("username", Some(" robot$team+x\n"))]);
        assert_eq!(logins(&document), [login("reg.example", "robot$team+x", meant)]);
    }
}

#[test]
fn a_login_goes_to_nobody_by_default() {
    for secret_type in [PRIVATE, BASIC_AUTH, OPAQUE] {
        for registry in [None, Some(""), Some(" \n"), Some(",")] {
            let flaw = flaw(&with(secret_type, &[("registry", registry)]));
            assert!(
                flaw.key == "registry" && flaw.problem.contains("add it"),
                "{secret_type} {registry:?}: {flaw}"
            );
        }
    }
}

#[test]
fn an_opaque_secret_is_read_when_it_looks_like_a_login_and_left_to_others_when_not() {
    for key in ["registry", "username", "password"] {
        let document = typed(OPAQUE, &[(key, "canary")]);
        assert!(read(&at(), &document).is_some(), "{key}");
    }
    for key in [".dockerconfigjson", "Password", "user", "tls.key", "key.json", "accessKeyID"] {
        assert!(read(&at(), &typed(OPAQUE, &[(key, "canary")])).is_none(), "{key}");
    }
    assert!(read(&at(), &typed(OPAQUE, &[("", ""); 0])).is_none());
    for secret_type in
        ["", "opaque", "kubernetes.io/ssh-auth", "images.banzaicloud.io/", "images.banzaicloud.io/x"]
    {
        assert!(read(&at(), &with(secret_type, &[])).is_none(), "{secret_type}");
    }
}

#[test]
fn a_flaw_names_the_key_and_quotes_nothing() {
    let many: String = (0..201).map(|n| format!("canary-{n}.example,")).collect();
    let long = "canary".repeat(20_000);
    #[rustfmt::skip]
    let cases: Vec<(&str, Vec<Change<'_>>)> = vec![
        ("registry", vec![("registry", Some("canary:canary@reg.example"))]),
        ("registry", vec![("registry", Some("can ary?x"))]),
        ("registry", vec![("registry", Some("reg.example:canary"))]),
        ("registry", vec![("registry", Some("*.canary.example"))]),
        ("registry", vec![("registry", Some("*"))]),
        ("registry", vec![("registry", Some("reg.example, canary_canary#"))]),
        ("registry", vec![("registry", Some("r\u{e4}gistry.canary"))]),
        ("registry", vec![("registry", Some(&many))]),
        ("username", vec![("username", None)]),
        ("username", vec![("username", Some(" \n"))]),
        ("username", vec![("username", Some("canary:x"))]),
        ("username", vec![("username", Some("can\nary"))]),
        ("password", vec![("password", None)]),
        ("password", vec![("password", Some("\n"))]),
        ("password", vec![("password", Some("can\nary"))]),
        ("password", vec![("password", Some("canary\u{0}"))]),
        ("password", vec![("password", Some(&long))]),
    ];
    for (key, changes) in cases {
        let found = flaw(&with(PRIVATE, &changes));
        assert_eq!(found.key, key, "{:.80}", format!("{changes:?}"));
        if key != "registry" {
            assert_eq!(flaw(&with(HUB, &changes)).key, key);
        }
    }
    let mut document = with(PRIVATE, &[]);
    document.data.insert("password".into(), vec![0xff, b'c'].into());
    assert_eq!(flaw(&document).key, "password");
}

#[tokio::test]
async fn nobody_is_asked_for_a_login() {
    for secret_type in [HUB, PRIVATE] {
        let fault = exchanged(&with(secret_type, &[])).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (ExchangeFaultClass::Denied, "no exchange"));
    }
}

#[test]
fn nothing_that_is_printed_holds_a_login() {
    for secret_type in [HUB, PRIVATE] {
        let document = with(secret_type, &[("username", Some("canary-user"))]);
        let offer = read(&at(), &document).unwrap().unwrap();
        let printed = format!("{document:?} {offer:?} {offer:#?}");
        assert!(!printed.contains("canary"), "{printed}");
    }
}

proptest! {
    #[test]
    fn whatever_is_in_a_secret_reading_it_ends_well(
        secret_type in prop::sample::select(vec![HUB, PRIVATE, BASIC_AUTH, OPAQUE]),
        key in prop::sample::select(vec!["registry", "username", "password"]),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut document = with(secret_type, &[]);
        document.data.insert(key.into(), value.into());
        let read = read(&at(), &document).expect("the type is known");
        prop_assert!(read.is_ok() || read.is_err_and(|flaw| !flaw.key.is_empty()));
    }
}
