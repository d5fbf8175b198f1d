//! What callers learn when a provider did not do it; the log has the cause.

use std::time::Duration;

use breeze_rollover::{
    problem::Problem,
    provider::{ProviderError, Unavailable},
};
use http::StatusCode;

/// How long to wait before a provider is asked again.
const LATER: Duration = Duration::from_secs(5);

/// What this process is set up with, or that it is not.
pub(crate) fn set_up<'a, T>(
    client: Option<&'a T>,
    variable: &'static str,
) -> Result<&'a T, Problem> {
    client.ok_or_else(|| not_configured(format!("set {variable} in the environment, and restart")))
}

/// What to answer when `what` failed.
pub(crate) fn failed(what: &'static str) -> impl Fn(Unavailable) -> Problem {
    move |error| match error {
        Unavailable::Off(none) => not_configured(none.to_string()),
        Unavailable::Fenced(fenced) => fenced.into(),
        Unavailable::Provider(ProviderError::Declined(said)) => {
            Problem::unprocessable(format!("{what} was declined: {said}"))
                .coded("provider_declined")
        }
        Unavailable::Provider(ProviderError::Unreachable(said)) => {
            tracing::warn!(what, said, "a provider does not answer");
            Problem::unavailable(format!("{what} does not answer now; try again"), LATER)
                .coded("provider_unreachable")
        }
        Unavailable::Provider(error) => {
            tracing::error!(what, %error, "a provider did not do it");
            Problem::new(
                StatusCode::BAD_GATEWAY,
                "provider_failed",
                "A provider failed",
                format!("{what} did not do it; tell an operator, who finds the cause in the log"),
            )
        }
    }
}

fn not_configured(detail: String) -> Problem {
    Problem::unavailable(detail, Duration::from_secs(60)).coded("not_configured")
}
