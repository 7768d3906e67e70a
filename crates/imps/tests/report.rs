//! `imps report` from manifests: a file for each situation in `report/`, with what to ask and the exit code in its
//! head, and the page in both formats beside it. Pages of all other situations are read as a browser and as a reader
//! of Markdown would.

#![allow(clippy::unwrap_used, reason = "a command that cannot be run has failed")]

mod reading;
mod situation;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use reading::{Html, cells_of_tables, markup, prose};
use situation::{DAY, arguments, files, head};

const FORMATS: [&str; 2] = ["html", "md"];

fn imps(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imps")).args(arguments).output().unwrap()
}

fn report(path: &Path, format: &str, more: &[&str]) -> Output {
    let file = ["report", "-o", format, "-f", path.to_str().unwrap(), "--at", DAY];
    imps(&[&file, more].concat())
}

/// As the head of the file asks.
fn asked(path: &Path, format: &str) -> Output {
    let own = arguments(path);
    report(path, format, &own.iter().map(String::as_str).collect::<Vec<_>>())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn file(name: &str) -> PathBuf {
    files("report").into_iter().find(|path| path.ends_with(name)).unwrap()
}

/// Situations of all commands that look at a cluster.
fn all_situations() -> Vec<PathBuf> {
    let files = ["report", "tree", "explain", "diagnose"].into_iter().flat_map(files);
    let files: Vec<PathBuf> = files.collect();
    assert!(files.len() > 80, "{}", files.len());
    files
}

/// The page without the style, and a line for each element, so that a difference can be read.
fn readable(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap_or((page, ""));
    let body = rest.split_once("</style>").map_or("", |(_, body)| body);
    format!("{head}{body}")
        .replace("><", ">\n<")
        .replace(&format!("imps {}", env!("CARGO_PKG_VERSION")), "imps VERSION")
}

/// `UPDATE_CASES=1` writes the pages anew, for the diff to be read.
#[test]
fn every_situation_has_the_pages_beside_it_and_the_exit_code_of_its_head() {
    let mut wrong = Vec::new();
    for path in files("report") {
        for format in FORMATS {
            let output = asked(&path, format);
            let (actual, beside) = (readable(&text(&output)), path.with_extension(format));
            if std::env::var_os("UPDATE_CASES").is_some() {
                std::fs::write(&beside, &actual).unwrap();
            }
            let expected = std::fs::read_to_string(&beside).unwrap_or_default();
            let exit: i32 = head(&path, "exit").parse().unwrap();
            if actual != expected || output.status.code() != Some(exit) {
                let code = output.status.code();
                wrong.push(format!("{}: {code:?}, expected\n{expected}\nfound\n{actual}", beside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_credential_and_no_user_is_in_any_page() {
    for path in all_situations() {
        for format in FORMATS {
            let output = report(&path, format, &[]);
            assert!(output.status.code() != Some(2), "{}: {}", path.display(), text(&output));
            assert!(!text(&output).contains("canary"), "{}: {}", path.display(), text(&output));
        }
    }
}

/// No element and no attribute but those that the page has of itself, each closed where it should be, and nothing that
/// a browser would run or ask somebody for.
#[test]
fn a_browser_finds_nothing_in_a_page_but_what_imps_put_there() {
    for path in all_situations() {
        let output = report(&path, "html", &[]);
        let page = Html::read(&text(&output)).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        if let Err(fault) = page.is_inert().and_then(|()| page.is_accessible()) {
            panic!("{}: {fault}", path.display());
        }
    }
    let output = asked(&file("hostile.yaml"), "html");
    let page = Html::read(&text(&output)).unwrap();
    page.is_inert().and_then(|()| page.is_accessible()).unwrap();
    // They are there, as texts.
    for words in [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)\" x=\"",
        "\"><img/src=x/onerror=alert(1)>",
        "<svg/onload=alert(1)>",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert!(
        page.title.starts_with("\"><img/src=x/onerror=alert(1)>: report of 2026-01-31"),
        "{}",
        page.title
    );
}

#[test]
fn a_reader_of_markdown_finds_no_markup_but_what_imps_put_there() {
    for path in all_situations() {
        let page = text(&report(&path, "md", &[]));
        assert_eq!(markup(&page), Vec::<String>::new(), "{}", path.display());
        for (row, header) in cells_of_tables(&page) {
            assert_eq!(row, header, "{}: a row has as many cells as its table: {page}", path.display());
        }
    }
    let page = text(&asked(&file("hostile.yaml"), "md"));
    assert_eq!(markup(&page), Vec::<String>::new());
    let prose = prose(&page);
    for words in ["[click](", "**bold**", "<img src=x onerror=alert(1)>"] {
        assert!(prose.contains(words), "{words}: {prose}");
    }
    // Addresses become links where they are not taken apart, and people are called where they are not in code.
    for (index, _) in page.match_indices("evil.example") {
        assert!(
            !page[..index].ends_with("://") && !page[..index].ends_with("www."),
            "{}",
            &page[index - 20..]
        );
    }
    assert!(!page.contains("@everyone"), "{page}");
}

#[test]
fn nothing_in_a_page_turns_or_hides_what_is_beside_it() {
    for path in all_situations() {
        for format in FORMATS {
            let said = text(&report(&path, format, &[]));
            let obeyed = |c: char| imps_core::diagnosis::is_obeyed(c) && c != '\n';
            assert!(!said.contains(obeyed), "{}", path.display());
        }
    }
    assert!(std::fs::read_to_string(file("hostile.yaml")).unwrap().contains("\\u202e"));
}

#[test]
fn what_could_not_be_checked_is_said_and_not_counted_as_nothing() {
    let path = file("blind.yaml");
    for format in FORMATS {
        let said = text(&asked(&path, format));
        for kind in ["Namespace", "Pod", "Secret", "ServiceAccount"] {
            assert!(said.contains(&format!("no {kind} is among the manifests")), "{kind}: {said}");
        }
        assert!(said.contains("Nothing wrong was found; not all could be checked"), "{said}");
        assert!(said.contains("Whether pods wait is not known"), "{said}");
    }
    assert!(text(&asked(&path, "md")).contains("| Pods that wait | ? | not seen in 2 namespaces |"));
    assert!(text(&asked(&file("calm.yaml"), "md")).contains("| Pods that wait | 0 |"));
}

#[test]
fn a_large_cluster_has_a_page_that_says_what_it_leaves_out() {
    let mut objects = Vec::new();
    let grant = json!({
        "apiVersion": "images.banzaicloud.io/v1alpha1", "kind": "ImagePullSecret",
        "metadata": {"name": "wood", "uid": "uid-wood"},
        "spec": {
            "target": {"secret": {"name": "pull"}, "namespaces": {"labels": [{}]}},
            "registry": {"credentials": [{"name": "hub", "namespace": "access"}]},
        },
    });
    objects.push(grant);
    let owner = json!({
        "apiVersion": "images.banzaicloud.io/v1alpha1", "kind": "ImagePullSecret", "name": "wood",
        "uid": "uid-wood",
    });
    // Every other one lacks the Secret.
    for number in 0..1_200 {
        let name = format!("place-{number}");
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        if number % 2 == 0 {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": "pull", "namespace": name, "ownerReferences": [owner]},
            }));
        }
        if number < 300 {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "namespace": name, "uid": format!("uid-{number}")},
                "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}]},
                "status": {"containerStatuses": [{"name": "app", "state": {"waiting": {
                    "reason": "ImagePullBackOff", "message": "lookup registry.example: no such host",
                }}}]},
            }));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.json");
    let list: Value = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&path, serde_json::to_vec(&list).unwrap()).unwrap();
    for format in FORMATS {
        let page = text(&report(&path, format, &[]));
        assert!(page.len() < 500_000, "{} bytes", page.len());
        for words in [
            "… and 250 more pods, left out of this page",
            "… and 200 more Secrets, left out of this page",
            "600 namespaces have",
        ] {
            assert!(page.contains(words), "{format}: {words}: {page}");
        }
    }
    let html = Html::read(&text(&report(&path, "html", &[]))).unwrap();
    html.is_inert().and_then(|()| html.is_accessible()).unwrap();
    assert!(html.text.contains("… and 500 more namespaces, left out of this page"), "{}", html.text);
}

#[test]
fn a_page_goes_into_a_file_and_exit_codes_are_those_of_a_diagnosis() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("page.html");
    let path = file("staging.yaml");
    let output = report(&path, "html", &["--to", to.to_str().unwrap(), "--fail-level", "never"]);
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), ""));
    let written = std::fs::read_to_string(&to).unwrap();
    assert_eq!(written, text(&report(&path, "html", &[])));
    let narrowed = text(&report(&path, "md", &["-n", "mill"]));
    assert!(narrowed.contains("Scope: the namespace mill") && !narrowed.contains("`shop`"), "{narrowed}");
    let nowhere = report(&path, "md", &["-n", "nowhere"]);
    assert!(nowhere.status.code() == Some(3) && text(&nowhere).contains("there is no namespace nowhere"));
    let nowhere = folder.path().join("none/page.html");
    let output = report(&path, "html", &["--to", nowhere.to_str().unwrap()]);
    assert!(output.status.code() == Some(3) && text(&output).contains("cannot write"), "{}", text(&output));
    assert_eq!(imps(&["report"]).status.code(), Some(2));
}

/// WCAG 2.2, 1.4.3: texts stand out from what is behind them by 4.5 to 1.
#[test]
fn texts_are_readable_by_day_by_night_and_on_paper() {
    let page = text(&asked(&file("calm.yaml"), "html"));
    let palettes = reading::palettes(&page);
    assert_eq!(palettes.len(), 3);
    for palette in palettes {
        for ink in ["ink", "soft", "ok", "info", "unknown", "warning", "error"] {
            for ground in ["paper", "panel"] {
                let contrast = reading::contrast(palette[ink], palette[ground]);
                assert!(contrast >= 4.5, "{ink} on {ground}: {contrast:.2}");
            }
        }
    }
}
