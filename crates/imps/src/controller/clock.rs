//! The wall clock beside the monotonic one: whether the two still go together.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A difference that no slewing makes: somebody set the clock, or the machine slept.
const JUMP: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Clock {
    instant: Instant,
    unix_seconds: f64,
}

impl Clock {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), unix_seconds: unix_seconds() }
    }

    /// What the wall clock said when this was made, in seconds since 1970.
    pub(crate) fn unix_seconds(&self) -> f64 {
        self.unix_seconds
    }

    /// What the wall clock says now, if that is not what was to be expected; told once for each jump.
    pub(crate) fn jumped(&mut self) -> Option<f64> {
        let now = Self::now();
        let expected = self.unix_seconds + (now.instant - self.instant).as_secs_f64();
        let jumped = (now.unix_seconds - expected).abs() > JUMP.as_secs_f64();
        jumped.then(|| {
            *self = now;
            self.unix_seconds
        })
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_in_both_directions() {
        let mut clock = Clock::now();
        assert_eq!(clock.jumped(), None);
        for seconds in [-3600.0, 3600.0] {
            clock.unix_seconds += seconds;
            assert!(clock.jumped().is_some());
            assert_eq!(clock.jumped(), None);
        }
    }
}
