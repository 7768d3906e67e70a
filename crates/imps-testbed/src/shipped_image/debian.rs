//! Packages of Debian, or of a distribution that is made as it is, some files of which go into the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tool;

/// What to do where there are none.
const REMEDY: &str = "the image is made of Debian's packages: build it on Debian, or in a container of it";

/// A package that is installed here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// As Debian names it, such as `amd64`.
    pub architecture: String,
    /// The distribution, as `debian` and `12`.
    pub distribution: (String, String),
}

impl Package {
    /// The one that a file is from.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        // Since /lib is a link to /usr/lib, either may be the name that dpkg knows.
        let merged = Path::new("/usr").join(path.strip_prefix("/").unwrap_or(path));
        let answer = [path, &merged].into_iter().find_map(|path| dpkg("--search", path).ok());
        let answer = answer.with_context(|| format!("{} is of no package; {REMEDY}", path.display()))?;
        let name = answer.split(": ").next().unwrap_or_default();
        Self::named(name)
    }

    /// The one of this name, with the architecture behind a colon if need be.
    pub(super) fn named(name: &str) -> Result<Self> {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${Package} ${Version} ${Architecture}", name]);
        let answer = tool::output_of(&mut query).with_context(|| REMEDY)?;
        let [name, version, architecture] = answer.split(' ').collect::<Vec<_>>()[..] else {
            bail!("dpkg-query describes {name} as {answer:?}");
        };
        let (name, version, architecture) = (name.to_owned(), version.to_owned(), architecture.to_owned());
        Ok(Self { name, version, architecture, distribution: distribution()? })
    }

    /// Its files.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        let answer = tool::output_of(Command::new("dpkg-query").arg("--listfiles").arg(&self.name))?;
        Ok(answer.lines().map(PathBuf::from).filter(|path| path.is_file()).collect())
    }

    /// What dpkg knows of it, as scanners of images read it.
    pub(super) fn status(&self) -> Result<String> {
        tool::output_of(Command::new("dpkg-query").arg("--status").arg(&self.name))
    }

    /// What may be done with it.
    pub(super) fn licence(&self) -> PathBuf {
        Path::new("/usr/share/doc").join(&self.name).join("copyright")
    }

    /// Fails where one of these files is not as the package brought it.
    pub(super) fn verify(&self, files: &[PathBuf]) -> Result<()> {
        // Its exit code also tells of files that are not asked for here.
        let output =
            Command::new("dpkg").arg("--verify").arg(&self.name).output().context("cannot run dpkg")?;
        let differences = String::from_utf8_lossy(&output.stdout);
        let ours = |line: &&str| files.iter().any(|file| line.ends_with(&*file.to_string_lossy()));
        match differences.lines().find(ours) {
            Some(line) => bail!("{line}: not as the package {0} brought it; install {0} anew", self.name),
            None => Ok(()),
        }
    }

    /// Its name for whoever looks up what is known of it (package-url, type `deb`).
    #[must_use]
    pub fn url(&self) -> String {
        let Self { name, version, architecture, distribution: (distribution, release) } = self;
        let version = version.replace('%', "%25").replace('+', "%2B").replace(':', "%3A");
        let name = name.replace('+', "%2B");
        format!("pkg:deb/{distribution}/{name}@{version}?arch={architecture}&distro={distribution}-{release}")
    }
}

fn dpkg(option: &str, path: &Path) -> Result<String> {
    tool::output_of(Command::new("dpkg").arg(option).arg(path))
}

/// What `os-release` says.
fn distribution() -> Result<(String, String)> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.next().map(|value| value.trim_matches('"').to_owned())
    };
    Ok((value("ID").context("os-release has no ID")?, value("VERSION_ID").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_spelt_as_package_urls_want_it() {
        let package = Package {
            name: "libstdc++6".into(),
            version: "1:2.36-9+deb12u14".into(),
            architecture: "amd64".into(),
            distribution: ("debian".into(), "12".into()),
        };
        let url = "pkg:deb/debian/libstdc%2B%2B6@1%3A2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12";
        assert_eq!(package.url(), url);
    }
}
