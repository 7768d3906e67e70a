//! What the page and the screen make of objects.

use super::page::{Leadership, Page};
use super::screen;
use crate::command::manifests;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const NOW: &str = "2026-01-31T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status")
}

fn grants() -> Vec<Value> {
    manifests::read(&[folder().join("several.yaml")]).unwrap()
}

fn lease(renewed: &str, holder: &str) -> Value {
    json!({
        "metadata": {"namespace": "imps-system", "name": "73de1ad9.banzaicloud.io"},
        "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15},
    })
}

/// Compares with a file; `UPDATE_CASES=1` writes it anew, for the diff to be read.
fn golden(name: &str, actual: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn one_screen_shows_all_that_the_statuses_say() {
    let leadership = Leadership::of(&[lease("2026-01-31T11:59:57.000000Z", "imps-controller-1")], now());
    let page = Page::new(&grants(), leadership, now());
    assert!(!page.is_ready());
    golden("several.txt", &screen::render(&page));
    golden("several.json", &format!("{}\n", serde_json::to_string_pretty(&page).unwrap()));
    for text in [screen::render(&page), serde_json::to_string(&page).unwrap()] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn what_is_ready_must_have_been_reported_on_since_the_last_change() {
    let page = |grants: &[Value]| Page::new(grants, Leadership::of(&[], now()), now());
    let ready: Vec<Value> =
        grants().into_iter().filter(|grant| grant["metadata"]["name"] == "cloud").collect();
    assert!(page(&ready).is_ready() && page(&[]).is_ready());
    let mut edited = ready.clone();
    edited[0]["metadata"]["generation"] = json!(3);
    let page = page(&edited);
    assert!(!page.is_ready());
    assert_eq!(
        (page.image_pull_secrets[0].ready.as_str(), page.image_pull_secrets[0].reason.as_str()),
        ("Unknown", "NotSeen")
    );
}

#[test]
fn who_leads_is_told_by_the_lease_that_was_renewed_last() {
    let leases = [lease("2026-01-30T12:00:00Z", "old"), lease("2026-01-31T11:59:50Z", "new")];
    let held = Leadership::of(&leases, now());
    assert_eq!((held.state, held.holder.as_str()), ("held", "new"));
    for (lease, state, words) in [
        (Some(lease("2026-01-31T11:50:00Z", "gone")), "lapsed", "gone renewed the lease"),
        (Some(lease("2026-01-31T11:59:59Z", "")), "free", "was given back"),
        (None, "none", "there is no lease"),
    ] {
        let leases: Vec<Value> = lease.into_iter().collect();
        let leadership = Leadership::of(&leases, now());
        assert_eq!(leadership.state, state);
        let screen = screen::render(&Page::new(&[], leadership, now()));
        assert!(screen.contains(words) && screen.ends_with("no ImagePullSecret\n"), "{screen}");
    }
    let unseen = Leadership::unseen("cannot list leases");
    assert!(
        screen::render(&Page::new(&[], unseen, now()))
            .starts_with("Operator  not known: cannot list leases\n")
    );
}

#[test]
fn only_a_change_is_told_again() {
    let of = |grants: &[Value], leases: &[Value], time: &str| {
        let time = time.parse().unwrap();
        Page::new(grants, Leadership::of(leases, time), time)
    };
    let first = of(&grants(), &[lease("2026-01-31T12:00:00Z", "a")], NOW);
    let later = of(&grants(), &[lease("2026-01-31T12:00:10Z", "a")], "2026-01-31T12:00:12Z");
    assert!(first.says_the_same(&later), "a renewal is no news");
    assert!(!first.says_the_same(&of(&grants(), &[lease("2026-01-31T12:00:00Z", "b")], NOW)));
    assert!(!first.says_the_same(&of(&grants()[1..], &[lease("2026-01-31T12:00:00Z", "a")], NOW)));
    assert!(screen::again(&first, true, true).starts_with("\x1b[H\x1b[2JOperator"));
    assert!(screen::again(&first, true, false).starts_with("\nOperator"));
    assert!(screen::again(&first, false, false).starts_with("Operator"));
}
