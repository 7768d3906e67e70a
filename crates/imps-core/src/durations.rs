//! How long things took, counted by buckets: what a histogram shows. A duration goes in, and only counts stay.

use std::time::Duration;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Durations {
    bounds: &'static [f64],
    /// One for each bound, and one for what is longer than all of them.
    counts: Vec<u64>,
    seconds: f64,
}

impl Durations {
    /// None yet. `bounds` are the upper ends of the buckets in seconds, in rising order.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], seconds: 0.0 }
    }

    /// One more.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts[self.bounds.partition_point(|bound| *bound < seconds)] += 1;
        self.seconds += seconds;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took in all.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Each bound with how many were no longer than it, and longer than the one before; at last, without a bound, the
    /// longest.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_counted_once_and_in_the_narrowest_bucket_that_holds_it() {
        let mut durations = Durations::new(&[0.5, 1.0]);
        for seconds in [0.0, 0.5, 0.75, 1.0, 1.5, 60.0] {
            durations.add(Duration::from_secs_f64(seconds));
        }
        let buckets: Vec<_> = durations.buckets().collect();
        assert_eq!(buckets, [(Some(0.5), 2), (Some(1.0), 2), (None, 2)]);
        assert_eq!((durations.count(), durations.seconds()), (6, 63.75));
    }
}
