//! The registry under test lets in who has the right login, and nobody else.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use imps_testbed::registry::Settings;
use imps_testbed::{Login, Pull, Registry, skip_or_fail};

const IMAGE: &str = "team/app:1.0";

const ROBOT: Login<'_> = Login { user: "robot", password: "first" };

async fn registry() -> Option<Registry> {
    registry_of(None).await
}

async fn registry_of(host: Option<&str>) -> Option<Registry> {
    if let Err(missing) = Registry::available() {
        skip_or_fail(missing);
        return None;
    }
    let registry =
        Registry::start_with(&Settings { users: &[ROBOT], host, ..Settings::default() }).await.unwrap();
    registry.push_image(IMAGE, ROBOT).await.unwrap();
    Some(registry)
}

/// A docker config in a file, as a Secret holds it.
fn authfile(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join(imps_testbed::fresh_name("config"));
    std::fs::write(&path, text).unwrap();
    path
}

fn refused(pull: &Pull) -> bool {
    matches!(pull, Pull::Refused(_))
}

#[tokio::test]
async fn the_right_login_pulls_and_others_do_not() {
    let Some(registry) = registry().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let right = authfile(&folder, &registry.docker_config(ROBOT));
    assert_eq!(registry.pull(&right, IMAGE).await.unwrap(), Pull::Pulled);

    for wrong in [Login { password: "guess", ..ROBOT }, Login { user: "stranger", ..ROBOT }] {
        let wrong = authfile(&folder, &registry.docker_config(wrong));
        assert!(refused(&registry.pull(&wrong, IMAGE).await.unwrap()));
    }
    let nobody = authfile(&folder, r#"{"auths":{}}"#);
    assert!(refused(&registry.pull(&nobody, IMAGE).await.unwrap()));
    assert!(registry.push_image("team/other:1.0", Login { password: "guess", ..ROBOT }).await.is_err());
    assert!(
        registry.pull(&right, "team/none:1.0").await.is_err(),
        "an image that is not there is not a refusal"
    );
}

#[tokio::test]
async fn a_changed_password_holds_for_the_next_pull() {
    let Some(registry) = registry().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let next = Login { password: "second", ..ROBOT };
    let (old, new) = (registry.docker_config(ROBOT), registry.docker_config(next));
    let (old, new) = (authfile(&folder, &old), authfile(&folder, &new));
    assert!(refused(&registry.pull(&new, IMAGE).await.unwrap()));

    registry.set_users(&[next]).unwrap();
    assert!(refused(&registry.pull(&old, IMAGE).await.unwrap()));
    assert_eq!(registry.pull(&new, IMAGE).await.unwrap(), Pull::Pulled);
}

#[tokio::test]
async fn by_the_name_of_a_host_it_lets_in_every_password_that_a_user_has_now() {
    const HOST: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
    let Some(registry) = registry_of(Some(HOST)).await else { return };
    assert_eq!(registry.address(), HOST);
    let folder = tempfile::tempdir().unwrap();
    let next = Login { password: "second", ..ROBOT };
    let (old, new) = (registry.docker_config(ROBOT), registry.docker_config(next));
    assert!(old.contains(HOST), "{old}");
    let (old, new) = (authfile(&folder, &old), authfile(&folder, &new));
    let pull = async |login: &PathBuf| registry.pull(login, IMAGE).await.unwrap();
    assert_eq!(pull(&old).await, Pull::Pulled);
    assert!(refused(&pull(&new).await));

    let let_in = |logins: &[Login<'_>]| logins.iter().map(|login| registry.name_of(*login)).collect();
    let robot: BTreeSet<String> = let_in(&[ROBOT]);
    assert_eq!(registry.let_in().unwrap(), robot, "whoever is refused is not in its log as let in");
    registry.set_users(&[ROBOT, next]).unwrap();
    assert_eq!((pull(&old).await, pull(&new).await), (Pull::Pulled, Pull::Pulled));
    assert_eq!(registry.let_in().unwrap(), let_in(&[ROBOT, next]));

    registry.set_users(&[next]).unwrap();
    assert!(refused(&pull(&old).await));
    assert_eq!(pull(&new).await, Pull::Pulled);
}
