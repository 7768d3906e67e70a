//! Who leads, as the Leases of operators say.

use jiff::Timestamp;
use serde_json::Value;

use super::super::manifests::text;
use super::report::{Area, Check};

/// Clocks are compared to the second.
const ROUNDING: f64 = 2.0;

/// How a Lease stands.
#[derive(Clone, PartialEq, Debug)]
enum Standing {
    /// Held, and renewed so many seconds ago.
    Held(f64),
    /// Not renewed in time for so many seconds.
    Lapsed(f64),
    /// Given back, or never taken.
    Free,
}

/// Judges all Leases of this name, at a time in seconds since 1970 by the API server's clock.
pub(super) fn judge(leases: &[Value], name: &str, now: f64) -> Vec<Check> {
    if leases.is_empty() {
        let message = format!(
            "no Lease {name}: no operator has led here, or it runs alone, without --enable-leader-election"
        );
        let remedy = "nothing, if it does; docs/high-availability.md tells of replicas".to_owned();
        return vec![Check::warning(Area::Operator, "leader", message, remedy)];
    }
    let standings: Vec<(&Value, Standing)> =
        leases.iter().map(|lease| (lease, standing(lease, now))).collect();
    let held = standings.iter().filter(|(_, standing)| matches!(standing, Standing::Held(_))).count();
    standings.iter().map(|(lease, standing)| told(lease, standing, held)).collect()
}

fn told(lease: &Value, standing: &Standing, held: usize) -> Check {
    let (namespace, holder) = (text(lease, "/metadata/namespace"), text(lease, "/spec/holderIdentity"));
    let message = match standing {
        Standing::Held(ago) if held == 1 => {
            let message = format!("{holder} in {namespace}, renewed {ago:.0} s ago");
            return Check::ok(Area::Operator, "leader", message);
        }
        Standing::Held(_) => {
            let message = format!("{holder} in {namespace} is one of {held} that lead at once");
            let remedy =
                "end all but one, unless each serves namespaces of its own (--namespaces)".to_owned();
            return Check::warning(Area::Operator, "leader", message, remedy);
        }
        Standing::Lapsed(since) => {
            format!("nobody leads in {namespace}: {holder} has not renewed its Lease for {since:.0} s")
        }
        Standing::Free => format!("nobody leads in {namespace}: the last one gave its Lease back"),
    };
    let remedy =
        format!("kubectl -n {namespace} get deployments,pods,events: whether an operator runs there");
    // With a leader elsewhere it is what a former installation has left.
    match held {
        0 => Check::error(Area::Operator, "leader", message, remedy),
        _ => Check::warning(Area::Operator, "leader", message, remedy),
    }
}

fn standing(lease: &Value, now: f64) -> Standing {
    let renewed =
        text(lease, "/spec/renewTime").parse::<Timestamp>().map(|at| at.as_duration().as_secs_f64());
    let (Ok(renewed), false) = (renewed, text(lease, "/spec/holderIdentity").is_empty()) else {
        return Standing::Free;
    };
    let ago = (now - renewed).max(0.0);
    let lasts = lease["spec"]["leaseDurationSeconds"].as_f64().unwrap_or_default();
    if ago <= lasts + ROUNDING { Standing::Held(ago) } else { Standing::Lapsed(ago) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::State;
    use super::*;

    /// 2026-01-31T12:00:00Z.
    const NOON: f64 = 1_769_860_800.0;

    fn lease(namespace: &str, holder: &str, renewed: &str) -> Value {
        json!({
            "metadata": {"namespace": namespace, "name": "l"},
            "spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15},
        })
    }

    fn judged(leases: &[Value]) -> Vec<(State, String)> {
        judge(leases, "l", NOON).into_iter().map(|check| (check.state, check.message)).collect()
    }

    #[test]
    fn a_lease_that_is_renewed_has_a_leader() {
        let good = judged(&[lease("a", "pod-1", "2026-01-31T11:59:57.500000Z")]);
        assert_eq!(good, [(State::Ok, "pod-1 in a, renewed 2 s ago".to_owned())]);
        // A leader whose clock is ahead leads all the same.
        assert_eq!(judged(&[lease("a", "pod-1", "2026-01-31T12:00:03.000000Z")])[0].0, State::Ok);
    }

    #[test]
    fn one_that_lapsed_is_an_error_unless_somebody_leads_elsewhere() {
        let old = lease("a", "pod-1", "2026-01-31T11:59:00.000000Z");
        let lapsed = judged(std::slice::from_ref(&old));
        assert_eq!(lapsed[0].0, State::Error);
        assert!(lapsed[0].1.contains("pod-1 has not renewed its Lease for 60 s"), "{}", lapsed[0].1);
        let new = lease("b", "pod-2", "2026-01-31T11:59:59.000000Z");
        let both = judged(&[old, new.clone()]);
        assert_eq!([both[0].0, both[1].0], [State::Warning, State::Ok]);
        let two = judged(&[new, lease("c", "pod-3", "2026-01-31T11:59:59.000000Z")]);
        assert!(
            two.iter().all(|(state, text)| *state == State::Warning && text.contains("2 that lead")),
            "{two:?}"
        );
        assert_eq!(judged(&[lease("a", "", "2026-01-31T11:59:59.000000Z")])[0].0, State::Error);
        assert_eq!(judged(&[])[0].0, State::Warning);
    }
}
