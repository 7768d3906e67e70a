//! Versions and clocks.

use imps_cluster::server::Server;

use super::report::{Area, Check};

/// The oldest Kubernetes that is supported, as in the chart.
const SUPPORTED_SINCE: (u32, u32) = (1, 29);
/// How far clocks may be apart, in seconds. Clouds refuse requests that are signed more than 300 s off.
const SKEW_MAX: f64 = 10.0;

pub(super) fn own() -> Check {
    Check::ok(Area::Versions, "imps", env!("CARGO_PKG_VERSION").to_owned())
}

pub(super) fn server(server: &Server) -> Check {
    let (major, minor) = SUPPORTED_SINCE;
    let message = server.version.clone();
    match server.release() {
        Some(release) if release >= SUPPORTED_SINCE => Check::ok(Area::Versions, "kubernetes", message),
        Some(_) => Check::error(
            Area::Versions,
            "kubernetes",
            format!("{message} is older than {major}.{minor}, the first that is supported"),
            "upgrade the cluster".to_owned(),
        ),
        None => Check::unknown(Area::Versions, "kubernetes", format!("{message:?} is not a version")),
    }
}

/// How far the API server's clock is from the one here. That of the operator may be another.
pub(super) fn clock(ahead: Option<f64>) -> Check {
    let Some(ahead) = ahead else {
        return Check::unknown(Area::Versions, "clock", "the API server does not tell the time".to_owned());
    };
    if ahead.abs() <= SKEW_MAX {
        return Check::ok(Area::Versions, "clock", "the API server's agrees with the one here".to_owned());
    }
    let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
    Check::warning(
        Area::Versions,
        "clock",
        format!("the API server's is {:.0} s {direction} the one here", ahead.abs()),
        "have both set by NTP; clouds refuse what is signed more than five minutes off".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn the_oldest_kubernetes_is_that_of_the_chart() {
        let chart = include_str!("../../../../../chart/imagepullsecrets/Chart.yaml");
        let (major, minor) = SUPPORTED_SINCE;
        assert!(chart.contains(&format!("kubeVersion: \">={major}.{minor}.0-0\"")), "{chart}");
    }

    #[test]
    fn an_old_kubernetes_is_an_error_and_an_unreadable_version_is_not() {
        let judged =
            |version: &str| server(&Server { version: version.to_owned(), ahead_seconds: None }).state;
        assert_eq!(judged("v1.29.0"), State::Ok);
        assert_eq!(judged("v1.28.15"), State::Error);
        assert_eq!(judged("v2.0.0"), State::Ok);
        assert_eq!(judged("dev"), State::Unknown);
    }

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        assert_eq!(clock(Some(-9.0)).state, State::Ok);
        assert!(clock(Some(61.4)).message.contains("61 s ahead of"));
        assert!(clock(Some(-400.0)).message.contains("400 s behind"));
        assert_eq!(clock(None).state, State::Unknown);
    }
}
