//! A login changes, and a Secret of imps opens a private registry.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use imps_testbed::{Login, Pull, Registry};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Expected, Story};
use crate::demo::stage::{SOURCES, TARGET};
use crate::lookout::Sighting;

/// The key of a docker config in a Secret.
const KEY: &str = ".dockerconfigjson";
/// The source that changes.
const SOURCE: &str = "company";
/// What is pushed and pulled.
const IMAGE: &str = "shop/checkout:1";
/// A made-up user of the private registry.
const LOGIN: Login<'static> = Login { user: "robot", password: "made-up-registry-password" };

/// Registries and their logins, which are compared and never shown.
type Logins = BTreeMap<String, Value>;

pub(super) async fn tell(story: &mut Story<'_>) -> Result<()> {
    story.voice.chapter("A password changes");
    rotation(story).await?;
    story.voice.chapter("A private registry");
    match Registry::available() {
        Ok(()) => pull(story).await,
        Err(missing) => {
            story.voice.say("", &format!("not shown: a pull from a registry, which {missing}"));
            Ok(())
        }
    }
}

async fn rotation(story: &mut Story<'_>) -> Result<()> {
    let mut config = source(story).await?;
    config["auths"]["registry.example.com"]["password"] = json!("another-made-up-password");
    let text = format!("the password for registry.example.com changes in login {SOURCE}");
    change(story, &config, &text, "a login changed").await
}

/// Writes the source and shows what that did to the Secret in shop.
async fn change(story: &mut Story<'_>, config: &Value, text: &str, row: &str) -> Result<()> {
    let before = story.before();
    let (old, last) = (logins(story).await?, story.stage.lookout.last("shop"));
    let last = last.context("shop has its Secret")?;
    let patch = Patch::Merge(json!({"stringData": {KEY: config.to_string()}}));
    let secrets = story.stage.secrets(SOURCES);
    secrets.patch_metadata(SOURCE, &PatchParams::default(), &patch).await.context("cannot change a login")?;
    let done = before.done();
    let expected = Expected { namespace: "shop", what: "is updated", row };
    story.voice.say(SOURCES, text);
    let newer = |sighting: &Sighting| sighting.stands && sighting.version > last.version;
    let seen = story.see(&done, &expected, newer).await?;
    let kept = seen.uid == last.uid;
    ensure!(kept, "this did not happen: the Secret in shop is updated in place and keeps its UID");
    let new = logins(story).await?;
    story.voice.because(&format!("the same object (UID kept); logins: {}", difference(&old, &new)));
    Ok(())
}

async fn pull(story: &mut Story<'_>) -> Result<()> {
    let registry = Registry::start(&[LOGIN]).await?;
    registry.push_image(IMAGE, LOGIN).await?;
    story
        .voice
        .say("", &format!("a registry at {} holds {IMAGE} and lets in only robot", registry.address()));
    let original = source(story).await?;
    let mut config = original.clone();
    let login: Value = serde_json::from_str(&registry.docker_config(LOGIN))?;
    config["auths"][registry.address()] = login["auths"][registry.address()].clone();
    change(story, &config, &format!("its login is added to {SOURCE}"), "a registry was added").await?;
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let wrong = registry.docker_config(Login { password: "made-up-and-wrong", ..LOGIN });
    let tries =
        [("the Secret read from shop", secret(story).await?, true), ("a wrong password", wrong, false)];
    for (with, config, lets_in) in tries {
        let authfile = folder.path().join("auth.json");
        write_private(&authfile, &config)?;
        let pulled = registry.pull(&authfile, IMAGE).await? == Pull::Pulled;
        ensure!(pulled == lets_in, "this did not happen: a pull with {with} is decided rightly");
        let outcome = if pulled { "pulled" } else { "refused" };
        story.voice.say("shop", &format!("skopeo pulls with {with}: {outcome}"));
        story.row(&format!("pull with {with}"), "shop", "–", &format!("{outcome} by the registry"));
    }
    change(story, &original, &format!("its login is taken out of {SOURCE}"), "a registry was removed").await
}

/// The docker config that the source holds now.
async fn source(story: &Story<'_>) -> Result<Value> {
    let text = config(story, SOURCES, SOURCE).await?;
    serde_json::from_str(&text).context("a login is no docker config")
}

/// The docker config that imps wrote into shop.
async fn secret(story: &Story<'_>) -> Result<String> {
    config(story, "shop", TARGET).await
}

async fn config(story: &Story<'_>, namespace: &str, name: &str) -> Result<String> {
    let secret = story.stage.secrets(namespace).get(name).await;
    let mut data =
        secret.with_context(|| format!("cannot read {namespace}/{name}"))?.data.unwrap_or_default();
    let config = data.remove(KEY).with_context(|| format!("{namespace}/{name} has no docker config"))?;
    String::from_utf8(config.0).with_context(|| format!("the docker config in {namespace}/{name} is no text"))
}

async fn logins(story: &Story<'_>) -> Result<Logins> {
    let config: Value =
        serde_json::from_str(&secret(story).await?).context("the config in shop is no JSON")?;
    let auths = config["auths"].as_object().cloned().unwrap_or_default();
    Ok(auths.into_iter().collect())
}

/// Says of each registry whether its login changed, and nothing more of it.
fn difference(old: &Logins, new: &Logins) -> String {
    let mut all: Vec<&String> = old.keys().chain(new.keys()).collect();
    all.sort();
    all.dedup();
    let words = all.into_iter().map(|registry| {
        let word = match (old.get(registry), new.get(registry)) {
            (None, _) => "new",
            (_, None) => "gone",
            (before, after) if before == after => "as before",
            _ => "changed",
        };
        format!("{} {word}", shown(registry))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Docker Hub's key in a docker config is a historical address.
fn shown(registry: &str) -> &str {
    if registry.contains("index.docker.io") { "docker.io" } else { registry }
}

/// For credentials: nobody else on this machine may read them.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).context("cannot write a docker config")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_registries_and_no_login() {
        let logins = |pairs: &[(&str, &str)]| -> Logins {
            pairs.iter().map(|(host, password)| ((*host).to_owned(), json!(password))).collect()
        };
        let old =
            logins(&[("a", "secret-1"), ("https://index.docker.io/v1/", "secret-2"), ("c", "secret-3")]);
        let new =
            logins(&[("a", "secret-4"), ("https://index.docker.io/v1/", "secret-2"), ("d", "secret-5")]);
        assert_eq!(difference(&old, &new), "a changed, c gone, d new, docker.io as before");
    }
}
