//! The inner service's answer, with the cookie signed anew where its key runs dry.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Response, header::SET_COOKIE};
use pin_project_lite::pin_project;
use secrecy::ExposeSecret;

use super::{
    cookie::{Session, sign},
    layer::SessionLayer,
    policy::SESSION_COOKIE,
};
use crate::{catalog::Secret, keyring::Keychain, layer::ResponseFuture};

pin_project! {
    /// The future of a [`Sessions`](super::Sessions).
    #[derive(Debug)]
    pub struct SessionFuture<F> {
        #[pin]
        answer: ResponseFuture<F>,
        renewal: Option<Renewal>,
    }
}

impl<F> SessionFuture<F> {
    pub(super) const fn new(answer: ResponseFuture<F>, renewal: Option<Renewal>) -> Self {
        Self { answer, renewal }
    }
}

/// A session whose cookie is to be signed anew, with the keys of its request.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) layer: SessionLayer,
    pub(super) keychain: Arc<Keychain>,
    pub(super) session: Arc<Session>,
}

impl Renewal {
    /// Adds the cookie, unless the handler set one. A session that cannot be signed now
    /// goes on with the cookie that it has.
    fn add_to(&self, headers: &mut HeaderMap) {
        if headers.get_all(SET_COOKIE).iter().any(is_session_cookie) {
            return;
        }
        let Ok(ring) = self.keychain.signing(Secret::SessionSecret) else { return };
        match sign(ring, &self.session) {
            Ok(value) => {
                let left = self.session.seconds_left(self.layer.now());
                let cookie = self.layer.policy().session(value.expose_secret(), left);
                headers.append(SET_COOKIE, cookie);
            }
            Err(reason) => tracing::debug!(%reason, "a session cookie is not signed anew"),
        }
    }
}

fn is_session_cookie(value: &HeaderValue) -> bool {
    let rest = value.as_bytes().strip_prefix(SESSION_COOKIE.as_bytes());
    rest.is_some_and(|rest| rest.first() == Some(&b'='))
}

impl<F, B, E> Future for SessionFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: From<String>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        if let Some(renewal) = this.renewal {
            renewal.add_to(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}
