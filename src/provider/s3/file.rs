//! A file on its way from the storage to whoever reads it.
//!
//! 1. Its way ends: with the file, when a part of it does not come or is not taken in
//!    time, and when the whole takes too long. A task of its own passes it on, so that
//!    this does not depend on anybody who asks for the next part.
//! 2. What it holds is let go of as its way ends, before its reader is told.
//! 3. A file that breaks off is never taken for a whole one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, header};
use reqwest::Response;
use tokio::{
    sync::mpsc::{self, Sender},
    time::timeout,
};

/// So many times as long as the storage for one part has the reader to take it.
const READER: u32 = 3;

/// An object that is being read.
#[derive(Debug)]
pub struct File {
    response: Response,
    /// Until the next part comes.
    patience: Duration,
    /// Until all have passed.
    whole: Duration,
}

/// A part, or that there are no more although there should be.
type Part = Result<Bytes, BrokenOff>;

impl File {
    pub(super) const fn new(response: Response, patience: Duration, whole: Duration) -> Self {
        Self { response, patience, whole }
    }

    pub(super) fn into_response(self) -> Response {
        self.response
    }

    /// What it is, if whoever wrote it has said so.
    #[must_use]
    pub fn kind(&self) -> Option<&HeaderValue> {
        self.response.headers().get(header::CONTENT_TYPE)
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Its bytes, as they come. `held` is dropped as its way ends.
    pub fn content(self, held: impl Send + 'static) -> impl Stream<Item = Part> + Send + 'static {
        let (reader, mut parts) = mpsc::channel(1);
        tokio::spawn(async move {
            let passed = timeout(self.whole, self.pass(&reader)).await;
            drop(held);
            if let Err(broken) = passed.unwrap_or(Err(BrokenOff)) {
                tracing::info!("a file broke off on its way from the storage");
                // Whoever does not read is told when they do.
                drop(reader.send(Err(broken)).await);
            }
        });
        stream::poll_fn(move |context| parts.poll_recv(context))
    }

    /// Passes every part on, for as long as somebody reads.
    async fn pass(mut self, reader: &Sender<Part>) -> Result<(), BrokenOff> {
        loop {
            let part = match timeout(self.patience, self.response.chunk()).await {
                Ok(Ok(Some(part))) => part,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(_)) | Err(_) => return Err(BrokenOff),
            };
            match timeout(self.patience * READER, reader.send(Ok(part))).await {
                Ok(Ok(())) => {}
                // Nobody reads any more.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(BrokenOff),
            }
        }
    }
}

/// An object ended before it was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file broke off on its way from the storage")]
pub struct BrokenOff;
