//! What `imps doctor` answers, as data and for people: the JSON output is just this.

use std::process::ExitCode;

use imps_api::keys;
use imps_cluster::snapshot::Unseen;
use serde::Serialize;

use super::super::UNDETERMINED;

/// How something is.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// It deserves a look, and works.
    Warning,
    /// It could not be determined.
    Unknown,
    /// It keeps imps from working.
    Error,
}

/// What a check is about.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum Area {
    Versions,
    Operator,
    /// The person who asks.
    You,
    /// Other tools.
    Rivals,
}

/// One thing that was looked at.
#[derive(Serialize, Debug)]
pub(super) struct Check {
    pub(super) area: Area,
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

/// The whole answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    api_version: String,
    kind: &'static str,
    checks: Vec<Check>,
}

impl Default for Report {
    fn default() -> Self {
        Self { api_version: format!("cli.{}/v1", keys::GROUP), kind: "Checkup", checks: Vec::new() }
    }
}

impl Check {
    pub(super) fn ok(area: Area, name: &'static str, message: String) -> Self {
        Self { area, name, state: State::Ok, message, remedy: String::new() }
    }

    pub(super) fn warning(area: Area, name: &'static str, message: String, remedy: String) -> Self {
        Self { area, name, state: State::Warning, message, remedy }
    }

    pub(super) fn error(area: Area, name: &'static str, message: String, remedy: String) -> Self {
        Self { area, name, state: State::Error, message, remedy }
    }

    pub(super) fn unknown(area: Area, name: &'static str, message: String) -> Self {
        Self { area, name, state: State::Unknown, message, remedy: String::new() }
    }

    /// Something could not be seen; the message has the right that is missing.
    pub(super) fn unseen(area: Area, name: &'static str, unseen: &Unseen) -> Self {
        Self::unknown(area, name, unseen.to_string())
    }
}

impl State {
    fn mark(self, colour: bool) -> String {
        let (mark, paint) = match self {
            State::Ok => ("✔", "32"),
            State::Warning => ("▲", "33"),
            State::Unknown => ("?", "36"),
            State::Error => ("✖", "31"),
        };
        if colour { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() }
    }
}

impl Area {
    fn title(self) -> &'static str {
        match self {
            Area::Versions => "Versions",
            Area::Operator => "Operator",
            Area::You => "You",
            Area::Rivals => "Other tools",
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    fn has(&self, state: State) -> bool {
        self.checks.iter().any(|check| check.state == state)
    }

    /// What is broken counts for more than what is not known.
    pub(super) fn exit(&self) -> ExitCode {
        match (self.has(State::Error), self.has(State::Unknown)) {
            (true, _) => ExitCode::FAILURE,
            (false, true) => ExitCode::from(UNDETERMINED),
            (false, false) => ExitCode::SUCCESS,
        }
    }

    /// For people.
    pub(super) fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        let mut area = None;
        for check in &self.checks {
            if area.replace(check.area) != Some(check.area) {
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{}\n", check.area.title()));
            }
            text.push_str(&format!("{} {:<18} {}\n", check.state.mark(colour), check.name, check.message));
            if !check.remedy.is_empty() {
                text.push_str(&format!("{:21}> {}\n", "", check.remedy));
            }
        }
        let verdict = match (self.has(State::Error), self.has(State::Unknown)) {
            (true, _) => "something keeps imps from working",
            (false, true) => "nothing is known to be broken, and not all could be looked at",
            (false, false) => "nothing keeps imps from working",
        };
        format!("{text}\n{verdict}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(states: &[State]) -> Report {
        let mut report = Report::default();
        for state in states {
            let check = Check::ok(Area::Operator, "leader", "a message".to_owned());
            report.add(Check { state: *state, ..check });
        }
        report
    }

    #[test]
    fn what_is_broken_counts_for_more_than_what_is_not_known_and_a_warning_for_nothing() {
        let exit = |states: &[State]| format!("{:?}", report(states).exit());
        let code = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(exit(&[State::Ok, State::Warning]), code(0));
        assert_eq!(exit(&[State::Unknown, State::Ok]), code(3));
        assert_eq!(exit(&[State::Unknown, State::Error]), code(1));
    }

    #[test]
    fn each_area_has_one_heading() {
        let mut report = report(&[State::Ok, State::Error]);
        report.add(Check::warning(Area::Rivals, "reflector", "is there".to_owned(), "see to it".to_owned()));
        assert_eq!(
            report.render(false),
            "Operator\n✔ leader             a message\n✖ leader             a message\n\nOther tools\n\
             ▲ reflector          is there\n                     > see to it\n\nsomething keeps imps from working\n"
        );
    }
}
