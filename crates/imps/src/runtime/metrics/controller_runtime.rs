//! The series that dashboards for programs of controller-runtime query, the original's among them, measured at our own
//! queue: a plan for a namespace, carried out, is what they call a reconciliation.
//!
//! Names and labels are those of kubernetes-sigs/controller-runtime: pkg/internal/controller/metrics/metrics.go,
//! pkg/internal/metrics/workqueue.go and pkg/metrics/client_go_adapter.go.

use imps_cluster::traffic::Traffic;
use imps_core::queue::{IN_FLIGHT_MAX, Labour};

use super::page::Page;
use super::series;
use crate::controller::window::View;

/// The controller's name: the kind, as controller-runtime spells it.
const CONTROLLER: &str = "imagepullsecret";

/// Shows how the queue of plans does.
pub(crate) fn show(page: &mut Page, view: &View) {
    let Labour { added, waited, worked, settled, unsettled, failed } = &view.labour;
    let results = [("success", *settled), ("error", *failed), ("requeue_after", *unsettled), ("requeue", 0)];
    page.show(series::RECONCILES, results.map(|(result, count)| ([CONTROLLER, result], count)));
    page.show(series::RECONCILE_ERRORS, [([CONTROLLER], *failed)]);
    page.show(series::RECONCILE_TIME, [([CONTROLLER], worked)]);
    page.show(series::ACTIVE_WORKERS, [([CONTROLLER], view.flights.len())]);
    page.show(series::MAX_CONCURRENT, [([CONTROLLER], IN_FLIGHT_MAX)]);
    let queue = [CONTROLLER, CONTROLLER];
    let ages = view.flights.iter().map(|age| age.as_secs_f64());
    page.show(series::WORKQUEUE_DEPTH, [(queue, view.waiting)]);
    page.show(series::WORKQUEUE_ADDS, [(queue, *added)]);
    page.show(series::WORKQUEUE_WAITED, [(queue, waited)]);
    page.show(series::WORKQUEUE_WORKED, [(queue, worked)]);
    page.show(series::WORKQUEUE_UNFINISHED, [(queue, ages.clone().sum::<f64>())]);
    page.show(series::WORKQUEUE_LONGEST, [(queue, ages.fold(0.0, f64::max))]);
    page.show(series::WORKQUEUE_RETRIES, [(queue, *failed)]);
}

/// Shows the requests to the API server.
pub(crate) fn show_requests(page: &mut Page, traffic: &Traffic) {
    let counts = traffic.counts();
    let spelled: Vec<_> = counts
        .iter()
        .map(|(kind, count)| {
            // As client-go spells it.
            let code = kind.code.map_or("<error>".to_owned(), |code| code.to_string());
            (code, kind.method, &*kind.host, *count)
        })
        .collect();
    let samples = spelled.iter().map(|(code, method, host, count)| ([code.as_str(), method, host], *count));
    page.show(series::REQUESTS, samples);
}
