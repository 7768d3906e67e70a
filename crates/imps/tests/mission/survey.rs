//! `imps tree` and `imps report` at a cluster with a real operator: what they say of all namespaces, to somebody who
//! may read all of it, or little, and what that costs the API server.

use imps_api::keys;
use imps_core::dockerconfig::Format;
use imps_testbed::manifest;
use serde_json::{Value, json};

use super::diagnose::{account, everything, waiting_pod};
use super::read::docker_config;
use super::reader::{Reader, rule, said};
use super::stage::Solo;
use super::wait::say;

const HOST: &str = "reg.example";
const LOGIN: (&str, &str) = ("canary-user", "canary-password");
const ANONYMOUS: &str =
    "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized";

/// How many namespaces have the Secret.
const PLACES: usize = 12;

#[tokio::test]
async fn a_whole_cluster_is_shown_with_few_requests_and_what_may_not_be_read_is_said_in_its_place() {
    let Some(solo) = Solo::open(&[]).await else { return };
    let scene = &solo.scene;
    let labels = json!({"labels": {"team": scene.id}});
    let mut places = Vec::new();
    for index in 0..PLACES {
        places.push(scene.namespace(&format!("place{index}"), labels.clone()).await);
    }
    let taken = scene.namespace("taken", labels).await;
    let content = docker_config(&[(HOST, LOGIN)]);
    let format = Format::DockerConfigJson;
    let data = [(format.data_key(), content.as_bytes())];
    scene.put_secret(&taken, &scene.secret, format.secret_type(), &data, json!({})).await;
    scene.source("hub", &[(HOST, LOGIN)]).await;
    let target = json!({"namespaces": {"labels": [{"matchLabels": {"team": scene.id}}]}});
    let grant = scene.grant("g", &["hub"], target).await;
    scene
        .status(&grant, "one of them is somebody else's", |status| {
            status["targets"]["synced"] == PLACES && status["targets"]["conflict"] == 1
        })
        .await;
    let named = json!({
        "imagePullSecrets": [{"name": scene.secret}],
        "containers": [{"name": "app", "image": format!("{HOST}:5000/team/app:1")}],
    });
    waiting_pod(scene, &places[0], "web", named, ANONYMOUS).await;
    manifest::apply(&scene.client, &[account(&places[0], "builder", &[&scene.secret])]).await.unwrap();
    let reader = Reader::new(scene, everything()).await;
    let output = reader.run(&["tree", &grant, "-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let tree: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let shown = tree["namespaces"].as_array().unwrap();
    let of = |place: &str| shown.iter().find(|one| one["namespace"] == place).unwrap();
    assert_eq!(shown.len(), PLACES + 1, "{tree:#}");
    assert_eq!(of(&taken)["state"], "conflict", "{tree:#}");
    let first = of(&places[0]);
    assert_eq!(
        json!([
            first["state"],
            first["rule"],
            first["serviceAccounts"],
            first["pods"],
            first["waiting"][0]["code"]
        ]),
        json!(["has", format!("namespace label team={}", scene.id), ["builder"], 1, "IMPS041"]),
        "{tree:#}"
    );
    assert_eq!(tree["sources"][0]["registries"], json!([HOST]), "{tree:#}");
    let requests = solo.requests_of(&reader.user);
    say(&format!("a tree of {PLACES} namespaces: {} requests", requests.len()));
    // Other scenes have left things of theirs, but no namespace of these costs a request.
    let uri = |request: &Value| request["requestURI"].as_str().unwrap().to_owned();
    let into_one = requests.iter().map(uri).filter(|uri| places.iter().any(|place| uri.contains(place)));
    assert_eq!(into_one.collect::<Vec<_>>(), [] as [String; 0]);
    assert!(requests.len() < 60, "{requests:#?}");

    for format in ["html", "md"] {
        let output = reader.run(&["report", "-o", format]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let page = said(&output);
        for words in ["IMPS041", &taken, "12 namespaces have", "v1.", " requests"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(page.contains("All that a report rests on could be looked at."), "{page}");
        assert!(!page.contains("canary"), "{page}");
    }
    let narrowed = said(&reader.run(&["tree", &grant, "-n", &places[1]]));
    assert!(narrowed.contains("namespaces (1 has, 0 left out)") && !narrowed.contains(&taken), "{narrowed}");

    // In one namespace the right to get the Secret suffices, as to explain it.
    let rules = json!([
        rule("", &["namespaces", "secrets"], &["get"]),
        rule("", &["pods", "serviceaccounts"], &["list"]),
        rule(keys::GROUP, &["imagepullsecrets"], &["list"]),
    ]);
    let tenant = Reader::new(scene, rules).await;
    let output = tenant.run(&["tree", &grant, "-n", &places[1]]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    // Who may see ImagePullSecrets and namespaces alone is told what the statuses say, and what is missing.
    let rules =
        json!([rule("", &["namespaces"], &["list"]), rule(keys::GROUP, &["imagepullsecrets"], &["list"]),]);
    let careful = Reader::new(scene, rules).await;
    let output = careful.run(&["tree", &grant, "--all"]);
    assert_eq!(output.status.code(), Some(1), "the status tells of the conflict: {}", said(&output));
    for words in [
        "by the status; the Secret could not be read",
        "could not check: cannot list serviceaccounts",
        "could not check: cannot list pods",
        "the right that is missing is list on pods",
        &format!("{taken}  conflict secret/{}", scene.secret),
    ] {
        assert!(said(&output).contains(words), "{words}: {}", said(&output));
    }
    let page = said(&careful.run(&["report", "-o", "md"]));
    for words in ["| Pods that wait | ? | not seen in", "- cannot list pods", "- cannot list secrets"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let stranger = Reader::new(scene, json!([rule("", &["namespaces"], &["list"])])).await;
    let output = stranger.run(&["tree", &grant]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("the right that is missing is list on imagepullsecrets"),
        "{}",
        said(&output)
    );
}
