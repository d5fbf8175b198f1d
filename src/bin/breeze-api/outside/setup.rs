//! Where the providers are, from the environment.
//!
//! | variable | means |
//! |---|---|
//! | `BREEZE_TRUSTED_CA` | authorities to trust beside the public ones, in PEM |
//! | `ANTHROPIC_API_URL`, `ANTHROPIC_MODEL` | the assistant |
//! | `CLOUDFLARE_API_URL`, `CLOUDFLARE_ZONE_ID` | client certificates; none without a zone |
//! | `S3_ENDPOINT`, `S3_BUCKET`, `S3_REGION`, `S3_VIRTUAL_HOST` | files; none without a bucket |

use std::{str::FromStr, sync::Arc};

use breeze_rollover::provider::{
    Address, Limits, Trust,
    anthropic::Anthropic,
    cloudflare::Cloudflare,
    s3::{S3, Style},
};

use super::Outside;
use crate::settings::Reader;

/// The model that the assistant uses.
const MODEL: &str = "claude-sonnet-4-5";

impl Outside {
    /// The providers that the environment names.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let trust = trust(reader);
        Self {
            assistant: assistant(reader, &trust),
            zone: zone(reader, &trust),
            files: files(reader, &trust),
        }
    }
}

fn trust(reader: &mut Reader<'_>) -> Trust {
    let Some(pem) = reader.text("BREEZE_TRUSTED_CA") else { return Trust::public() };
    told(reader, "BREEZE_TRUSTED_CA", Trust::public().and_pem(pem.as_bytes())).unwrap_or_default()
}

fn assistant(reader: &mut Reader<'_>, trust: &Trust) -> Arc<Anthropic> {
    let address = address(reader, "ANTHROPIC_API_URL", Anthropic::ADDRESS);
    let model = reader.text("ANTHROPIC_MODEL").unwrap_or_else(|| MODEL.to_owned());
    Arc::new(Anthropic::new(address, trust, Limits::default(), model))
}

fn zone(reader: &mut Reader<'_>, trust: &Trust) -> Option<Arc<Cloudflare>> {
    let address = address(reader, "CLOUDFLARE_API_URL", Cloudflare::ADDRESS);
    let zone = reader.text("CLOUDFLARE_ZONE_ID")?;
    Some(Arc::new(Cloudflare::new(address, trust, Limits::default(), zone)))
}

fn files(reader: &mut Reader<'_>, trust: &Trust) -> Option<Arc<S3>> {
    let region = reader.text("S3_REGION").unwrap_or_else(|| "us-east-1".to_owned());
    let amazon = format!("https://s3.{region}.amazonaws.com");
    let address = given(reader, "S3_ENDPOINT", &amazon)?;
    let style = if reader.flag("S3_VIRTUAL_HOST") { Style::Host } else { Style::Path };
    let bucket = reader.text("S3_BUCKET")?;
    let s3 = S3::new(address, trust, Limits::default(), region, bucket, style);
    told(reader, "S3_BUCKET", s3).map(Arc::new)
}

/// The address of the variable `name`, or else `known`, which is one.
fn address(reader: &mut Reader<'_>, name: &str, known: &'static str) -> Address {
    given(reader, name, known)
        .or_else(|| known.parse().ok())
        .expect("the address that is known is one")
}

/// The address of the variable `name`, or else `fallback`.
fn given(reader: &mut Reader<'_>, name: &str, fallback: &str) -> Option<Address> {
    let text = reader.text(name).unwrap_or_else(|| fallback.to_owned());
    told(reader, name, Address::from_str(&text))
}

/// What was read, or its fault noted by the variable's name.
fn told<T, E: std::fmt::Display>(
    reader: &mut Reader<'_>,
    name: &str,
    read: Result<T, E>,
) -> Option<T> {
    read.inspect_err(|error| reader.faults.push(format!("{name}: {error}"))).ok()
}
