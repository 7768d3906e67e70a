//! What source Secrets of Amazon ask for, and what is wrong with those that ask for nothing.

#![cfg(feature = "aws")]

mod support;

use imps_core::exchange::{ExchangeKey, Keyless};
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_registry::{providers, read};
use proptest::prelude::*;
use support::{at, changed, document, flaw, order, order_at, registries};

/// What every Secret here has unless it says otherwise.
const USUAL: [(&str, &str); 4] = [
    ("accessKeyID", "AKIDEXAMPLE"),
    ("secretKey", "canary/secret+key="),
    ("region", "eu-west-1"),
    ("accountID", "123456789012"),
];
const ROLE: &str = "arn:aws:iam::123456789012:role/team/puller";

/// The usual Secret with these values set, or without them where they are none.
fn with(changes: &support::Changes<'_>) -> Document {
    changed(document(&USUAL), changes)
}

type Changes<'a> = Vec<support::Change<'a>>;

#[test]
fn a_secret_as_the_original_operator_reads_it_is_read() {
    let order = order(&with(&[("roleArn", Some(ROLE))]));
    assert_eq!((order.provider, order.lane.as_str(), order.keyless.clone()), ("ecr", "ecr/eu-west-1", None));
    assert_eq!(registries(&order), ["123456789012.dkr.ecr.eu-west-1.amazonaws.com"]);
}

#[test]
fn white_space_around_values_means_nothing() {
    let spaced: Vec<_> = USUAL.map(|(key, value)| (key, format!(" \t{value}\r\n\n"))).to_vec();
    assert_eq!(order(&document(&spaced)), order(&with(&[])));
    assert_eq!(order(&with(&[("roleArn", Some(" \n")), ("fips", Some(""))])), order(&with(&[])));
}

#[test]
fn other_secrets_are_left_to_others() {
    for secret_type in
        ["", "Opaque", "kubernetes.io/dockerconfigjson", "banzaicloud.io/aws-ecr-login-config "]
    {
        let document = Document { secret_type: secret_type.into(), ..with(&[]) };
        assert!(read(&at(), &document).is_none(), "{secret_type}");
    }
    for provider in
        providers().iter().filter(|provider| provider.secret_types().contains(&support::SECRET_TYPE))
    {
        let public = provider.name() == "ecr-public";
        assert_eq!(provider.read(&at(), &with(&[])).is_none(), public);
        assert_eq!(provider.read(&at(), &with(&[("accountID", Some("public"))])).is_some(), public);
    }
}

#[test]
fn the_hosts_follow_region_accounts_and_switches() {
    let china = with(&[("region", Some("cn-north-1"))]);
    assert_eq!(registries(&order(&china)), ["123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"]);
    let more = with(&[
        ("accountIDs", Some("111111111111, 222222222222\n123456789012")),
        (
            "hosts",
            Some("333333333333.DKR.ecr-fips.eu-west-1.amazonaws.com,123456789012.dkr-ecr.eu-west-1.on.aws"),
        ),
    ]);
    assert_eq!(
        registries(&order(&more)),
        [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "111111111111.dkr.ecr.eu-west-1.amazonaws.com",
            "222222222222.dkr.ecr.eu-west-1.amazonaws.com",
            "333333333333.dkr.ecr-fips.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
        ]
    );
    let switched =
        with(&[("region", Some("us-east-1")), ("fips", Some("true")), ("dualStack", Some("True"))]);
    assert_eq!(
        registries(&order(&switched)),
        [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr-ecr.us-east-1.on.aws",
            "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com",
            "123456789012.dkr-ecr-fips.us-east-1.on.aws",
        ]
    );
}

#[test]
fn the_public_gallery_has_its_own_order() {
    let public = order(&with(&[("accountID", Some(" public\n")), ("region", None)]));
    assert_eq!((public.provider, public.lane.as_str()), ("ecr-public", "ecr-public"));
    assert_eq!(registries(&public), ["public.ecr.aws"]);
    let both = order(&with(&[("accountID", Some("public")), ("dualStack", Some("true"))]));
    assert_eq!(registries(&both), ["public.ecr.aws", "ecr-public.aws.com"]);
    assert_ne!(public.key, order(&with(&[])).key);
}

#[test]
fn without_keys_another_identity_is_meant() {
    let none = [("accessKeyID", None), ("secretKey", None)];
    assert_eq!(order(&with(&none)).keyless, Some(Keyless::Ambient));
    let account = [none[0], none[1], ("serviceAccountName", Some("puller")), ("roleArn", Some(ROLE))];
    let document = with(&account);
    assert_eq!(order(&document).keyless, Some(Keyless::ServiceAccount("puller".into())));
    let elsewhere = SecretRef::new("other", "ecr");
    let other = order_at(&elsewhere, &document);
    assert_ne!(other.key, order(&document).key, "the name means another ServiceAccount there");
}

#[test]
fn an_own_endpoint_has_a_lane_of_its_own() {
    let order = order(&with(&[("endpoint", Some("https://vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com"))]));
    assert_eq!(order.lane, "ecr/eu-west-1/vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com");
}

#[test]
fn a_flaw_names_the_key_and_quotes_nothing() {
    let two = format!("{ROLE},{ROLE}");
    let five = [ROLE; 5].join(" ");
    let long = "a".repeat(2000);
    let role = ("roleArn", Some(ROLE));
    let (no_id, no_secret) = (("accessKeyID", None), ("secretKey", None));
    let account = ("serviceAccountName", Some("canary"));
    let accounts: String = (0..201).map(|n| format!("{n:012},")).collect();
    #[rustfmt::skip]
    let cases: Vec<(&str, Changes)> = vec![
        ("region", vec![("region", None)]),
        ("region", vec![("region", Some("canary"))]),
        ("region", vec![("region", Some("eu-west-1 eu-west-2"))]),
        ("region", vec![("region", Some("cn-north-1")), ("accountID", Some("public"))]),
        ("accountID", vec![("accountID", None)]),
        ("accountID", vec![("accountID", Some("canary"))]),
        ("accountID", vec![("accountID", Some("1234567890123"))]),
        ("accountIDs", vec![("accountIDs", Some("111111111111,canary"))]),
        ("accountIDs", vec![("accountIDs", Some(&accounts))]),
        ("accountIDs", vec![("accountIDs", Some("111111111111")), ("accountID", Some("public"))]),
        ("accessKeyID", vec![no_id]),
        ("accessKeyID", vec![("accessKeyID", Some(""))]),
        ("accessKeyID", vec![("accessKeyID", Some("")), ("secretKey", Some(""))]),
        ("accessKeyID", vec![("accessKeyID", Some("can/ary"))]),
        ("accessKeyID", vec![("accessKeyID", Some(&long))]),
        ("secretKey", vec![no_secret]),
        ("secretKey", vec![("secretKey", Some("\n"))]),
        ("secretKey", vec![("secretKey", Some("canary\u{1}"))]),
        ("secretKey", vec![("secretKey", Some("canary\u{e4}"))]),
        ("secretKey", vec![("secretKey", Some("canary canary"))]),
        ("sessionToken", vec![no_id, no_secret, ("sessionToken", Some("canary"))]),
        ("roleArn", vec![("roleArn", Some("canary"))]),
        ("roleArn", vec![("roleArn", Some("arn:aws:iam::123456789012:user/canary"))]),
        ("roleArn", vec![("roleArn", Some("arn:aws:iam::canary:role/x"))]),
        ("roleArn", vec![("roleArn", Some("arn:aws:iam::123456789012:role/"))]),
        ("roleArn", vec![("roleArn", Some("arn:aws-cn:iam::123456789012:role/x"))]),
        ("roleArn", vec![("roleArn", Some(&five))]),
        ("roleArn", vec![no_id, no_secret, account]),
        ("externalID", vec![("externalID", Some("canary"))]),
        ("externalID", vec![role, ("externalID", Some("x"))]),
        ("externalID", vec![role, ("externalID", Some("canary;"))]),
        ("externalID", vec![no_id, no_secret, account, role, ("externalID", Some("canary"))]),
        ("roleSessionName", vec![role, ("roleSessionName", Some("x"))]),
        ("roleSessionName", vec![role, ("roleSessionName", Some("canary/"))]),
        ("durationSeconds", vec![("durationSeconds", Some("900"))]),
        ("durationSeconds", vec![role, ("durationSeconds", Some("899"))]),
        ("durationSeconds", vec![role, ("durationSeconds", Some("43201"))]),
        ("durationSeconds", vec![role, ("durationSeconds", Some("+900"))]),
        ("durationSeconds", vec![role, ("durationSeconds", Some("1h"))]),
        ("durationSeconds", vec![("roleArn", Some(&two)), ("durationSeconds", Some("3601"))]),
        ("serviceAccountName", vec![account, role]),
        ("serviceAccountName", vec![no_id, no_secret, role, ("serviceAccountName", Some("Canary"))]),
        ("fips", vec![("fips", Some("canary"))]),
        ("fips", vec![("fips", Some("true")), ("accountID", Some("public"))]),
        ("dualStack", vec![("dualStack", Some("1"))]),
        ("dualStack", vec![("dualStack", Some("true")), ("region", Some("us-iso-east-1"))]),
        ("endpoint", vec![("endpoint", Some("http://canary.example"))]),
        ("endpoint", vec![("endpoint", Some("https://canary:x@127.0.0.1"))]),
        ("stsEndpoint", vec![("stsEndpoint", Some("canary"))]),
        ("endpoint", vec![no_id, no_secret, ("endpoint", Some("https://canary.example"))]),
        ("endpoint", vec![no_id, no_secret, ("endpoint", Some("https://sts.eu-west-1.amazonaws.com"))]),
        ("stsEndpoint", vec![no_id, no_secret, account, role, ("stsEndpoint", Some("https://canary.example"))]),
        ("stsEndpoint", vec![no_id, no_secret, account, role,
            ("stsEndpoint", Some("https://canary.execute-api.eu-west-1.amazonaws.com"))]),
        ("hosts", vec![("hosts", Some("canary.example"))]),
        ("hosts", vec![("hosts", Some("123456789012.dkr.ecr.eu-west-2.amazonaws.com"))]),
        ("hosts", vec![("hosts", Some("public.ecr.aws")), ("accountID", Some("public"))]),
    ];
    for (key, changes) in cases {
        let flaw = flaw(&with(&changes));
        assert_eq!(flaw.key, key, "{changes:?}: {flaw}");
    }
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let chain = format!(" {ROLE},\n{ROLE}-b,arn:aws:iam::123456789012:role/with,comma ");
    let own = [
        ("accessKeyID", None),
        ("secretKey", None),
        ("serviceAccountName", Some("puller")),
        ("roleArn", Some(ROLE)),
    ];
    #[rustfmt::skip]
    let cases: Vec<Changes> = vec![
        vec![("roleArn", Some(&chain)), ("externalID", Some("a:b/c")), ("durationSeconds", Some("3600"))],
        vec![("roleArn", Some(ROLE)), ("durationSeconds", Some("43200")), ("roleSessionName", Some("imps@a.b"))],
        vec![("sessionToken", Some("abc//+=="))],
        vec![("endpoint", Some("https://ecr.example.com:8443")), ("stsEndpoint", Some("http://127.0.0.1:1"))],
        vec![("fips", Some("false")), ("dualStack", Some("FALSE"))],
        [&own[..], &[("stsEndpoint", Some("https://vpce-1.sts.eu-west-1.vpce.amazonaws.com"))]].concat(),
        [&own[..], &[("endpoint", Some("https://api.ecr.eu-west-1.amazonaws.com"))]].concat(),
        vec![("region", Some("eusc-de-east-1")), ("roleArn", Some("arn:aws-eusc:iam::123456789012:role/x"))],
        vec![("accountID", Some("public")), ("roleArn", Some(ROLE)), ("region", Some("eu-west-1"))],
    ];
    for changes in cases {
        order(&with(&changes));
    }
}

#[test]
fn all_that_decides_what_a_token_may_do_is_in_its_key_and_nothing_else() {
    let base = [("roleArn", Some(ROLE)), ("externalID", Some("ext"))];
    let key = |changes: &[(&'static str, Option<&str>)]| order(&with(&[&base[..], changes].concat())).key;
    let usual = key(&[]);
    let chain = format!("{ROLE} {ROLE}");
    for change in [
        ("accessKeyID", Some("AKIDOTHER")),
        ("secretKey", Some("other")),
        ("sessionToken", Some("other")),
        ("region", Some("eu-west-2")),
        ("roleArn", Some(chain.as_str())),
        ("externalID", Some("other")),
        ("roleSessionName", Some("other")),
        ("durationSeconds", Some("900")),
        ("fips", Some("true")),
        ("dualStack", Some("true")),
        ("endpoint", Some("https://ecr.example.com")),
        ("stsEndpoint", Some("https://sts.example.com")),
    ] {
        assert_ne!(key(&[change]), usual, "{change:?}");
    }
    for change in [
        ("accountID", Some("210987654321")),
        ("accountIDs", Some("111111111111")),
        ("hosts", Some("111111111111.dkr.ecr.eu-west-1.amazonaws.com")),
        ("roleSessionName", Some("imps")),
        ("fips", Some("false")),
        ("somethingElse", Some("x")),
    ] {
        assert_eq!(key(&[change]), usual, "{change:?}");
    }
    let ambient = with(&[("accessKeyID", None), ("secretKey", None)]);
    let there = SecretRef::new("other", "name");
    let other = order_at(&there, &ambient);
    assert_eq!(other.key, order(&ambient).key, "the identity of imps is one wherever it is asked for");
}

#[test]
fn every_key_that_is_documented_is_read() {
    for key in providers()[0].data_keys() {
        let mut document = with(&[("roleArn", Some(ROLE))]);
        document.data.insert(key.name.into(), vec![0xff].into());
        assert_eq!(flaw(&document).key, key.name, "{}", key.meaning);
        let mut document = with(&[]);
        document.data.remove(key.name);
        let needed = read(&at(), &document).expect("the type is known").is_err();
        let pair = ["accessKeyID", "secretKey"].contains(&key.name);
        assert_eq!(needed, key.required || pair, "{}", key.name);
    }
}

#[test]
fn nothing_that_is_printed_holds_a_value() {
    let document = with(&[("sessionToken", Some("canary"))]);
    let printed = format!("{document:?} {:?} {:#?}", order(&document), order(&document));
    assert!(!printed.contains("canary") && !printed.contains("AKID"), "{printed}");
}

proptest! {
    #[test]
    fn knowing_the_access_key_id_alone_never_gives_the_key(a in "[!-~]{1,40}", b in "[!-~]{1,40}") {
        let key = |secret: &str| -> ExchangeKey { order(&with(&[("secretKey", Some(secret))])).key };
        prop_assert_eq!(key(&a) == key(&b), a == b);
        let split = |session: &str, secret: &str| {
            order(&with(&[("secretKey", Some(secret)), ("sessionToken", Some(session))])).key
        };
        prop_assert_eq!(split(&a, &b) == split(&b, &a), a == b);
    }

    #[test]
    fn whatever_is_in_a_secret_reading_it_ends_well(
        key in prop::sample::select(providers()[0].data_keys()),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut document = with(&[("roleArn", Some(ROLE))]);
        document.data.insert(key.name.into(), value.into());
        if let Err(flaw) = read(&at(), &document).expect("the type is known") {
            prop_assert_eq!(flaw.key.is_empty(), false);
        }
    }
}
