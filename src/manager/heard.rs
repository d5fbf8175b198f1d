//! What a manager answered, and what of it may be told.

use http::StatusCode;
use reqwest::RequestBuilder;

use super::ManagerError;
use crate::provider::{
    ProviderError,
    http::{Answer, Api},
    patience::Again,
    words::Withheld,
};

/// An answer to a call with credentials and values in it.
pub(super) struct Heard {
    answer: Answer,
    withheld: Withheld,
}

impl Heard {
    /// The answer to a call, whatever it says.
    pub(super) async fn of(
        api: &Api,
        withheld: Withheld,
        again: Again,
        call: impl Fn() -> RequestBuilder,
    ) -> Result<Self, ManagerError> {
        match api.ask(&withheld, again, call).await {
            Ok(answer) => Ok(Self { answer, withheld }),
            Err(ProviderError::Unreachable(told)) => Err(ManagerError::Away(told)),
            Err(ProviderError::Nonsense(told)) => Err(ManagerError::Nonsense(told)),
            Err(error) => Err(ManagerError::Declined(error.to_string())),
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.answer.status
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.answer.body
    }

    /// Whether it holds `text`.
    #[cfg(feature = "vault")]
    pub(super) fn says(&self, text: &str) -> bool {
        std::str::from_utf8(self.body()).is_ok_and(|body| body.contains(text))
    }

    /// What it said, in words that may be told.
    pub(super) fn said(&self) -> String {
        self.answer.words(&self.withheld)
    }

    /// It was no yes, and no refusal that is told otherwise.
    pub(super) fn declined(&self) -> ManagerError {
        if self.status().is_client_error() {
            ManagerError::Declined(self.said())
        } else {
            ManagerError::Nonsense(self.said())
        }
    }

    /// It was a yes without what it should hold.
    pub(super) fn nonsense(&self) -> ManagerError {
        ManagerError::Nonsense(format!("{} without what it documents", self.status()))
    }
}
