//! What else to roll over when a secret has leaked, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Progress, Step};
use crate::catalog::{Class, Secret};

/// The place of a secret in an emergency: tokens and sessions first, since they let
/// anyone in at once; then what sealed data lies under, MFA, and peppers; then what was
/// issued is revoked; then what others share; then credentials at providers.
#[must_use]
pub fn order(secret: Secret) -> (u8, Secret) {
    let rank = match (secret, secret.entry().class) {
        (Secret::JwtSecret, _) => 0,
        (_, Class::Signing) => 1,
        (Secret::MfaEncryptionKey, _) => 3,
        (_, Class::Sealing) => 2,
        (_, Class::Pepper) => 4,
        (_, Class::Issued) => 5,
        (_, Class::Shared) => 6,
        (_, Class::Provider) => 7,
    };
    (rank, secret)
}

/// The plan for `exposed`: they, all that is related to them, and all that is related to
/// that, in order. One that `has_key` denies is switched off here.
#[must_use]
pub fn plan_of(exposed: &[Secret], has_key: impl Fn(Secret) -> bool) -> Vec<Step> {
    let mut covered = BTreeSet::new();
    let mut todo = exposed.to_vec();
    while let Some(secret) = todo.pop() {
        if covered.insert(order(secret)) {
            todo.extend(secret.entry().related);
        }
    }
    let step = |(_, secret): (u8, Secret)| {
        let entry = secret.entry();
        let action = match (secret, entry.class) {
            // Its server accepts the old one until it is told, and a new one only then.
            (Secret::TurnSecret, _) | (_, Class::Provider) => Action::Reissue,
            _ => Action::RollOver,
        };
        let progress = match action {
            _ if !has_key(secret) => Progress::Off,
            Action::Reissue => Progress::ByHand,
            Action::RollOver => Progress::Waiting { because: None },
        };
        Step {
            secret,
            is_exposed: exposed.contains(&secret),
            action,
            disruption: entry.hard_disruption.to_owned(),
            afterwards: match progress {
                Progress::Waiting { .. } => afterwards(secret),
                _ => None,
            },
            progress,
            invalidates: Some(BTreeMap::new()),
            sealed: BTreeMap::new(),
            also: vec![],
        }
    };
    covered.into_iter().map(step).collect()
}

/// What a person must do once `secret` is rolled over to a value that is made here.
fn afterwards(secret: Secret) -> Option<String> {
    Some(match secret.entry().class {
        Class::Shared => format!(
            "nobody can read the {secret} that was made: send one of your own with POST \
             /admin/rollovers {{\"secret\": \"{secret}\", \"mode\": \"hard\", \"value\": …}}, and give \
             it to whoever presents it"
        ),
        Class::Issued => format!("reissue what {secret} revoked"),
        Class::Pepper => format!("reissue what stopped working with {secret}"),
        Class::Sealing if secret == Secret::MfaEncryptionKey => {
            "have everybody set their second factor up anew: who also has a copy of the database \
             computes their codes"
                .to_owned()
        }
        Class::Sealing => {
            "have every credential that was sealed with it issued anew where it is used, and \
             store the new one: who also has a copy of the database reads them"
                .to_owned()
        }
        Class::Signing | Class::Provider => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(exposed: &[Secret]) -> Vec<Secret> {
        plan_of(exposed, |_| true).into_iter().map(|step| step.secret).collect()
    }

    #[test]
    fn a_plan_covers_what_is_related_over_several_steps() {
        assert_eq!(secrets(&[Secret::JwtSecret]), [Secret::JwtSecret, Secret::SessionSecret]);
        assert_eq!(
            secrets(&[Secret::AppEncryptionKey]),
            [Secret::AppEncryptionKey, Secret::MfaEncryptionKey, Secret::MfaRecoveryCodePepper]
        );
    }

    #[test]
    fn everything_has_the_order_of_the_quick_reference() {
        let mut all: Vec<_> = Secret::all().collect();
        all.reverse();
        let order = secrets(&all);
        assert_eq!(order.len(), all.len());
        let place = |secret| order.iter().position(|of| *of == secret).unwrap();
        let expected = [
            Secret::JwtSecret,
            Secret::SessionSecret,
            Secret::AppEncryptionKey,
            Secret::MfaEncryptionKey,
            Secret::MfaRecoveryCodePepper,
            Secret::UserApiKeys,
            Secret::AgentEnrollmentSecret,
            Secret::CloudflareApiToken,
        ];
        assert!(expected.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{order:?}");
        assert!(place(Secret::EnrollmentKeyPepper) < place(Secret::UserApiKeys));
    }

    #[test]
    fn what_others_present_is_cut_off_and_a_person_hands_in_the_next() {
        let exposed = [Secret::AgentEnrollmentSecret, Secret::TurnSecret, Secret::JwtSecret];
        for step in plan_of(&exposed, |_| true) {
            let is_for_people = step.afterwards.as_deref().is_some_and(|then| {
                then.contains("nobody can read the AGENT_ENROLLMENT_SECRET that was made")
            });
            let (action, progress) = match step.secret {
                Secret::TurnSecret => (Action::Reissue, Progress::ByHand),
                _ => (Action::RollOver, Progress::Waiting { because: None }),
            };
            assert_eq!((step.action, &step.progress), (action, &progress), "{}", step.secret);
            assert_eq!(is_for_people, step.secret == Secret::AgentEnrollmentSecret);
        }
    }

    #[test]
    fn a_credential_is_for_people_and_what_is_off_is_left_out() {
        let exposed = [Secret::AnthropicApiKey, Secret::JwtSecret];
        let plan = plan_of(&exposed, |secret| secret != Secret::SessionSecret);
        let told: Vec<_> = plan.iter().map(|step| (step.secret, step.progress.clone())).collect();
        assert_eq!(
            told,
            [
                (Secret::JwtSecret, Progress::Waiting { because: None }),
                (Secret::SessionSecret, Progress::Off),
                (Secret::AnthropicApiKey, Progress::ByHand),
            ]
        );
        assert_eq!(plan.iter().map(|s| s.is_exposed).collect::<Vec<_>>(), [true, false, true]);
    }
}
