//! The second part of a token, once its signature is proven: raw members in,
//! typed claims out.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    ISSUER, VIEWER_PURPOSE,
    claims::{Claims, TokenKind, ViewerClaims},
    error::{Part, TokenError},
    value::Value,
};
use crate::clock::Timestamp;

/// Every member that any of our tokens has; others are skipped.
#[derive(Debug, Default)]
pub(super) struct Payload<'a> {
    sub: Value<'a>,
    email: Value<'a>,
    role_id: Value<'a>,
    org_id: Value<'a>,
    partner_id: Value<'a>,
    scope: Value<'a>,
    kind: Value<'a>,
    mfa: Value<'a>,
    mdid: Value<'a>,
    fam: Value<'a>,
    sid: Value<'a>,
    jti: Value<'a>,
    aep: Value<'a>,
    mep: Value<'a>,
    session_id: Value<'a>,
    purpose: Value<'a>,
    mfa_satisfied: Value<'a>,
    assured_until: Value<'a>,
    iat: Value<'a>,
    exp: Value<'a>,
    nbf: Value<'a>,
    iss: Value<'a>,
    aud: Value<'a>,
}

impl<'a> Payload<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        // One check of the whole is faster than one of each member.
        let json = str::from_utf8(json).map_err(|_| TokenError::Malformed(Part::Payload))?;
        serde_json::from_str(json).map_err(|_| TokenError::Malformed(Part::Payload))
    }

    /// Checks issuer, audience and times. Like Breeze, it compares whole seconds
    /// of `now` with claims that may have fractions, and tolerates nothing.
    ///
    /// Gives back `iat`, if there is one, and `exp`.
    fn check(
        &self,
        audience: &str,
        now: Timestamp,
    ) -> Result<(Option<Timestamp>, Timestamp), TokenError> {
        let now = now.as_seconds() as f64;
        match &self.iss {
            Value::Absent => return Err(TokenError::MissingClaim("iss")),
            iss if iss.is_text(ISSUER) => {}
            _ => return Err(TokenError::WrongIssuer),
        }
        match &self.aud {
            Value::Absent => return Err(TokenError::MissingClaim("aud")),
            aud if aud.includes(audience) => {}
            _ => return Err(TokenError::WrongAudience),
        }
        if seconds("nbf", &self.nbf)?.is_some_and(|nbf| nbf > now) {
            return Err(TokenError::NotYetValid);
        }
        let iat = seconds("iat", &self.iat)?;
        let exp = seconds("exp", &self.exp)?.ok_or(TokenError::MissingClaim("exp"))?;
        if exp <= now {
            return Err(TokenError::Expired);
        }
        Ok((iat.map(timestamp), timestamp(exp)))
    }

    /// The claims of an access or refresh token. An optional claim of a wrong type
    /// is dropped, as Breeze drops it.
    pub(super) fn api(self, audience: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let (iat, exp) = self.check(audience, now)?;
        let kind = match &self.kind {
            Value::Absent => return Err(TokenError::MissingClaim("type")),
            kind if kind.is_text(TokenKind::Access.as_str()) => TokenKind::Access,
            kind if kind.is_text(TokenKind::Refresh.as_str()) => TokenKind::Refresh,
            _ => return Err(TokenError::BadClaim("type")),
        };
        Ok(Claims {
            sub: required("sub", self.sub)?,
            email: optional(self.email),
            role_id: optional(self.role_id),
            org_id: optional(self.org_id),
            partner_id: optional(self.partner_id),
            scope: self.scope.text().and_then(|scope| scope.parse().ok()),
            kind,
            mfa: self.mfa.is_true(),
            mdid: optional(self.mdid),
            fam: optional(self.fam),
            sid: optional(self.sid),
            jti: optional(self.jti),
            aep: self.aep.integer(),
            mep: self.mep.integer(),
            iat,
            exp,
        })
    }

    /// The claims of a viewer token that lives at most `lifetime`.
    pub(super) fn viewer(
        self,
        audience: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<ViewerClaims, TokenError> {
        let (iat, exp) = self.check(audience, now)?;
        if !self.purpose.is_text(VIEWER_PURPOSE) {
            return Err(TokenError::BadClaim("purpose"));
        }
        let assured_until = self.assurance(lifetime)?;
        Ok(ViewerClaims {
            sub: required("sub", self.sub)?,
            email: optional(self.email),
            session_id: required("sessionId", self.session_id)?,
            jti: required("jti", self.jti)?,
            assured_until,
            iat,
            exp,
        })
    }

    /// MFA is claimed by two members or by none. Its end is a whole second, not
    /// before the token's own, and within the lifetime of a token made at `iat`.
    fn assurance(&self, lifetime: Duration) -> Result<Option<Timestamp>, TokenError> {
        if self.mfa_satisfied.is_absent() && self.assured_until.is_absent() {
            return Ok(None);
        }
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        match (self.assured_until.integer(), self.iat.integer(), self.exp.integer()) {
            (Some(until), Some(iat), Some(exp))
                if self.mfa_satisfied.is_true()
                    && exp <= until
                    && until <= iat.saturating_add(lifetime) =>
            {
                Ok(Some(Timestamp::from_seconds(until)))
            }
            _ => Err(TokenError::BadAssurance),
        }
    }
}

fn required(name: &'static str, value: Value<'_>) -> Result<String, TokenError> {
    optional(value).ok_or(TokenError::MissingClaim(name))
}

fn optional(value: Value<'_>) -> Option<String> {
    value.text().filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// A time claim, which must be a number if it is there at all.
fn seconds(name: &'static str, value: &Value<'_>) -> Result<Option<f64>, TokenError> {
    match value {
        Value::Absent => Ok(None),
        Value::Number(seconds) => Ok(Some(*seconds)),
        _ => Err(TokenError::BadClaim(name)),
    }
}

/// To the millisecond; what lies beyond the calendar becomes its end.
fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0) as i64)
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Member {
    Sub,
    Email,
    RoleId,
    OrgId,
    PartnerId,
    Scope,
    Type,
    Mfa,
    Mdid,
    Fam,
    Sid,
    Jti,
    Aep,
    Mep,
    SessionId,
    Purpose,
    MfaSatisfied,
    AssuranceAbsoluteExpiresAt,
    Iat,
    Exp,
    Nbf,
    Iss,
    Aud,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Payload<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PayloadVisitor)
    }
}

struct PayloadVisitor;

impl<'de> Visitor<'de> for PayloadVisitor {
    type Value = Payload<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload<'de>, A::Error> {
        let mut payload = Payload::default();
        while let Some(member) = map.next_key()? {
            let place = match member {
                Member::Sub => &mut payload.sub,
                Member::Email => &mut payload.email,
                Member::RoleId => &mut payload.role_id,
                Member::OrgId => &mut payload.org_id,
                Member::PartnerId => &mut payload.partner_id,
                Member::Scope => &mut payload.scope,
                Member::Type => &mut payload.kind,
                Member::Mfa => &mut payload.mfa,
                Member::Mdid => &mut payload.mdid,
                Member::Fam => &mut payload.fam,
                Member::Sid => &mut payload.sid,
                Member::Jti => &mut payload.jti,
                Member::Aep => &mut payload.aep,
                Member::Mep => &mut payload.mep,
                Member::SessionId => &mut payload.session_id,
                Member::Purpose => &mut payload.purpose,
                Member::MfaSatisfied => &mut payload.mfa_satisfied,
                Member::AssuranceAbsoluteExpiresAt => &mut payload.assured_until,
                Member::Iat => &mut payload.iat,
                Member::Exp => &mut payload.exp,
                Member::Nbf => &mut payload.nbf,
                Member::Iss => &mut payload.iss,
                Member::Aud => &mut payload.aud,
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = map.next_value()?;
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{API_AUDIENCE, Scope};

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    /// A payload that is accepted, with `members` put in place of its own.
    fn payload(members: &str) -> String {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(
            r#"{"sub":"u","type":"access","iss":"breeze","aud":"breeze-api","exp":1001}"#,
        )
        .unwrap();
        let own: serde_json::Map<_, _> = serde_json::from_str(&format!("{{{members}}}")).unwrap();
        object.extend(own);
        object.retain(|_, value| *value != "absent");
        serde_json::Value::Object(object).to_string()
    }

    fn api(json: &str) -> Result<Claims, TokenError> {
        Payload::parse(json.as_bytes())?.api(API_AUDIENCE, NOW)
    }

    #[test]
    fn each_required_claim_is_required() {
        assert!(api(&payload("")).is_ok());
        for name in ["sub", "type", "iss", "aud", "exp"] {
            let without = payload(&format!(r#""{name}":"absent""#));
            assert_eq!(api(&without), Err(TokenError::MissingClaim(name)));
        }
        assert_eq!(api(&payload(r#""sub":"""#)), Err(TokenError::MissingClaim("sub")));
        assert_eq!(api(&payload(r#""type":"viewer""#)), Err(TokenError::BadClaim("type")));
        assert_eq!(api(&payload(r#""iss":["breeze"]"#)), Err(TokenError::WrongIssuer));
        assert_eq!(api(&payload(r#""aud":["x"]"#)), Err(TokenError::WrongAudience));
        assert!(api(&payload(r#""aud":[1,"breeze-api"]"#)).is_ok());
    }

    #[test]
    fn a_token_is_valid_from_nbf_up_to_but_not_at_exp() {
        for (members, expected) in [
            (r#""exp":1000"#, Some(TokenError::Expired)),
            (r#""exp":1000.5"#, None),
            (r#""exp":"1001""#, Some(TokenError::BadClaim("exp"))),
            (r#""exp":null"#, Some(TokenError::BadClaim("exp"))),
            (r#""nbf":1000"#, None),
            (r#""nbf":1000.5"#, Some(TokenError::NotYetValid)),
            (r#""nbf":"1""#, Some(TokenError::BadClaim("nbf"))),
            (r#""iat":9999"#, None),
            (r#""iat":"x""#, Some(TokenError::BadClaim("iat"))),
        ] {
            assert_eq!(api(&payload(members)).err(), expected, "{members}");
        }
    }

    #[test]
    fn an_optional_claim_of_a_wrong_type_is_dropped() {
        let claims = api(&payload(
            r#""email":5,"roleId":null,"mfa":"true","aep":"3","mep":2,"sid":5,"fam":"",
               "mdid":"d","scope":"galaxy","jti":{"a":[1]},"unknown":[[[]]]"#,
        ))
        .unwrap();
        assert_eq!(claims.mdid.as_deref(), Some("d"));
        assert_eq!(claims.mep, Some(2));
        assert!(!claims.mfa);
        assert_eq!((claims.email, claims.role_id, claims.aep), (None, None, None));
        assert_eq!((claims.sid, claims.fam, claims.jti, claims.scope), (None, None, None, None));
        assert_eq!(api(&payload(r#""scope":"system""#)).unwrap().scope, Some(Scope::System));
    }

    #[test]
    fn of_duplicate_members_the_last_counts() {
        let json = r#"{"sub":"a","type":"access","iss":"breeze","aud":"breeze-api","exp":1,
                       "exp":1001,"sub":"b"}"#;
        assert_eq!(api(json).unwrap().sub, "b");
    }
}
