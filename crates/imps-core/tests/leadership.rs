//! Elections in virtual time: two to five candidates with clocks of their own, requests that are late or lost,
//! processes that freeze, die and leave, and a Lease that is deleted.
//!
//! The API server of this model does one thing after the other, as a real one does for one object. A request may reach
//! it long after whoever made it has given up.

#![allow(clippy::unwrap_used, reason = "a history that cannot be played has failed")]
#![allow(clippy::disallowed_methods, reason = "a history needs some moment to start from")]

use std::time::{Duration, Instant};

use imps_core::holding::Version;
use imps_core::leadership::{Answer, Bid, Candidate, Effect, Event, Seat, Terms, Title};
use proptest::prelude::*;

/// Microseconds of true time, which nobody can read.
type Time = u64;
const SECOND: Time = 1_000_000;

/// What nobody in these histories exceeds; the terms bear a fifth.
const DRIFT_MAX: f64 = 0.15;

/// What happens to the processes and the network.
#[derive(Clone, Debug)]
enum Trouble {
    /// A process does nothing for a while. Its clock goes on.
    Freeze { who: usize, length: Time },
    /// A process ends without a word, and another one begins in its place later.
    Kill { who: usize, reborn: Time },
    /// A process is asked to end, and another one begins in its place later.
    Leave { who: usize, reborn: Time },
    /// Requests of this one, or their answers, do not come through.
    Lose { who: usize, length: Time, answers: bool },
    /// Everything takes long, and is done although nobody waits for it any more.
    Slow { length: Time },
    /// The API server is away.
    Outage { length: Time },
}

struct Process {
    candidate: Candidate,
    /// How its clock differs: it reads `offset + rate × time`.
    rate: f64,
    offset: f64,
    frozen_until: Time,
    lost_until: (Time, bool),
    alive: bool,
    reborn: Option<Time>,
    lives: usize,
    /// What has come and was not heard yet, and to which request it is the answer.
    inbox: Vec<(Time, usize, Answer)>,
    /// The number of the request under way, and when it is given up, in true time.
    waiting: Option<(usize, Time)>,
}

struct Letter {
    arrives: Time,
    who: usize,
    /// The sender's name; it may be dead when this arrives.
    name: String,
    number: usize,
    request: Effect,
}

struct Play {
    base: Instant,
    now: Time,
    terms: Terms,
    processes: Vec<Process>,
    seat: Option<Seat>,
    versions: u64,
    /// What is on its way to the server.
    wire: Vec<Letter>,
    requests: usize,
    slow_until: Time,
    down_until: Time,
    random: u64,
    /// Who began to lead when, and by what.
    reigns: Vec<(Time, usize, Title)>,
    /// The most that led at once, by their own clocks.
    most: usize,
}

impl Process {
    fn local(&self, base: Instant, time: Time) -> Instant {
        base + Duration::from_micros((self.offset + self.rate * time as f64) as u64)
    }

    /// The first moment at which its clock shows this or more.
    fn when(&self, base: Instant, local: Instant) -> Time {
        let micros = local.saturating_duration_since(base).as_micros() as f64;
        ((micros - self.offset) / self.rate).max(0.0).ceil() as Time + 2
    }
}

impl Play {
    fn new(clocks: &[(f64, f64)], seed: u64) -> Self {
        let base = Instant::now();
        let mut play = Self {
            base,
            now: 0,
            terms: Terms::default(),
            processes: Vec::new(),
            seat: None,
            versions: 0,
            wire: Vec::new(),
            requests: 0,
            slow_until: 0,
            down_until: 0,
            random: seed | 1,
            reigns: Vec::new(),
            most: 0,
        };
        for (index, (rate, offset)) in clocks.iter().enumerate() {
            let mut process = Process {
                candidate: Candidate::new(format!("p{index}-0"), play.terms, base),
                rate: *rate,
                offset: *offset,
                frozen_until: 0,
                lost_until: (0, false),
                alive: true,
                reborn: None,
                lives: 0,
                inbox: Vec::new(),
                waiting: None,
            };
            process.candidate = Candidate::new(format!("p{index}-0"), play.terms, process.local(base, 0));
            play.processes.push(process);
        }
        play
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// How long something is under way.
    fn delay(&mut self) -> Time {
        let slow = self.now < self.slow_until;
        if slow { self.draw(9 * SECOND) } else { 1_000 + self.draw(30_000) }
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |process: &Process| process.candidate.leads(process.local(self.base, self.now));
        let alive = self.processes.iter().enumerate().filter(|(_, process)| process.alive && leads(process));
        alive.map(|(index, _)| index).collect()
    }

    fn begin(&mut self, trouble: &Trouble) {
        let now = self.now;
        match *trouble {
            Trouble::Freeze { who, length } => self.processes[who].frozen_until = now + length,
            Trouble::Lose { who, length, answers } => {
                self.processes[who].lost_until = (now + length, answers)
            }
            Trouble::Slow { length } => self.slow_until = now + length,
            Trouble::Outage { length } => self.down_until = now + length,
            Trouble::Kill { who, reborn } if self.processes[who].alive => self.end(who, now + reborn),
            Trouble::Leave { who, reborn } if self.processes[who].alive => {
                self.processes[who].reborn = Some(now + reborn);
                self.feed(who, Event::Resign);
            }
            Trouble::Kill { .. } | Trouble::Leave { .. } => {}
        }
    }

    fn end(&mut self, who: usize, reborn: Time) {
        let process = &mut self.processes[who];
        (process.alive, process.reborn) = (false, Some(reborn));
        process.inbox.clear();
        process.waiting = None;
    }

    fn rise(&mut self, who: usize) {
        let (base, terms, now) = (self.base, self.terms, self.now);
        let process = &mut self.processes[who];
        process.lives += 1;
        (process.alive, process.reborn, process.frozen_until) = (true, None, 0);
        let name = format!("p{who}-{}", process.lives);
        process.candidate = Candidate::new(name, terms, process.local(base, now));
    }

    fn feed(&mut self, who: usize, event: Event) {
        let local = self.processes[who].local(self.base, self.now);
        let effects = self.processes[who].candidate.on(event, local);
        for effect in effects {
            match effect {
                Effect::Read | Effect::Write(_) => self.send(who, effect),
                Effect::Lead(title) => self.reigns.push((self.now, who, title)),
                Effect::Follow(_) => {}
                Effect::Resigned { .. } => {
                    let reborn = self.processes[who].reborn.unwrap_or(self.now);
                    self.end(who, reborn);
                }
            }
        }
        self.most = self.most.max(self.leaders().len());
    }

    fn send(&mut self, who: usize, request: Effect) {
        self.requests += 1;
        let number = self.requests;
        let process = &self.processes[who];
        let give_up = process.when(self.base, process.local(self.base, self.now) + self.terms.patience());
        let lost = self.now < process.lost_until.0 && !process.lost_until.1;
        self.processes[who].waiting = Some((number, give_up));
        if !lost {
            let (arrives, name) = (self.now + self.delay(), self.processes[who].candidate.name().to_owned());
            self.wire.push(Letter { arrives, who, name, number, request });
        }
    }

    /// The server takes a request.
    fn serve(&mut self, letter: Letter) {
        let Letter { who, name, number, request, .. } = letter;
        if self.now < self.down_until {
            return;
        }
        self.versions += 1;
        let (version, stands) = (Version(self.versions), self.seat.as_ref().map(|seat| seat.version));
        let mut seat = self.seat.clone().unwrap_or_default();
        (seat.life, seat.stamp) = (Some(self.terms.lease()), self.versions.to_string());
        let asked = match request {
            Effect::Write(Bid::Found) => {
                seat.holder = Some(name);
                None
            }
            Effect::Write(Bid::Take { version, term }) => {
                (seat.holder, seat.term) = (Some(name), term);
                Some(version)
            }
            Effect::Write(Bid::Renew { version }) => Some(version),
            Effect::Write(Bid::Vacate { version }) => {
                seat.holder = None;
                Some(version)
            }
            _ => {
                let answer = Answer::Read(self.seat.clone());
                return self.reply(who, number, answer);
            }
        };
        let answer = if asked == stands {
            seat.version = version;
            self.seat = Some(seat.clone());
            Answer::Written(seat)
        } else {
            Answer::Outrun
        };
        self.reply(who, number, answer);
    }

    fn reply(&mut self, who: usize, number: usize, answer: Answer) {
        let lost = self.now < self.processes[who].lost_until.0 && self.processes[who].lost_until.1;
        if !lost {
            let arrives = self.now + self.delay();
            self.processes[who].inbox.push((arrives, number, answer));
        }
    }

    /// When something can next happen to a process, while it is not frozen.
    fn due(&self, who: usize) -> Option<Time> {
        let process = &self.processes[who];
        if !process.alive {
            return process.reborn;
        }
        let tick = process.candidate.due().map(|due| process.when(self.base, due));
        let come = process.inbox.iter().map(|(time, ..)| *time);
        let give_up = process.waiting.map(|(_, time)| time);
        come.chain(tick).chain(give_up).min().map(|time| time.max(process.frozen_until))
    }

    /// Plays until this time.
    fn until(&mut self, end: Time) {
        loop {
            let arrival = self.wire.iter().map(|letter| letter.arrives).min();
            let turn = (0..self.processes.len()).filter_map(|who| Some((self.due(who)?, who))).min();
            let next = arrival.into_iter().chain(turn.map(|(time, _)| time)).min();
            let Some(next) = next.filter(|time| *time <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival.is_some_and(|time| time <= next) {
                let first = self.wire.iter().position(|letter| letter.arrives == next).unwrap();
                let letter = self.wire.swap_remove(first);
                self.serve(letter);
            } else {
                self.turn(turn.unwrap().1);
            }
        }
    }

    fn turn(&mut self, who: usize) {
        let now = self.now;
        let process = &mut self.processes[who];
        if !process.alive {
            return self.rise(who);
        }
        let heard = process.inbox.iter().position(|(time, ..)| *time <= now);
        if let Some(place) = heard {
            let (_, number, answer) = process.inbox.swap_remove(place);
            // What was given up is heard no more.
            if process.waiting.is_some_and(|(waiting, _)| waiting == number) {
                process.waiting = None;
                self.feed(who, Event::Answer(answer));
            }
        } else if process.waiting.is_some_and(|(_, give_up)| give_up <= now) {
            process.waiting = None;
            self.feed(who, Event::Answer(Answer::Failed));
        } else {
            self.feed(who, Event::Tick);
        }
    }

    /// Plays until somebody leads; who, and how long that took.
    fn until_led(&mut self, within: Time) -> (usize, Time) {
        let start = self.now;
        while self.leaders().is_empty() {
            assert!(self.now < start + within, "nobody leads after {} s", (self.now - start) / SECOND);
            self.until(self.now + 10_000);
        }
        (self.leaders()[0], self.now - start)
    }
}

fn clocks(count: usize) -> Vec<(f64, f64)> {
    (0..count).map(|index| (1.0, index as f64 * 3_600e6)).collect()
}

#[test]
fn after_a_death_somebody_leads_within_twenty_seconds_and_after_a_farewell_within_three() {
    for count in 2..=5 {
        for seed in 0..40 {
            let mut play = Play::new(&clocks(count), seed * 7_919 + 13);
            let (first, took) = play.until_led(SECOND);
            assert!(took < SECOND);
            play.until(play.now + 10 * SECOND + seed * 100_000);
            play.begin(&Trouble::Kill { who: first, reborn: 20 * SECOND });
            let (second, took) = play.until_led(20 * SECOND);
            assert!(took > 12 * SECOND, "it waits: {took}");
            play.until(play.now + 25 * SECOND);
            play.begin(&Trouble::Leave { who: second, reborn: 20 * SECOND });
            let (third, took) = play.until_led(3 * SECOND);
            assert!(third != second && took < 3 * SECOND, "{took}");
            assert_eq!(play.most, 1);
        }
    }
}

#[test]
fn a_leader_that_froze_for_longer_than_the_lease_has_stopped_before_it_knows() {
    for seed in 0..40 {
        let mut play = Play::new(&clocks(3), seed * 104_729 + 7);
        let (first, _) = play.until_led(SECOND);
        play.until(play.now + 5 * SECOND + seed * 50_000);
        play.begin(&Trouble::Freeze { who: first, length: 25 * SECOND });
        play.until(play.now + 40 * SECOND);
        assert_eq!((play.most, play.leaders().len(), play.reigns.len()), (1, 1, 2), "{:?}", play.reigns);
        assert_ne!(play.leaders(), [first]);
        assert_eq!(play.reigns[1].2, Title::Succession);
    }
}

#[test]
fn an_outage_that_nobody_else_can_use_ends_with_the_same_leader_or_with_a_successor() {
    let mut resumed = 0;
    for seed in 0..40 {
        let mut play = Play::new(&clocks(2), seed * 15_485_863 + 3);
        let (first, _) = play.until_led(SECOND);
        play.until(play.now + 5 * SECOND);
        play.begin(&Trouble::Outage { length: 12 * SECOND });
        play.until(play.now + 11 * SECOND);
        assert!(play.leaders().is_empty(), "who cannot renew does not act");
        let (next, _) = play.until_led(20 * SECOND);
        assert_eq!(play.most, 1);
        let (_, who, title) = play.reigns[1];
        assert_eq!((who, title == Title::Resumption), (next, next == first));
        resumed += usize::from(next == first);
    }
    assert!(resumed > 0, "as long as the lease has not run out, it is still its own");
}

#[test]
fn a_lease_deleted_by_hand_costs_no_more_than_what_is_documented() {
    for seed in 0..40 {
        let mut play = Play::new(&clocks(3), seed * 32_452_843 + 5);
        play.until_led(SECOND);
        play.until(play.now + 7 * SECOND + seed * 40_000);
        play.seat = None;
        play.until(play.now + 30 * SECOND);
        // Whoever has seen the holder waits for it.
        assert_eq!((play.most, play.leaders().len()), (1, 1));

        // Only one that begins at that moment knows nothing of it, and for no longer than the next renewal.
        play.begin(&Trouble::Kill { who: (play.leaders()[0] + 1) % 3, reborn: SECOND });
        play.until(play.now + 900_000);
        play.seat = None;
        let start = play.now;
        while play.now < start + 10 * SECOND {
            play.until(play.now + 10_000);
            assert!(play.leaders().len() < 2 || play.now < start + 3 * SECOND + 100_000);
        }
        assert_eq!(play.leaders().len(), 1);
    }
}

fn trouble(count: usize) -> impl Strategy<Value = (Time, Trouble)> {
    let who = 0..count;
    let length = 0..40 * SECOND;
    let what = prop_oneof![
        (who.clone(), length.clone()).prop_map(|(who, length)| Trouble::Freeze { who, length }),
        (who.clone(), length.clone()).prop_map(|(who, reborn)| Trouble::Kill { who, reborn }),
        (who.clone(), length.clone()).prop_map(|(who, reborn)| Trouble::Leave { who, reborn }),
        (who, length.clone(), any::<bool>()).prop_map(|(who, length, answers)| Trouble::Lose {
            who,
            length,
            answers
        }),
        length.clone().prop_map(|length| Trouble::Slow { length }),
        length.prop_map(|length| Trouble::Outage { length }),
    ];
    (0..12 * SECOND, what)
}

/// The clocks, a seed for delays, and what happens after which pause.
type History = (Vec<(f64, f64)>, u64, Vec<(Time, Trouble)>);

fn history() -> impl Strategy<Value = History> {
    (2..=5usize).prop_flat_map(|count| {
        let clock = (-DRIFT_MAX..DRIFT_MAX, 0.0..1e12).prop_map(|(drift, offset)| (1.0 + drift, offset));
        (prop::collection::vec(clock, count), any::<u64>(), prop::collection::vec(trouble(count), 0..25))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Also for one that does not know yet that its time is over.
    #[test]
    fn never_do_two_lead_at_once_and_in_the_end_one_does((clocks, seed, troubles) in history()) {
        let mut play = Play::new(&clocks, seed);
        for (pause, trouble) in &troubles {
            play.until(play.now + pause);
            play.begin(trouble);
        }
        prop_assert_eq!(play.most.max(1), 1, "{:?}", play.reigns);
        // All trouble ends within 40 s; then somebody leads soon, and nobody else.
        play.until(play.now + 90 * SECOND);
        prop_assert_eq!((play.most, play.leaders().len()), (1, 1), "{:?}", play.reigns);
        let reigns = play.reigns.len();
        play.until(play.now + 60 * SECOND);
        prop_assert_eq!(play.reigns.len(), reigns, "it stays so");
    }
}
