//! Credentials at outside providers roll over: probed before anything depends on them,
//! hot in use, and finished only when the old one has no power left.
//!
//! Providers that nobody can run are local servers that speak what is documented of them;
//! S3, SMTP and TURN servers are real ones, processes of their own.

#![cfg(feature = "api")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(clippy::result_large_err, reason = "a refusal is a response")]
#![allow(missing_docs, unreachable_pub, reason = "a test has no reader but its own")]

mod anthropic;
mod api;
mod cloudflare;
mod killed;
mod mailgun;
mod promises;
mod resend;
mod s3;
mod sent;
mod site;
mod smtp;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod turn;
mod twilio;
mod used;
