//! The wall clock, as far as the core needs one: for what people are shown, and for what an earlier process wrote
//! down.

use std::time::{Duration, Instant};

/// A hundred years: what is further away is no date but an error.
const REACH: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// One instant and what the wall clock said then; every other time is counted from it on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    instant: Instant,
    unix_seconds: f64,
}

impl Calendar {
    /// It is now so many seconds after 1970.
    pub fn new(now: Instant, unix_seconds: f64) -> Self {
        Self { instant: now, unix_seconds }
    }

    /// The second in which an instant lies.
    pub fn unix(&self, at: Instant) -> i64 {
        let ahead = at.saturating_duration_since(self.instant).as_secs_f64();
        let behind = self.instant.saturating_duration_since(at).as_secs_f64();
        // A float of this size is exact to a microsecond, and `as` saturates.
        (self.unix_seconds + ahead - behind).floor() as i64
    }

    /// The instant of a second; none when it is out of reach.
    pub fn instant(&self, unix_seconds: i64) -> Option<Instant> {
        // Dates that matter fit a float without loss.
        let offset = unix_seconds as f64 - self.unix_seconds;
        let distance = Duration::try_from_secs_f64(offset.abs()).ok().filter(|distance| *distance < REACH)?;
        if offset < 0.0 { self.instant.checked_sub(distance) } else { self.instant.checked_add(distance) }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some moment to start from")]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_found_again_and_nonsense_is_out_of_reach() {
        let now = Instant::now();
        let calendar = Calendar::new(now, 1_800_000_000.25);
        for second in [1_800_000_000, 1_800_000_001, 1_800_043_200, 1_799_999_990] {
            let at = calendar.instant(second).unwrap();
            assert!((calendar.unix(at) - second).abs() <= 1, "{second}");
        }
        assert_eq!(calendar.unix(now + Duration::from_secs(60)), 1_800_000_060);
        assert_eq!(calendar.instant(i64::MAX), None);
    }
}
