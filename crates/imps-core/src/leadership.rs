//! Who leads: of several processes one acts, by a Lease that they share. Answers in, requests out; time is an argument.
//!
//! No clock is compared with another one. A candidate takes the Lease over when it has not seen it move for as long as
//! its holder asked for, counted on the candidate's own monotonic clock. A holder counts from the moment *before* it
//! asked for its last renewal, and for a shorter time: so it has stopped before anybody else begins, however wrong the
//! wall clocks are, as long as no monotonic clock runs half as fast again as another
//! (kubernetes/client-go:tools/leaderelection has the same rules, but counts from the moment after).

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::holding::Version;

/// How much shorter a pause may be than asked for, so that candidates do not ask in step.
const JITTER: f64 = 0.2;

/// For how long a Lease counts, and how often it is renewed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    lease: Duration,
    deadline: Duration,
    retry: Duration,
}

/// Why these terms cannot be kept to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTerms {
    /// The holder would go on when others begin.
    #[error("the lease duration ({}) has to be longer than the renew deadline ({})", seconds(.0), seconds(.1))]
    Lease(Duration, Duration),
    /// There would be no second try.
    #[error("the renew deadline ({}) has to be at least twice the retry period ({})", seconds(.0), seconds(.1))]
    Deadline(Duration, Duration),
    /// The API server would be asked without a pause.
    #[error("the retry period has to be at least a second")]
    Retry,
}

/// What the Lease says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seat {
    /// The version of the object.
    pub version: Version,
    /// Who holds it; none when it was given back.
    pub holder: Option<String>,
    /// For how long it counts, in the words of its holder.
    pub life: Option<Duration>,
    /// How often it has changed hands.
    pub term: u32,
    /// When it was taken and renewed, as the holder's clock has it. It is compared with nothing but itself.
    pub stamp: String,
}

/// What can happen to a candidate.
#[derive(Clone, Debug)]
pub enum Event {
    /// The request that was under way came to this.
    Answer(Answer),
    /// Time passed.
    Tick,
    /// Leave: all that was written in the name of the leader is done.
    Resign,
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// This is the Lease; there may be none.
    Read(Option<Seat>),
    /// The Lease was written and now says this.
    Written(Seat),
    /// It is not the version that was to be written any more, or not there any more, or there already.
    Outrun,
    /// There was no answer, or a refusal.
    Failed,
}

/// What a candidate asks for. Of requests there is one at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Read the Lease.
    Read,
    /// Write it.
    Write(Bid),
    /// Act from now on.
    Lead(Title),
    /// Act no longer.
    Follow(Loss),
    /// It has left; whether the Lease is free.
    Resigned {
        /// Otherwise it has to run out.
        vacated: bool,
    },
}

/// A write of the Lease, which has to fail unless it stands as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bid {
    /// Create it.
    Found,
    /// Take it over.
    Take {
        /// As it was seen.
        version: Version,
        /// The number of the new term.
        term: u32,
    },
    /// Go on holding it.
    Renew {
        /// As it was seen.
        version: Version,
    },
    /// Give it back.
    Vacate {
        /// As it was seen.
        version: Version,
    },
}

/// By what a candidate leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Title {
    /// Somebody else may have led before.
    Succession,
    /// Nobody has led since this process did.
    Resumption,
}

/// Why a leader is none any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// It could not renew in time.
    Expired,
    /// The Lease has another holder, or none.
    Taken(Option<String>),
    /// It left.
    Resigned,
}

/// What is known of the Lease.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Known {
    /// It has to be read.
    Nothing,
    /// There is none.
    Absent,
    /// It says this.
    Seat(Seat),
}

/// Another holder, and since when it has not been seen to move.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rival {
    seat: Seat,
    since: Instant,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    terms: Terms,
    known: Known,
    rival: Option<Rival>,
    /// Until when it may act; none when it does not lead.
    until: Option<Instant>,
    /// The term in which it led last.
    led: Option<u32>,
    /// When the request that is under way was made.
    asked: Option<Instant>,
    next: Instant,
    outrun: bool,
    /// The last request was not answered: it may have been carried out.
    unsure: bool,
    resigning: bool,
    pauses: u32,
}

impl Terms {
    /// Checks that the terms can be kept to.
    pub fn new(lease: Duration, deadline: Duration, retry: Duration) -> Result<Self, BadTerms> {
        if retry < Duration::from_secs(1) {
            return Err(BadTerms::Retry);
        }
        if deadline < retry * 2 {
            return Err(BadTerms::Deadline(deadline, retry));
        }
        if lease <= deadline {
            return Err(BadTerms::Lease(lease, deadline));
        }
        Ok(Self { lease, deadline, retry })
    }

    /// For how long the Lease counts.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// For how long a request is waited for: so that two tries fit before the deadline, as
    /// kubernetes/client-go:tools/leaderelection/resourcelock has it.
    pub fn patience(&self) -> Duration {
        self.deadline / 2
    }
}

impl Default for Terms {
    /// Those of all Kubernetes controllers (kubernetes-sigs/controller-runtime:pkg/manager/manager.go).
    fn default() -> Self {
        let [lease, deadline, retry] = [15, 10, 2].map(Duration::from_secs);
        Self { lease, deadline, retry }
    }
}

impl Candidate {
    /// A candidate that knows nothing. The name has to be its own, also among earlier processes on the same machine.
    pub fn new(name: impl Into<String>, terms: Terms, now: Instant) -> Self {
        Self {
            name: name.into(),
            terms,
            known: Known::Nothing,
            rival: None,
            until: None,
            led: None,
            asked: None,
            next: now,
            outrun: false,
            unsure: false,
            resigning: false,
            pauses: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Until when it may act, by what is known so far; none when it does not lead. Whoever writes compares this with
    /// the time just before, as nobody may have had the time to say that it is over.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it leads at this time.
    pub fn leads(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Who holds the Lease, as far as is known.
    pub fn holder(&self) -> Option<&str> {
        match &self.known {
            Known::Seat(seat) => seat.holder.as_deref(),
            Known::Absent => None,
            Known::Nothing => self.rival.as_ref().and_then(|rival| rival.seat.holder.as_deref()),
        }
    }

    /// When [`Event::Tick`] is due; none while only an answer can change anything.
    pub fn due(&self) -> Option<Instant> {
        let next = self.asked.is_none().then_some(self.next);
        next.into_iter().chain(self.until).min()
    }

    /// Takes an event in and says what to do.
    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Answer(answer) => {
                // Nobody answers what was not asked.
                if let Some(asked) = self.asked.take() {
                    self.hear(answer, asked, now, &mut effects);
                }
            }
            Event::Tick => {}
            Event::Resign => {
                self.resigning = true;
                self.next = now;
                self.stop(Loss::Resigned, &mut effects);
            }
        }
        if self.until.is_some_and(|until| until <= now) {
            self.stop(Loss::Expired, &mut effects);
        }
        if self.asked.is_none() && self.next <= now && !effects.iter().any(Effect::is_last) {
            let request = if self.resigning { self.farewell() } else { self.request(now) };
            self.asked = (!request.is_last()).then_some(now);
            effects.push(request);
        }
        effects
    }

    fn hear(&mut self, answer: Answer, asked: Instant, now: Instant, effects: &mut Vec<Effect>) {
        let was_outrun = self.outrun;
        self.outrun = match answer {
            Answer::Outrun => true,
            Answer::Written(_) => false,
            Answer::Read(_) | Answer::Failed => was_outrun,
        };
        self.unsure = answer == Answer::Failed;
        // A slow answer has used up its pause.
        self.next = (asked + self.pause()).max(now);
        match answer {
            Answer::Read(seat) => {
                self.see(seat, now, effects);
                // What is free is taken at once, and what will be free at that time.
                let free_at = self.rival.as_ref().map_or(now, |rival| rival.free_at(&self.terms));
                self.next = if free_at <= now { now } else { self.next.min(free_at) };
            }
            Answer::Written(seat) if seat.holder.as_deref() == Some(&*self.name) => {
                self.see(Some(seat), now, effects);
                self.extend(asked + self.terms.deadline, now, effects);
            }
            Answer::Written(seat) => {
                self.see(Some(seat), now, effects);
                if self.resigning {
                    effects.push(Effect::Resigned { vacated: true });
                }
            }
            Answer::Outrun => {
                self.known = Known::Nothing;
                // A leader has to find out, but not again and again.
                if self.until.is_some() && !was_outrun {
                    self.next = now;
                }
            }
            Answer::Failed if self.resigning => effects.push(Effect::Resigned { vacated: false }),
            Answer::Failed => {}
        }
        if self.resigning {
            self.next = now;
        }
    }

    /// The Lease was seen to say this.
    fn see(&mut self, seat: Option<Seat>, now: Instant, effects: &mut Vec<Effect>) {
        let holder = seat.as_ref().and_then(|seat| seat.holder.clone());
        if holder.as_deref() != Some(&self.name) {
            self.stop(Loss::Taken(holder), effects);
        }
        self.known = match seat {
            // Whoever deleted it has not told its holder: that one goes on until its own time is over.
            None => {
                self.led = None;
                Known::Absent
            }
            Some(seat) => {
                let is_rival = seat.holder.as_deref().is_some_and(|holder| holder != self.name);
                let since =
                    self.rival.take().filter(|rival| rival.seat.is_unmoved(&seat)).map(|rival| rival.since);
                self.rival = is_rival.then(|| Rival { seat: seat.clone(), since: since.unwrap_or(now) });
                Known::Seat(seat)
            }
        };
    }

    /// The Lease is its own until then.
    fn extend(&mut self, until: Instant, now: Instant, effects: &mut Vec<Effect>) {
        let Known::Seat(seat) = &self.known else { return };
        if until <= now || self.resigning {
            // The answer took too long: the time that it is good for is over already.
            return;
        }
        if self.until.is_none() {
            let title = if self.led == Some(seat.term) { Title::Resumption } else { Title::Succession };
            effects.push(Effect::Lead(title));
        }
        self.led = Some(seat.term);
        self.until = self.until.max(Some(until));
    }

    fn stop(&mut self, loss: Loss, effects: &mut Vec<Effect>) {
        if self.until.take().is_some() {
            effects.push(Effect::Follow(loss));
        }
    }

    fn request(&self, now: Instant) -> Effect {
        let free = self.rival.as_ref().is_none_or(|rival| rival.free_at(&self.terms) <= now);
        match &self.known {
            Known::Absent if free => Effect::Write(Bid::Found),
            Known::Seat(seat) if seat.holder.as_deref() == Some(&*self.name) => {
                Effect::Write(Bid::Renew { version: seat.version })
            }
            Known::Seat(seat) if free => {
                Effect::Write(Bid::Take { version: seat.version, term: seat.term.saturating_add(1) })
            }
            Known::Nothing | Known::Absent | Known::Seat(_) => Effect::Read,
        }
    }

    /// The last request: to give back what is its own.
    fn farewell(&self) -> Effect {
        match &self.known {
            // It may be its own without its knowledge.
            _ if self.unsure => Effect::Read,
            Known::Nothing if self.led.is_some() => Effect::Read,
            Known::Seat(seat) if seat.holder.as_deref() == Some(&*self.name) => {
                Effect::Write(Bid::Vacate { version: seat.version })
            }
            Known::Nothing | Known::Absent | Known::Seat(_) => Effect::Resigned { vacated: true },
        }
    }

    /// The next pause: the retry period, or a little less.
    fn pause(&mut self) -> Duration {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update(self.pauses.to_be_bytes());
        self.pauses = self.pauses.wrapping_add(1);
        self.terms.retry.mul_f64(1.0 - JITTER * f64::from(hash.finalize()[0]) / 255.0)
    }
}

impl Seat {
    /// Whether its holder has done nothing since. The version does not matter: anybody may write a label.
    fn is_unmoved(&self, later: &Seat) -> bool {
        let Seat { version: _, holder, life, term, stamp } = self;
        (holder, life, term, stamp) == (&later.holder, &later.life, &later.term, &later.stamp)
    }
}

impl Rival {
    /// When the Lease may be taken from it. Its own word about that counts: it may be of another configuration.
    fn free_at(&self, terms: &Terms) -> Instant {
        let life = self.seat.life.filter(|life| !life.is_zero()).unwrap_or(terms.lease);
        self.since + life
    }
}

impl Effect {
    fn is_last(&self) -> bool {
        matches!(self, Effect::Resigned { .. })
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Loss::Expired => f.write_str("the lease could not be renewed in time"),
            Loss::Taken(Some(holder)) => write!(f, "{holder} holds the lease"),
            Loss::Taken(None) => f.write_str("somebody emptied or deleted the lease"),
            Loss::Resigned => f.write_str("the process ends"),
        }
    }
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some moment to start from")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seat(holder: Option<&str>, version: u64, stamp: &str) -> Seat {
        Seat {
            version: Version(version),
            holder: holder.map(str::to_owned),
            life: Some(15 * SECOND),
            term: 3,
            stamp: stamp.to_owned(),
        }
    }

    fn read(seat: Seat) -> Event {
        Event::Answer(Answer::Read(Some(seat)))
    }

    fn written(seat: Seat) -> Event {
        Event::Answer(Answer::Written(seat))
    }

    /// One that has read that nobody holds the Lease, took it, and leads.
    fn leader(now: Instant) -> Candidate {
        let mut me = Candidate::new("me", Terms::default(), now);
        assert_eq!(me.on(Event::Tick, now), [Effect::Read]);
        let bid = Bid::Take { version: Version(1), term: 4 };
        assert_eq!(me.on(read(seat(None, 1, "")), now), [Effect::Write(bid)]);
        let effects = me.on(written(Seat { term: 4, ..seat(Some("me"), 2, "a") }), now);
        assert_eq!(effects, [Effect::Lead(Title::Succession)]);
        me
    }

    #[test]
    fn who_finds_no_lease_makes_one() {
        let now = Instant::now();
        let mut me = Candidate::new("me", Terms::default(), now);
        assert_eq!(me.on(Event::Tick, now), [Effect::Read]);
        assert_eq!(me.on(Event::Answer(Answer::Read(None)), now), [Effect::Write(Bid::Found)]);
        assert!(!me.leads(now), "asking is not having");
        let effects = me.on(written(seat(Some("me"), 1, "a")), now);
        assert_eq!((effects, me.leads(now)), (vec![Effect::Lead(Title::Succession)], true));
    }

    #[test]
    fn a_reign_is_counted_from_before_the_request_and_ends_at_the_deadline() {
        let start = Instant::now();
        let mut me = leader(start);
        let asked = me.due().unwrap();
        assert!(asked <= start + 2 * SECOND);
        assert_eq!(me.on(Event::Tick, asked), [Effect::Write(Bid::Renew { version: Version(2) })]);
        me.on(written(Seat { term: 4, ..seat(Some("me"), 3, "b") }), asked + 4 * SECOND);
        assert_eq!(me.until(), Some(asked + 10 * SECOND));
        let end = asked + 10 * SECOND;
        assert!(me.leads(end - SECOND) && !me.leads(end), "also when nobody has told it");
        let effects = me.on(Event::Tick, end);
        assert_eq!(effects[0], Effect::Follow(Loss::Expired));
    }

    #[test]
    fn an_answer_that_is_older_than_the_deadline_is_good_for_nothing() {
        let start = Instant::now();
        let mut me = Candidate::new("me", Terms::default(), start);
        me.on(Event::Tick, start);
        me.on(Event::Answer(Answer::Read(None)), start);
        let late = start + 11 * SECOND;
        let effects = me.on(written(seat(Some("me"), 1, "a")), late);
        assert_eq!(effects, [Effect::Write(Bid::Renew { version: Version(1) })]);
    }

    #[test]
    fn a_lease_that_moves_is_never_taken_and_one_that_stands_still_is_when_its_life_is_over() {
        let mut now = Instant::now();
        let mut me = Candidate::new("me", Terms::default(), now);
        me.on(Event::Tick, now);
        for round in 0..20u64 {
            // A wall clock that stands, runs backwards or jumps makes no difference.
            let stamp = format!("{}", (round * 7) % 5);
            let effects = me.on(read(seat(Some("other"), round, &stamp)), now);
            assert!(effects.is_empty(), "{effects:?}");
            now = me.due().unwrap();
            assert_eq!(me.on(Event::Tick, now), [Effect::Read]);
        }
        me.on(read(seat(Some("other"), 99, "still")), now);
        let since = now;
        loop {
            now = me.due().unwrap();
            match me.on(Event::Tick, now).pop() {
                Some(Effect::Read) => assert!(me.on(read(seat(Some("other"), 99, "still")), now).is_empty()),
                Some(Effect::Write(bid)) => {
                    assert_eq!(bid, Bid::Take { version: Version(99), term: 4 });
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(now - since, 15 * SECOND, "not a moment before, and not a pause after");
    }

    #[test]
    fn whoever_writes_a_label_on_the_lease_does_not_keep_it_from_running_out() {
        let start = Instant::now();
        let mut me = Candidate::new("me", Terms::default(), start);
        me.on(Event::Tick, start);
        me.on(read(seat(Some("other"), 1, "a")), start);
        let mut now = start;
        let mut version = 1;
        while now < start + 15 * SECOND {
            now = me.due().unwrap();
            if me.on(Event::Tick, now) == [Effect::Read] {
                version += 1;
                me.on(read(seat(Some("other"), version, "a")), now);
            }
        }
        assert!(me.asked.is_some() && now == start + 15 * SECOND);
    }

    #[test]
    fn the_life_that_the_holder_asked_for_counts() {
        let start = Instant::now();
        for (life, expected) in [(Some(60), 60), (Some(5), 5), (Some(0), 15), (None, 15)] {
            let mut me = Candidate::new("me", Terms::default(), start);
            me.on(Event::Tick, start);
            let life = life.map(Duration::from_secs);
            me.on(read(Seat { life, ..seat(Some("other"), 1, "a") }), start);
            assert_eq!(me.rival.unwrap().free_at(&me.terms), start + expected * SECOND);
        }
    }

    #[test]
    fn a_leader_that_is_outrun_looks_and_goes_on_when_the_lease_is_still_its_own() {
        let now = Instant::now();
        let mut me = leader(now);
        let now = me.due().unwrap();
        me.on(Event::Tick, now);
        assert_eq!(me.on(Event::Answer(Answer::Outrun), now), [Effect::Read]);
        let still_mine = Seat { term: 4, ..seat(Some("me"), 7, "a") };
        assert_eq!(me.on(read(still_mine), now), [Effect::Write(Bid::Renew { version: Version(7) })]);
        assert!(me.leads(now));
        // Once more in a row is somebody who does nothing else.
        assert!(me.on(Event::Answer(Answer::Outrun), now).is_empty() && me.due().unwrap() > now);
    }

    #[test]
    fn a_leader_that_sees_another_holder_stops_at_once() {
        for holder in [Some("other"), None] {
            let now = Instant::now();
            let mut me = leader(now);
            me.on(Event::Tick, me.due().unwrap());
            me.on(Event::Answer(Answer::Outrun), now);
            let effects = me.on(read(seat(holder, 9, "b")), now);
            assert_eq!(effects[0], Effect::Follow(Loss::Taken(holder.map(str::to_owned))));
            assert!(!me.leads(now));
        }
    }

    #[test]
    fn a_lease_that_is_deleted_is_not_made_anew_before_its_holder_has_stopped() {
        let start = Instant::now();
        let mut me = Candidate::new("me", Terms::default(), start);
        me.on(Event::Tick, start);
        me.on(read(seat(Some("other"), 1, "a")), start);
        let mut now = start;
        loop {
            now = now.max(me.due().unwrap());
            match me.on(Event::Tick, now).pop() {
                Some(Effect::Read) => {
                    me.on(Event::Answer(Answer::Read(None)), now);
                }
                Some(Effect::Write(Bid::Found)) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(now - start, 15 * SECOND);
    }

    #[test]
    fn nobody_led_in_between_when_the_term_is_the_same() {
        let now = Instant::now();
        let mut me = leader(now);
        let lapse = now + 12 * SECOND;
        let effects = me.on(Event::Tick, lapse);
        let renewal = Effect::Write(Bid::Renew { version: Version(2) });
        assert_eq!(effects, [Effect::Follow(Loss::Expired), renewal]);
        let effects = me.on(written(Seat { term: 4, ..seat(Some("me"), 3, "b") }), lapse);
        assert_eq!(effects, [Effect::Lead(Title::Resumption)]);

        // The answer to the first request was lost: the Lease is its own, but it has never led.
        let mut other = Candidate::new("me", Terms::default(), now);
        other.on(Event::Tick, now);
        assert_eq!(other.on(read(seat(Some("me"), 3, "b")), now).len(), 1);
        assert_eq!(other.on(written(seat(Some("me"), 4, "c")), now), [Effect::Lead(Title::Succession)]);
    }

    #[test]
    fn who_leaves_gives_the_lease_back_and_only_its_own() {
        let now = Instant::now();
        let mut me = leader(now);
        let effects = me.on(Event::Resign, now);
        let vacate = Effect::Write(Bid::Vacate { version: Version(2) });
        assert_eq!(effects, [Effect::Follow(Loss::Resigned), vacate]);
        let effects = me.on(written(seat(None, 3, "")), now);
        assert_eq!(effects, [Effect::Resigned { vacated: true }]);

        let mut standby = Candidate::new("me", Terms::default(), now);
        standby.on(Event::Tick, now);
        standby.on(read(seat(Some("other"), 1, "a")), now);
        assert_eq!(standby.on(Event::Resign, now), [Effect::Resigned { vacated: true }]);
    }

    #[test]
    fn who_leaves_while_a_renewal_is_under_way_waits_for_it_and_gives_back_that_version() {
        let now = Instant::now();
        let mut me = leader(now);
        let now = me.due().unwrap();
        me.on(Event::Tick, now);
        assert_eq!(me.on(Event::Resign, now), [Effect::Follow(Loss::Resigned)]);
        let effects = me.on(written(Seat { term: 4, ..seat(Some("me"), 3, "b") }), now);
        assert_eq!(effects, [Effect::Write(Bid::Vacate { version: Version(3) })]);
        assert!(!me.leads(now), "it never leads again");
        let effects = me.on(Event::Answer(Answer::Failed), now);
        assert_eq!(effects, [Effect::Resigned { vacated: false }]);
    }

    #[test]
    fn terms_that_cannot_be_kept_to_are_refused() {
        let terms = |lease, deadline, retry: u64| {
            let [lease, deadline, retry] = [lease, deadline, retry].map(Duration::from_secs);
            Terms::new(lease, deadline, retry).map_err(|error| error.to_string())
        };
        assert_eq!(terms(15, 10, 2), Ok(Terms::default()));
        assert!(terms(10, 10, 2).unwrap_err().contains("lease duration (10 s)"));
        assert!(terms(15, 3, 2).unwrap_err().contains("renew deadline (3 s)"));
        assert!(terms(15, 10, 0).unwrap_err().contains("at least a second"));
    }
}
