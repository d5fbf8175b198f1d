//! Either the inner service's future or an answer that is ready.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::{keyring::Keychain, problem::Problem};

pin_project! {
    /// The future of every layer here.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = AnswerProjection]
    enum Answer<F> {
        Inner { #[pin] future: F, held: Arc<Keychain> },
        Refusal { problem: Option<Box<Problem>> },
    }
}

impl<F> ResponseFuture<F> {
    /// What `future` answers. `held` is held until then.
    pub(super) const fn forward(future: F, held: Arc<Keychain>) -> Self {
        Self { answer: Answer::Inner { future, held } }
    }

    pub(super) fn reject(problem: Problem) -> Self {
        Self { answer: Answer::Refusal { problem: Some(Box::new(problem)) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: From<String>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjection::Inner { future, .. } => future.poll(cx),
            AnswerProjection::Refusal { problem } => {
                let problem = problem.take().expect("a finished future is not polled again");
                Poll::Ready(Ok(problem.response()))
            }
        }
    }
}
