//! Under which names the program answers. Deployments of the original call it by the name of one of its two programs
//! (banzaicloud/imps:Dockerfile, cmd/controller, cmd/refresher); a link of that name stands for a subcommand.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// A name and the subcommand that it stands for.
const NAMES: [(&str, &str); 4] = [
    ("manager", "controller"),
    ("controller", "controller"),
    ("refresher", "refresher"),
    ("imps-refresher", "refresher"),
];

/// The subcommand that a program of the original stands for, whatever folder it is called from.
pub(crate) fn subcommand(program: &str) -> Option<&'static str> {
    let called = Path::new(program).file_name();
    let found = NAMES.iter().find(|(name, _)| called == Some(OsStr::new(name)));
    found.map(|(_, subcommand)| *subcommand)
}

/// The arguments as if `imps` had been called.
pub(crate) fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut given = given.into_iter();
    let name = given.next().unwrap_or_default();
    match name.to_str().and_then(subcommand) {
        Some(subcommand) => ["imps".into(), subcommand.into()].into_iter().chain(given).collect(),
        None => [name].into_iter().chain(given).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[&str]) -> Vec<String> {
        let arguments = arguments(given.iter().map(OsString::from));
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn the_original_s_programs_are_subcommands() {
        assert_eq!(
            read(&["/manager", "--metrics-addr", ":80"]),
            ["imps", "controller", "--metrics-addr", ":80"]
        );
        assert_eq!(read(&["controller"]), ["imps", "controller"]);
        assert_eq!(read(&["/bin/refresher", "--help"]), ["imps", "refresher", "--help"]);
        assert_eq!(read(&["./imps-refresher"]), ["imps", "refresher"]);
    }

    #[test]
    fn any_other_name_is_imps() {
        assert_eq!(read(&["/usr/bin/imps", "plan", "-f", "x"]), ["/usr/bin/imps", "plan", "-f", "x"]);
        // A folder or an argument of that name is not the program.
        assert_eq!(read(&["/manager/imps", "controller"]), ["/manager/imps", "controller"]);
        assert_eq!(read(&["imps-controller", "crd"]), ["imps-controller", "crd"]);
        assert_eq!(read(&[]), [""]);
    }
}
