//! The incident report: JSON for machines, Markdown for people. Never a secret.

use std::{collections::BTreeMap, fmt::Write};

use serde::Serialize;
use uuid::Uuid;

use super::{Action, Incident, Progress, Step};
use crate::{
    catalog::{Class, Secret},
    clock::Timestamp,
    rollover::{CutOff, Rollover},
};

/// Everything that is known of an incident.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The incident with its plan.
    pub incident: Incident,
    /// What happened, from the audit trail, oldest first.
    pub timeline: Vec<Told>,
    /// Each key, and which replica stopped accepting it when.
    pub cut_offs: Vec<CutOffOf>,
    /// Users whom it concerns, to be notified; `None` when they could not be listed.
    pub affected: Option<Vec<Affected>>,
    /// Entries of the audit trail from when the exposure began, oldest first.
    pub window: Vec<Told>,
    /// The end of that time: when the last key was cut off, or the present.
    pub window_until: Timestamp,
    /// Whether there are more of that time: see `GET /admin/audit`.
    pub window_goes_on: bool,
    /// What a person must still do.
    pub to_do: Vec<String>,
    /// When this was so.
    pub as_of: Timestamp,
}

/// One entry of the audit trail, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// Who: an address, an id, or `system`.
    pub who: String,
    /// What.
    pub action: String,
    /// To what.
    pub what: String,
    /// How it ended.
    pub result: String,
}

/// The cut-off of one secret's old key.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CutOffOf {
    /// Which secret.
    pub secret: Secret,
    /// Rows rewrapped from it, so far.
    pub rows_rewrapped: u64,
    /// The key, since when, and on which replica when.
    #[serde(flatten)]
    pub cut_off: CutOff,
}

/// A user whom an incident concerns, as the application knows them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affected {
    /// `users.id`.
    pub id: Uuid,
    /// Where to write to.
    pub email: String,
}

impl Report {
    /// What a person must still do about `step`, whose rollover is `own`. `later` is one
    /// by which somebody has begun to do it.
    #[must_use]
    pub fn to_do(step: &Step, own: Option<&Rollover>, later: Option<&Rollover>) -> Vec<String> {
        let secret = step.secret;
        let mut to_do = vec![];
        match (&step.progress, step.action) {
            (Progress::Off | Progress::Waiting { because: None }, _) => return to_do,
            (Progress::ByHand, _) | (_, Action::Reissue) => to_do.extend(reissue(secret, later)),
            (Progress::Waiting { because: Some(why) }, _) => {
                to_do.push(format!("{secret} waits: {why}"));
            }
            (Progress::Failed { why, .. }, _) if later.is_none() => {
                to_do.push(format!("{secret} was not rolled over ({why}); roll it over by itself"));
            }
            (Progress::Failed { .. }, _) => to_do.extend(under_way(later)),
            (Progress::Running { .. }, _) => to_do.extend(under_way(own)),
            (Progress::Done { .. }, _) => {}
        }
        let is_begun = matches!(step.progress, Progress::Running { .. } | Progress::Done { .. });
        if let Some(then) = step.afterwards.as_ref().filter(|_| is_begun) {
            match secret.entry().class {
                Class::Shared if later.is_some() => to_do.extend(under_way(later)),
                Class::Sealing if step.sealed.is_empty() => {}
                Class::Sealing => to_do.push(format!("{then} ({})", counts(&step.sealed))),
                _ => to_do.push(then.clone()),
            }
        }
        if !step.also.is_empty() {
            let names: Vec<_> = step.also.iter().map(|secret| secret.name()).collect();
            let names = names.join(", ");
            to_do.push(format!(
                "the exposed value of {secret} is accepted as an old key of {names} as well, \
                 whose work it once did: roll that over, too"
            ));
        }
        to_do
    }

    /// For people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut impl Write) -> std::fmt::Result {
        let incident = &self.incident;
        writeln!(f, "# Incident {}\n", incident.id)?;
        writeln!(f, "{}\n", line(&incident.reason))?;
        let names: Vec<_> = incident.secrets.iter().map(|secret| secret.name()).collect();
        writeln!(f, "- Exposed: {}, since {}", names.join(", "), incident.exposed_since)?;
        writeln!(f, "- Reported: {} by {}", incident.opened_at, line(&incident.opened_by))?;
        if let (Some(at), Some(by)) = (incident.confirmed_at, &incident.confirmed_by) {
            writeln!(f, "- Confirmed: {at} by {}", line(by))?;
        }
        if let Some(at) = incident.ended_at {
            writeln!(f, "- Ended: {at}")?;
        }
        writeln!(f, "- As of: {}\n\n## Steps\n", self.as_of)?;
        writeln!(f, "| secret | state | what it breaks | made invalid |\n|---|---|---|---|")?;
        for step in &incident.steps {
            writeln!(
                f,
                "| `{}` | {} | {} | {} |",
                step.secret,
                cell(&state(&step.progress)),
                cell(&match &step.afterwards {
                    Some(then) => format!("{}; then {then}", step.disruption),
                    None => step.disruption.clone(),
                }),
                cell(&match &step.invalidates {
                    Some(invalid) => counts(invalid),
                    None => "could not be counted".to_owned(),
                })
            )?;
        }
        writeln!(f, "\n## Cut-off\n")?;
        for of in &self.cut_offs {
            let since = match of.cut_off.at {
                Some(at) => format!("cut off everywhere since {at}"),
                None => "may still be accepted".to_owned(),
            };
            let (secret, key) = (of.secret, &of.cut_off.key);
            writeln!(
                f,
                "- `{secret}`, key `{key}`: {since}; {} row(s) rewrapped",
                of.rows_rewrapped
            )?;
            for replica in &of.cut_off.replicas {
                writeln!(f, "    - replica {}: {}", line(&replica.name), replica.acceptance)?;
            }
        }
        writeln!(f, "\n## What a person must still do\n")?;
        if self.to_do.is_empty() {
            writeln!(f, "Nothing.")?;
        }
        for todo in &self.to_do {
            writeln!(f, "- [ ] {todo}")?;
        }
        match &self.affected {
            Some(affected) => {
                writeln!(f, "\n## Users to notify ({})\n", affected.len())?;
                for user in affected {
                    writeln!(f, "- {} ({})", line(&user.email), user.id)?;
                }
            }
            None => writeln!(f, "\n## Users to notify\n\nThey could not be listed: ask again.")?,
        }
        writeln!(f, "\n## Timeline\n")?;
        table(f, &self.timeline)?;
        let (since, until) = (incident.exposed_since, self.window_until);
        writeln!(f, "\n## Audit entries of the exposure, {since} to {until}\n")?;
        table(f, &self.window)?;
        if self.window_goes_on {
            writeln!(f, "\nThere are more of that time: see `GET /admin/audit`.")?;
        }
        Ok(())
    }
}

/// What a person does about a secret that only they can have issued anew.
fn reissue(secret: Secret, later: Option<&Rollover>) -> Option<String> {
    if later.is_some() {
        return under_way(later);
    }
    Some(match secret.entry().class {
        Class::Shared => {
            format!("make a new {secret}: {}", secret.entry().elsewhere.join("; "))
        }
        _ => format!(
            "have {secret} issued anew at its provider, send it with POST /admin/rollovers \
             {{\"secret\": \"{secret}\", \"mode\": \"hard\", \"value\": …}}, and revoke the old \
             one there"
        ),
    })
}

/// What a rollover that has begun still waits for, if anything.
fn under_way(rollover: Option<&Rollover>) -> Option<String> {
    let rollover = rollover
        .filter(|rollover| rollover.phase.is_active() || rollover.awaited_cut_off().is_some())?;
    let (id, secret, why) = (rollover.id, rollover.secret, rollover.blocked_by.as_ref()?);
    Some(match rollover.cut_off.as_ref().and_then(|cut_off| cut_off.at) {
        Some(_) => format!("{secret} is cut off, and rollover {id} goes on: {why}"),
        None => format!("{secret} is not cut off everywhere yet, by rollover {id}: {why}"),
    })
}

fn counts(of: &BTreeMap<String, u64>) -> String {
    let counts: Vec<_> = of.iter().map(|(what, n)| format!("{n} {what}")).collect();
    counts.join(", ")
}

fn state(progress: &Progress) -> String {
    match progress {
        Progress::Waiting { because: None } => "waits".to_owned(),
        Progress::Waiting { because: Some(why) } => format!("waits: {why}"),
        Progress::Running { .. } => "runs".to_owned(),
        Progress::Done { at, .. } => format!("done {at}"),
        Progress::Failed { why, .. } => format!("failed: {why}"),
        Progress::ByHand => "by hand".to_owned(),
        Progress::Off => "off".to_owned(),
    }
}

fn table(f: &mut impl Write, entries: &[Told]) -> std::fmt::Result {
    writeln!(f, "| time | who | what | to | result |\n|---|---|---|---|---|")?;
    for told in entries {
        let (who, action, what) = (cell(&told.who), cell(&told.action), cell(&told.what));
        writeln!(f, "| {} | {who} | {action} | {what} | {} |", told.at, told.result)?;
    }
    Ok(())
}

/// Text of others on one line, without a meaning of its own in Markdown or HTML.
fn line(text: &str) -> String {
    let mut told = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => told.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' => told.extend(['\\', c]),
            '<' => told.push_str("&lt;"),
            '&' => told.push_str("&amp;"),
            c => told.push(c),
        }
    }
    told
}

fn cell(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_has_no_meaning_in_markdown() {
        assert_eq!(line("a|b\n# c <img> [x](y)"), "a\\|b \\# c &lt;img> \\[x\\](y)");
    }
}
