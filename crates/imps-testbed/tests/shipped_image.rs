//! How the image that is shipped is built, of programs that this machine has: what it is made of decides its digest,
//! and nothing else does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use imps_testbed::shipped_image::{self, Image, Recipe};
use imps_testbed::{Login, Pull, Registry};

/// A program that wants nothing but libc.
const PROGRAM: &str = "/bin/true";

fn can_build() -> bool {
    shipped_image::available().inspect_err(|missing| missing.skip_or_fail()).is_ok()
}

/// An image and the folder that it is in.
fn built(program: &Path) -> anyhow::Result<(Image, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let name = "registry.local/imps:1";
    let recipe = Recipe { program, name, version: "1", revision: "abc", timestamp: 1_700_000_000 };
    Ok((shipped_image::build(&recipe, &folder.path().join("layout"))?, folder))
}

#[test]
fn the_same_program_makes_the_same_image_wherever_it_is_and_another_makes_another() {
    if !can_build() {
        return;
    }
    let (first, _folder) = built(Path::new(PROGRAM)).expect("built");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let copy = elsewhere.path().join("copy");
    fs::copy(PROGRAM, &copy).expect("copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("set");
    let (second, _folder) = built(&copy).expect("built");
    assert_eq!(first.digest, second.digest);
    let mut bytes = fs::read(&copy).expect("read");
    // Kernels do not mind what follows a program.
    bytes.push(b'.');
    fs::write(&copy, bytes).expect("written");
    let (third, _folder) = built(&copy).expect("built");
    assert_ne!(first.digest, third.digest);
}

#[test]
fn a_library_that_nobody_decided_to_ship_is_named() {
    if !can_build() {
        return;
    }
    // It wants libselinux.
    let error = built(Path::new("/bin/ls")).expect_err("refused");
    assert!(format!("{error:#}").contains("libselinux.so.1, which the image does not have"), "{error:#}");
}

#[tokio::test]
async fn a_registry_takes_the_archive_and_knows_it_by_its_digest() {
    const LOGIN: Login<'static> = Login { user: "pusher", password: "made-up" };
    if !can_build() {
        return;
    }
    if let Err(missing) = Registry::available() {
        return missing.skip_or_fail();
    }
    let registry = Registry::start(&[LOGIN]).await.expect("a registry");
    let (image, folder) = built(Path::new(PROGRAM)).expect("built");
    let archive = folder.path().join("image.tar");
    image.write_archive(1_700_000_000, &archive).expect("written");
    let authfile = folder.path().join("auth.json");
    fs::write(&authfile, registry.docker_config(LOGIN)).expect("written");
    let to = format!("{}/team/imps:1", registry.address());
    let pushed = shipped_image::push(&archive, &to, Some(&authfile), true).expect("pushed");
    assert_eq!(pushed, image.digest);
    let reference = format!("team/imps@{}", image.digest);
    assert_eq!(registry.pull(&authfile, &reference).await.expect("asked"), Pull::Pulled);
    fs::write(&authfile, registry.docker_config(Login { password: "wrong", ..LOGIN })).expect("written");
    assert!(shipped_image::push(&archive, &to, Some(&authfile), true).is_err(), "a stranger may not push");
}
