//! The administrator of a first start.
//!
//! 1. It is created when nobody can log in yet, once, however many processes start.
//! 2. Its password and seed are written to the given writer, once, and nowhere else:
//!    what the database keeps is a hash and a sealed seed.

use std::io::Write;

use anyhow::Context;
use breeze_rollover::{layer::sealed::Sealed, material::Material};
use secrecy::ExposeSecret;

use super::{MFA_COLUMN, Passwords, enrol};
use crate::data::{Data, RowId, UserDraft};

/// Creates the administrator if nobody can log in yet, and tells `out` how to.
pub(crate) async fn create_administrator(
    data: &dyn Data,
    passwords: &Passwords,
    sealed: &Sealed,
    email: &str,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<bool> {
    if data.has_users().await? {
        return Ok(false);
    }
    let id = RowId::new();
    let password = Material::generate()?;
    let enrolment = enrol(email)?;
    let (table, column) = MFA_COLUMN;
    let draft = UserDraft {
        email: Some(email.to_lowercase()),
        name: Some("Administrator".to_owned()),
        scope: Some("system"),
        org_id: None,
        password_hash: Some(passwords.hash(password.expose_source().into()).await?),
        mfa_secret: Some(
            sealed
                .seal(table, column, id, enrolment.seed.expose_secret())
                .context("the administrator's TOTP seed cannot be sealed")?,
        ),
    };
    if !data.create_first_user(id, &draft).await? {
        return Ok(false); // another process was first, and has told
    }
    write!(
        out,
        "\n\
         ┌─ first start: an administrator was created, told here once ─────────────\n\
         │ e-mail    {email}\n\
         │ password  {}\n\
         │ TOTP      {}\n\
         │           (add it to an authenticator app; login asks for its code)\n\
         └──────────────────────────────────────────────────────────────────────────\n\n",
        password.expose_source(),
        enrolment.uri.expose_secret(),
    )?;
    out.flush()?;
    Ok(true)
}
