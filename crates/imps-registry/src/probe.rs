//! Asking registries whether they let a pull in, with the logins that the kubelet would show: the hands of a probe.
//! What is asked and what answers mean is in `dialogue`; which logins there are is said in `imps-core`.
//!
//! A login goes to the registry that its image names and to the token service that this names, encrypted or on this
//! machine, and after no redirect. Nothing is logged, and of an answer nothing is kept but a word and numbers.

mod challenge;
mod dialogue;
mod line;

use std::sync::Arc;

use imps_core::credential::Credential;
use imps_core::diagnosis::probe::{Answer, Limit, Place, Probed, Trial, Tried, Word, place_of};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use self::dialogue::{CLOSED, Dialogue, MISUNDERSTOOD, Next, bases};
use self::line::Line;
use crate::outside::Limits;

/// How many images are asked about at a time.
const AT_ONCE: usize = 4;

/// How many images are asked about in one run. Registries count.
const IMAGES_MAX: usize = 20;

const TOO_MANY: &str = "these are more images than are asked about in one run";
const TOO_LATE: &str = "the time for all requests ran out";
const MORE_LOGINS: &str = "the kubelet would try more logins than are tried here";

/// Asks for each image with one login after the other until one is let in, a few images at a time. It ends within
/// [`Limits::whole`]; the answers are in the order of the trials.
pub async fn probe(trials: Vec<Trial>, limits: Limits) -> Vec<Probed> {
    let line = Line::new(limits);
    let (deadline, room) = (Instant::now() + limits.whole, Arc::new(Semaphore::new(AT_ONCE)));
    let unasked = |(number, trial): (usize, &Trial)| Probed {
        image: trial.image.clone(),
        tried: Vec::new(),
        gap: Some(if number < IMAGES_MAX { TOO_LATE } else { TOO_MANY }),
    };
    let mut answers: Vec<Probed> = trials.iter().enumerate().map(unasked).collect();
    let mut under_way = JoinSet::new();
    for (number, trial) in trials.into_iter().enumerate().take(IMAGES_MAX) {
        let (line, room) = (line.clone(), Arc::clone(&room));
        let asking = async move {
            let _place = timeout_at(deadline, room.acquire()).await.ok()?.ok()?;
            Some((number, carry_out(&line, trial, deadline).await))
        };
        under_way.spawn(asking.with_subscriber(NoSubscriber::default()));
    }
    while let Some(done) = under_way.join_next().await {
        if let Ok(Some((number, probed))) = done {
            answers[number] = probed;
        }
    }
    answers
}

async fn carry_out(line: &Line, trial: Trial, deadline: Instant) -> Probed {
    let mut probed = Probed { image: trial.image, tried: Vec::new(), gap: None };
    let Some(place) = place_of(&probed.image) else { return probed };
    for one in trial.tries {
        let Ok(answer) = timeout_at(deadline, ask(line, &place, one.login.as_ref())).await else {
            probed.gap = Some(TOO_LATE);
            return probed;
        };
        probed.tried.push(Tried { label: one.label, with_login: one.login.is_some(), answer });
        if !answer.word.is_about_the_login() {
            return probed;
        }
    }
    probed.gap = (trial.left_out > 0).then_some(MORE_LOGINS);
    probed
}

/// Asks with one login.
async fn ask(line: &Line, place: &Place, login: Option<&Credential>) -> Answer {
    let mut answer = Answer { word: Word::Unconnected, limit: Limit::default() };
    for (number, base) in bases(place).into_iter().enumerate() {
        let next = converse(line, place, base, login).await;
        let no_better = matches!(next.word, Word::Alien(_) | Word::Plain | Word::Hanging | Word::Unconnected);
        if number == 0 || !no_better {
            answer = next;
        }
        if !matches!(answer.word, Word::Alien(MISUNDERSTOOD | CLOSED)) {
            break;
        }
    }
    answer
}

async fn converse(line: &Line, place: &Place, base: String, login: Option<&Credential>) -> Answer {
    let (mut dialogue, mut question) = Dialogue::begin(place, base, login.is_some());
    let mut token = None;
    loop {
        let heard = match line.ask(question, login, token.as_ref()).await {
            Ok((heard, given)) => {
                token = given;
                heard
            }
            Err(word) => return Answer { word, limit: Limit::default() },
        };
        match dialogue.next(&heard) {
            Next::Ask(next) => question = next,
            Next::End(answer) => return answer,
        }
    }
}
