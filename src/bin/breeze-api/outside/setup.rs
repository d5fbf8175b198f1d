//! Where the providers are, from the environment.
//!
//! | variable | means |
//! |---|---|
//! | `BREEZE_TRUSTED_CA` | authorities to trust beside the public ones, in PEM |
//! | `ANTHROPIC_API_URL`, `ANTHROPIC_MODEL` | the assistant |
//! | `CLOUDFLARE_API_URL`, `CLOUDFLARE_ZONE_ID` | client certificates; none without a zone |
//! | `MAIL_FROM` | who mails are from; none without it |
//! | `MAIL_PROVIDER` | `smtp`, `resend` or `mailgun`; `smtp` where there is an `SMTP_HOST` |
//! | `SMTP_HOST`, `SMTP_PORT`, `SMTP_SECURE` | the mail server; TLS at once where `SMTP_SECURE=1`, else by STARTTLS |
//! | `RESEND_API_URL` | Resend |
//! | `MAILGUN_API_URL`, `MAILGUN_DOMAIN` | Mailgun; none without a domain |
//! | `TWILIO_API_URL`, `TWILIO_ACCOUNTS_URL`, `TWILIO_FROM` | SMS; none without a number |
//! | `TURN_HOST`, `TURN_PORT`, `TURN_CREDENTIAL_TTL_SECONDS` | remote sessions; STUN alone without a host |
//! | `SSO_CALLBACK_URL`, `SSO_STATE_TTL_SECONDS` | sign-ons at OpenID providers; none without an address to come back to |
//! | `DASHBOARD_URL` | what mails link to |
//! | `S3_ENDPOINT`, `S3_BUCKET`, `S3_REGION`, `S3_VIRTUAL_HOST` | files; none without a bucket |
//! | `S3_TRANSFER_SECONDS` | how long a file may be on its way |

use std::{str::FromStr, sync::Arc, time::Duration};

use breeze_rollover::{
    digest::state,
    keyring::sources::Strictness,
    provider::{
        Address, Limits, Trust,
        anthropic::Anthropic,
        cloudflare::Cloudflare,
        mail::MailFrom,
        mailgun::Mailgun,
        openid::OpenId,
        resend::Resend,
        s3::{S3, Style},
        smtp::{Encrypted, Smtp},
        turn,
        twilio::Twilio,
    },
};

use super::{Outside, Relay, SignOns, Way};
use crate::settings::{Reader, TRUSTED_CA};

/// Breeze's own, in development.
const DASHBOARD: &str = "http://localhost:4321";

const PORT: &str = "a port such as 587";

/// A person waits, for three calls, within one request.
const PROMPT: Limits = Limits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(4),
    tries: 2,
    wait: Duration::from_millis(200),
};

/// The model that the assistant uses.
const MODEL: &str = "claude-sonnet-4-5";

impl Outside {
    /// The providers that the environment names.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let trust = &trust(reader);
        let from = from(reader);
        let smtp = from.clone().and_then(|from| smtp(reader, trust, from));
        let usual = if smtp.is_some() { Some(Way::Smtp) } else { None };
        Self {
            assistant: assistant(reader, trust),
            zone: zone(reader, trust),
            files: files(reader, trust),
            smtp,
            resend: from.clone().map(|from| resend(reader, trust, from)),
            mailgun: from.and_then(|from| mailgun(reader, trust, from)),
            way: reader.parsed("MAIL_PROVIDER", "smtp, resend or mailgun").or(usual),
            sms: sms(reader, trust),
            relay: relay(reader),
            sign_ons: sign_ons(reader, trust),
            dashboard: reader.text("DASHBOARD_URL").unwrap_or_else(|| DASHBOARD.to_owned()),
        }
    }
}

fn trust(reader: &mut Reader<'_>) -> Trust {
    let Some(pem) = reader.text(TRUSTED_CA) else { return Trust::public() };
    told(reader, TRUSTED_CA, Trust::public().and_pem(pem.as_bytes())).unwrap_or_default()
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
    let s3 = told(reader, "S3_BUCKET", s3)?;
    Some(Arc::new(match reader.seconds("S3_TRANSFER_SECONDS") {
        Some(longest) => s3.transfers_within(longest),
        None => s3,
    }))
}

fn from(reader: &mut Reader<'_>) -> Option<MailFrom> {
    let text = reader.text("MAIL_FROM")?;
    told(reader, "MAIL_FROM", text.parse())
}

fn smtp(reader: &mut Reader<'_>, trust: &Trust, from: MailFrom) -> Option<Arc<Smtp>> {
    let host = reader.text("SMTP_HOST")?;
    let (encrypted, usual) = if reader.flag("SMTP_SECURE") {
        (Encrypted::AtOnce, 465)
    } else {
        (Encrypted::StartTls, 587)
    };
    let port = reader.parsed("SMTP_PORT", PORT).unwrap_or(usual);
    let smtp = Smtp::new(host, port, encrypted, from, trust, Limits::default());
    told(reader, "SMTP_HOST", smtp).map(Arc::new)
}

fn resend(reader: &mut Reader<'_>, trust: &Trust, from: MailFrom) -> Arc<Resend> {
    let address = address(reader, "RESEND_API_URL", Resend::ADDRESS);
    Arc::new(Resend::new(address, trust, Limits::default(), from))
}

fn mailgun(reader: &mut Reader<'_>, trust: &Trust, from: MailFrom) -> Option<Arc<Mailgun>> {
    let address = address(reader, "MAILGUN_API_URL", Mailgun::ADDRESS);
    let domain = reader.text("MAILGUN_DOMAIN")?;
    Some(Arc::new(Mailgun::new(address, trust, Limits::default(), domain, from)))
}

fn sms(reader: &mut Reader<'_>, trust: &Trust) -> Option<Arc<Twilio>> {
    let api = address(reader, "TWILIO_API_URL", Twilio::ADDRESS);
    let accounts = address(reader, "TWILIO_ACCOUNTS_URL", Twilio::ACCOUNTS);
    let from = reader.text("TWILIO_FROM")?;
    Some(Arc::new(Twilio::new(api, accounts, trust, Limits::default(), from)))
}

fn relay(reader: &mut Reader<'_>) -> Relay {
    let ttl = reader.text("TURN_CREDENTIAL_TTL_SECONDS").unwrap_or_default();
    Relay {
        host: reader.text("TURN_HOST"),
        port: reader.parsed("TURN_PORT", PORT).unwrap_or(3478),
        ttl: turn::lifetime(&ttl),
    }
}

fn sign_ons(reader: &mut Reader<'_>, trust: &Trust) -> Option<SignOns> {
    let lifetime = reader.seconds("SSO_STATE_TTL_SECONDS").unwrap_or(state::LIFETIME);
    let text = reader.text("SSO_CALLBACK_URL")?;
    let callback: Address = told(reader, "SSO_CALLBACK_URL", text.parse())?;
    if !text.ends_with(state::SSO_PATH) {
        reader.faults.push(format!("SSO_CALLBACK_URL must end with {}", state::SSO_PATH));
    }
    let openid = OpenId::new(trust.clone(), PROMPT);
    let openid = match reader.environment.strictness() {
        Strictness::Production => openid,
        Strictness::Development | Strictness::Test => openid.allowing_loopback(),
    };
    Some(SignOns { openid, callback, lifetime })
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
