//! The refresh policy of one exchange: when to ask for a token, how long the one that is held counts, and when to ask
//! again after a failure. It knows neither sources nor endpoints.
//!
//! A token is renewed at half of its life, so that an endpoint can be away for the other half before anybody notices.
//! A failure never shortens the life of the token that is held.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::credential::Credential;
use crate::exchange::{ExchangeFault, ExchangeFaultClass, Issued};

/// What a token counts for whose answer has no usable expiry; what the original assumed
/// (banzaicloud/imps:pkg/ecr/token.go).
const LIFETIME_UNTOLD: Duration = Duration::from_secs(20 * 60);
/// The most that an answer is believed, so that one wrong answer does not last for ever.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Servers tell their time in whole seconds, so a newer token can seem to end this much earlier than it does.
const ROUNDING: Duration = Duration::from_secs(2);
/// The shortest time between an answer and the next request.
const RENEW_MIN: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// The longest pause when less than a fifth of the token's life is left.
const BACKOFF_MAX_URGENT: Duration = Duration::from_secs(60);
/// The longest pause when somebody has to change something first, and the most that a server can ask for.
const BACKOFF_MAX_DENIED: Duration = Duration::from_secs(900);
/// How many failures in a row are not worth telling while a token is held: endpoints throttle and restart.
const QUIET_FAILURES: u32 = 1;

/// The shortest time between a request and one that somebody demands: however often that is, no account suffers.
const DEMAND_PAUSE: Duration = Duration::from_secs(10);
/// How long a demand waits for others that the same request can meet.
const DEMAND_GATHERING: Duration = Duration::from_millis(500);

/// How many requests of one lane may start at once.
const LANE_BURST: u32 = 5;
/// The time in which a lane gets one more. AWS allows 20 a second for a whole account.
const LANE_PERIOD: Duration = Duration::from_secs(1);

/// A token that is held, and for how long.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The login.
    pub credential: Credential,
    /// When it stops working, on the monotonic clock: no jump of the wall clock moves it.
    pub expires: Instant,
    /// Its life as it was issued; of one that was taken over, what was left of it.
    pub lifetime: Duration,
    /// When it was issued; none when an earlier process got it.
    pub issued: Option<Instant>,
    /// The expiry is assumed.
    pub untold: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Refresh {
    /// A number of this exchange's own: it keeps many exchanges from being renewed at once, and is the same after a
    /// restart.
    spread: u32,
    lease: Option<Lease>,
    fault: Option<ExchangeFault>,
    failures: u32,
    failed: Option<Instant>,
    in_flight: bool,
    next: Instant,
    /// Somebody demands a request that has not begun yet.
    demanded: bool,
    /// Before this, nothing is asked because somebody demands it.
    rest: Instant,
    /// The number of the request that was begun last, and whether somebody had demanded it.
    begun: (u64, bool),
    /// The number of the one that was answered last.
    answered: u64,
    /// Somebody had demanded the one that failed, and waits for what came of it.
    awaited_fault: bool,
}

impl Refresh {
    /// Nothing is held; the first request is due at `first`. `seed` is what the spread is made from: the UID of the
    /// source Secret.
    pub fn new(seed: &str, first: Instant) -> Self {
        let digest = Sha256::digest(seed);
        let spread = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        Self {
            spread,
            lease: None,
            fault: None,
            failures: 0,
            failed: None,
            in_flight: false,
            next: first,
            demanded: false,
            rest: first,
            begun: (0, false),
            answered: 0,
            awaited_fault: false,
        }
    }

    /// The token that is held; it may be past its expiry.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// What the last request met, if that is worth telling.
    pub fn fault(&self, now: Instant) -> Option<&ExchangeFault> {
        let holds = self.lease.as_ref().is_some_and(|lease| lease.expires > now);
        let telling = |fault: &ExchangeFault| fault.class == ExchangeFaultClass::Denied;
        let loud = !holds || self.failures > QUIET_FAILURES || self.awaited_fault;
        self.fault.as_ref().filter(|fault| loud || telling(fault))
    }

    /// When a request failed last, whatever came after it.
    pub fn failed_at(&self) -> Option<Instant> {
        self.failed
    }

    /// When the next request is due; none while one is on its way.
    pub fn next(&self) -> Option<Instant> {
        let next = if self.demanded { self.next.min(self.rest) } else { self.next };
        (!self.in_flight).then_some(next)
    }

    /// When the next request is due, or was due that is on its way.
    pub fn scheduled(&self) -> Instant {
        self.next
    }

    /// Whether a request has been answered or a token taken over.
    pub fn is_answered(&self) -> bool {
        self.lease.is_some() || self.fault.is_some()
    }

    /// A request is on its way. `number` is greater than that of any before, whichever exchange that was for.
    pub fn begin(&mut self, number: u64, now: Instant) {
        self.in_flight = true;
        self.begun = (number, std::mem::take(&mut self.demanded));
        self.rest = now + DEMAND_PAUSE;
    }

    /// Whether a request with a greater number than `since` has been answered, well or not. As long as none has, one is
    /// due, whatever the pause after a failure: a moment later, after a rest, and not before the server wants it.
    /// Requests are numbered and not timed, as what happens in one instant has an order too.
    pub fn demand(&mut self, since: u64, now: Instant) -> bool {
        // What is on its way may be it; if not, this is asked again after the answer.
        if self.answered <= since && !self.in_flight && !self.demanded {
            self.demanded = true;
            self.rest = self.rest.max(now + DEMAND_GATHERING);
        }
        self.answered > since
    }

    /// Asks at once: what is exchanged was edited, so an earlier answer means nothing.
    pub fn rearm(&mut self, now: Instant) {
        self.failures = 0;
        self.next = self.next.min(now);
    }

    /// Takes over a token that an earlier process got, with the time at which that meant to renew it.
    pub fn adopt(&mut self, lease: Lease, renew: Instant) {
        self.lease = Some(lease);
        self.next = renew;
    }

    /// A token came. One that expires earlier than the one that is held is not taken: so two processes that renew by
    /// turns agree on one. Returns whether it was taken.
    pub fn issued(&mut self, issued: Issued, now: Instant) -> bool {
        let untold = issued.lifetime.is_none();
        let lifetime = issued.lifetime.unwrap_or(LIFETIME_UNTOLD).min(LIFETIME_MAX);
        self.end();
        self.fault = None;
        self.failures = 0;
        let life = issued.session.map_or(lifetime, |session| session.min(lifetime));
        self.next = now + jittered_half(life, self.spread).max(RENEW_MIN);
        let lease = Lease {
            credential: issued.credential,
            expires: now + lifetime,
            lifetime,
            issued: Some(now),
            untold,
        };
        if self.lease.as_ref().is_some_and(|held| held.expires > lease.expires + ROUNDING) {
            return false;
        }
        self.lease = Some(lease);
        true
    }

    /// The request failed.
    pub fn failed(&mut self, fault: ExchangeFault, now: Instant) {
        self.end();
        let cap = match (fault.class, &self.lease) {
            (ExchangeFaultClass::Denied, _) => BACKOFF_MAX_DENIED,
            (_, Some(lease)) if lease.expires.saturating_duration_since(now) < lease.lifetime / 5 => {
                BACKOFF_MAX_URGENT
            }
            _ => BACKOFF_MAX,
        };
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(20)).min(cap);
        let pause = doubled.mul_f64(self.draw()).max(BACKOFF_MIN / 2);
        self.failures = self.failures.saturating_add(1);
        let asked = fault.retry_after.unwrap_or_default().min(BACKOFF_MAX_DENIED);
        self.next = now + pause.max(asked);
        self.rest = self.rest.max(now + asked);
        self.fault = Some(fault);
        self.failed = Some(now);
        self.awaited_fault = self.begun.1;
    }

    fn end(&mut self) {
        self.in_flight = false;
        self.answered = self.begun.0;
    }

    /// The wall clock was set, or the machine slept: whatever is held may be older than it seems.
    pub fn doubt(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// The next number between 0 and 1, the same for the same exchange after as many failures.
    fn draw(&self) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.spread.to_be_bytes());
        hash.update(self.failures.to_be_bytes());
        let digest = hash.finalize();
        fraction(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
    }
}

/// Half of a life, give or take a tenth of that.
fn jittered_half(life: Duration, spread: u32) -> Duration {
    life.mul_f64(0.5 * (0.9 + 0.2 * fraction(spread)))
}

fn fraction(number: u32) -> f64 {
    f64::from(number) / f64::from(u32::MAX)
}

/// The rate limit of an endpoint that several exchanges share (a generic cell rate algorithm: one instant is all it
/// needs to know).
#[derive(Clone, Copy, Default, Debug)]
pub struct Lane(Option<Instant>);

impl Lane {
    /// When the next request may start.
    pub fn opens(&self) -> Option<Instant> {
        self.0.and_then(|full| full.checked_sub(LANE_PERIOD * (LANE_BURST - 1)))
    }

    /// Takes a place, if there is one.
    pub fn enter(&mut self, now: Instant) -> bool {
        if self.opens().is_some_and(|at| at > now) {
            return false;
        }
        self.0 = Some(self.0.map_or(now, |full| full.max(now)) + LANE_PERIOD);
        true
    }

    /// Whether nobody has used it lately, so that nothing is lost by forgetting it.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.0.is_none_or(|full| full <= now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some moment to start from")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::Token;

    const HOUR: Duration = Duration::from_secs(3600);

    fn token(lifetime: Option<Duration>) -> Issued {
        let credential = Credential { username: "AWS".into(), password: Token::new("p") };
        Issued { credential, lifetime, session: None }
    }

    fn fault(class: ExchangeFaultClass) -> ExchangeFault {
        ExchangeFault { class, code: "X".into(), advice: String::new(), retry_after: None }
    }

    fn held(lifetime: Duration, now: Instant) -> Refresh {
        let mut refresh = Refresh::new("uid", now);
        refresh.issued(token(Some(lifetime)), now);
        refresh
    }

    /// Plays an outage from the first renewal on until `end`, and returns the times of the requests.
    fn outage(refresh: &mut Refresh, end: Instant) -> Vec<Instant> {
        let mut calls = Vec::new();
        while let Some(at) = refresh.next().filter(|at| *at < end) {
            calls.push(at);
            refresh.begin(calls.len() as u64, at);
            refresh.failed(fault(ExchangeFaultClass::Unreachable), at);
        }
        calls
    }

    #[test]
    fn an_outage_of_five_hours_is_over_before_anything_expires_and_stays_within_the_budget() {
        let start = Instant::now();
        let mut refresh = held(12 * HOUR, start);
        let begun = refresh.next().unwrap();
        let calls = outage(&mut refresh, begun + 5 * HOUR);
        assert!(refresh.lease().unwrap().expires > begun + 5 * HOUR);
        // Full jitter halves the pause of five minutes on average; the last fifth of the life is asked for each minute.
        assert!((60..400).contains(&calls.len()), "{}", calls.len());
        let next = refresh.next().unwrap();
        assert!(next < begun + 5 * HOUR + BACKOFF_MAX, "recovers by itself within the longest pause");
    }

    #[test]
    fn an_outage_of_thirteen_hours_ends_the_token_and_not_the_trying() {
        let start = Instant::now();
        let mut refresh = held(12 * HOUR, start);
        let begun = refresh.next().unwrap();
        let calls = outage(&mut refresh, begun + 13 * HOUR);
        assert!(refresh.lease().unwrap().expires < begun + 13 * HOUR);
        assert!(calls.len() < 13 * 60 * 3, "{}", calls.len());
        assert!(calls.windows(2).all(|pair| pair[1] - pair[0] <= BACKOFF_MAX));
        let later = begun + 13 * HOUR;
        refresh.begin(u64::MAX, later);
        assert!(refresh.issued(token(Some(12 * HOUR)), later));
        assert!(refresh.fault(later).is_none() && refresh.lease().unwrap().expires > later);
    }

    #[test]
    fn a_token_without_usable_expiry_counts_for_twenty_minutes_and_a_boast_for_a_day() {
        let now = Instant::now();
        let mut refresh = Refresh::new("uid", now);
        refresh.issued(token(None), now);
        assert_eq!(refresh.lease().unwrap().expires, now + LIFETIME_UNTOLD);
        assert!(refresh.lease().unwrap().untold);
        refresh.issued(token(Some(Duration::MAX)), now);
        assert_eq!(refresh.lease().unwrap().expires, now + LIFETIME_MAX);
    }

    #[test]
    fn a_token_that_ends_earlier_than_the_one_held_is_not_taken() {
        let now = Instant::now();
        let mut refresh = held(12 * HOUR, now);
        let expires = refresh.lease().unwrap().expires;
        assert!(!refresh.issued(token(Some(HOUR)), now));
        assert_eq!(refresh.lease().unwrap().expires, expires);
        assert!(
            refresh.next().unwrap() <= now + HOUR.mul_f64(0.55),
            "the next one is asked for in time all the same"
        );
    }

    #[test]
    fn a_newer_token_is_taken_although_a_rounded_clock_makes_it_seem_older() {
        let now = Instant::now();
        let mut refresh = held(12 * HOUR, now);
        assert!(refresh.issued(token(Some(12 * HOUR - Duration::from_secs(1))), now));
    }

    #[test]
    fn a_token_is_renewed_before_the_session_that_fetched_it_ends() {
        let now = Instant::now();
        let mut refresh = Refresh::new("uid", now);
        refresh.issued(Issued { session: Some(HOUR), ..token(Some(12 * HOUR)) }, now);
        assert!(refresh.next().unwrap() < now + HOUR);
        assert_eq!(
            refresh.lease().unwrap().expires,
            now + 12 * HOUR,
            "its own expiry ends it, and nothing else"
        );
    }

    #[test]
    fn one_failure_while_a_token_is_held_is_not_told_and_a_denial_is() {
        let now = Instant::now();
        let mut refresh = held(12 * HOUR, now);
        refresh.failed(fault(ExchangeFaultClass::Throttled), now);
        assert!(refresh.fault(now).is_none());
        refresh.failed(fault(ExchangeFaultClass::Throttled), now);
        assert!(refresh.fault(now).is_some());
        let mut refresh = held(12 * HOUR, now);
        refresh.failed(fault(ExchangeFaultClass::Denied), now);
        assert!(refresh.fault(now).is_some());
        let mut fresh = Refresh::new("uid", now);
        fresh.failed(fault(ExchangeFaultClass::Unreachable), now);
        assert!(fresh.fault(now).is_some());
    }

    #[test]
    fn what_the_server_asks_for_is_waited_and_a_decade_is_not() {
        let now = Instant::now();
        let mut refresh = Refresh::new("uid", now);
        let wish = |seconds| ExchangeFault {
            retry_after: Some(Duration::from_secs(seconds)),
            ..fault(ExchangeFaultClass::Throttled)
        };
        refresh.failed(wish(90), now);
        assert!(refresh.next().unwrap() >= now + Duration::from_secs(90));
        refresh.failed(wish(315_360_000), now);
        assert!(refresh.next().unwrap() <= now + BACKOFF_MAX_DENIED);
    }

    #[test]
    fn a_demand_overrides_a_pause_once_and_neither_the_rest_nor_the_server() {
        let start = Instant::now();
        let mut refresh = Refresh::new("uid", start);
        refresh.begin(1, start);
        refresh.failed(fault(ExchangeFaultClass::Denied), start);
        let calls = outage(&mut refresh, start + HOUR);
        let (last, number) = (*calls.last().unwrap(), calls.len() as u64);
        let pause_end = refresh.next().unwrap();
        // The longest pause has begun.
        let late = last + 2 * DEMAND_PAUSE;
        assert!(pause_end > late + DEMAND_PAUSE, "{:?}", pause_end - last);
        assert!(!refresh.demand(number, late) && !refresh.demand(number, late));
        let at = refresh.next().unwrap();
        assert_eq!(at, late + DEMAND_GATHERING);
        refresh.begin(number + 1, at);
        assert!(!refresh.demand(number, at), "it is on its way");
        refresh.failed(fault(ExchangeFaultClass::Unreachable), at);
        assert!(refresh.demand(number, at), "what failed was tried too");
        assert!(refresh.next().unwrap() > at + DEMAND_PAUSE, "once");
        assert!(!refresh.demand(number + 1, at));
        assert_eq!(refresh.next().unwrap(), at + DEMAND_PAUSE);
        let wish = ExchangeFault { retry_after: Some(HOUR / 6), ..fault(ExchangeFaultClass::Throttled) };
        refresh.begin(number + 2, at + DEMAND_PAUSE);
        refresh.failed(wish, at + DEMAND_PAUSE);
        refresh.demand(number + 2, at + DEMAND_PAUSE);
        assert!(refresh.next().unwrap() >= at + DEMAND_PAUSE + HOUR / 6);
    }

    #[test]
    fn one_failure_that_somebody_waits_for_is_told_although_a_token_is_held() {
        let now = Instant::now();
        let mut refresh = held(12 * HOUR, now);
        refresh.demand(0, now);
        refresh.begin(1, now);
        refresh.failed(fault(ExchangeFaultClass::Unreachable), now);
        assert!(refresh.fault(now).is_some() && refresh.lease().is_some());
    }

    #[test]
    fn a_lane_lets_a_burst_through_and_then_one_a_second() {
        let now = Instant::now();
        let mut lane = Lane::default();
        let entered = (0..20).filter(|_| lane.enter(now)).count();
        assert_eq!(entered, LANE_BURST as usize);
        assert!(!lane.enter(now + LANE_PERIOD / 2));
        assert!(lane.enter(now + LANE_PERIOD) && !lane.enter(now + LANE_PERIOD));
        assert!(!lane.is_idle(now + LANE_PERIOD) && lane.is_idle(now + LANE_PERIOD * 10));
    }

    proptest! {
        #[test]
        fn a_renewal_is_never_later_than_three_fifths_of_the_life(seed in "[a-z]{1,8}", seconds in 2u64..100_000) {
            let now = Instant::now();
            let mut refresh = Refresh::new(&seed, now);
            refresh.issued(token(Some(Duration::from_secs(seconds))), now);
            let pause = refresh.next().unwrap() - now;
            let life = Duration::from_secs(seconds).min(LIFETIME_MAX);
            prop_assert!(pause <= life.mul_f64(0.6).max(RENEW_MIN) && pause >= life.mul_f64(0.4));
        }

        #[test]
        fn no_pause_is_longer_than_its_limit(classes in prop::collection::vec(0..4usize, 1..60), seed in "[a-z]{1,4}") {
            let classes: Vec<_> = classes.into_iter().map(|class| [
                ExchangeFaultClass::Denied, ExchangeFaultClass::Throttled,
                ExchangeFaultClass::Unreachable, ExchangeFaultClass::Nonsense,
            ][class]).collect();
            let now = Instant::now();
            let mut refresh = Refresh::new(&seed, now);
            for class in classes {
                refresh.failed(fault(class), now);
                let limit = if class == ExchangeFaultClass::Denied { BACKOFF_MAX_DENIED } else { BACKOFF_MAX };
                let pause = refresh.next().unwrap() - now;
                prop_assert!(pause >= BACKOFF_MIN / 2 && pause <= limit);
            }
        }
    }
}
