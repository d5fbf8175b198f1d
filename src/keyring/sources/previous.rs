//! Previous values: accepted, and used to make nothing.
//!
//! 1. `NAME_PREVIOUS` holds one value, or a JSON array of them, newest first. Of a server's
//!    URL the login counts.
//! 2. A value that several variables make up is the JSON object of them; or `NAME_PREVIOUS`
//!    holds that variable's own previous values, and the `_PREVIOUS` of each other one those
//!    beside them, in the same order. What never changed needs none: the present one counts.

use zeroize::Zeroizing;

use super::{
    canonical::{is_login, parts},
    environment::{Environment, Value, user_info},
    fault::Fault,
    json,
};
use crate::{catalog::Entry, keyring::Origin, material::Material};

/// Previous values: those of each variable in turn.
pub(crate) fn previous(
    environment: &Environment,
    names: &[&str],
) -> Result<Vec<(Material, Origin)>, Fault> {
    let mut keys = Vec::new();
    for name in names {
        let Some(value) = environment.lookup(name)? else { continue };
        let listed = json::list(value.expose_text())
            .ok_or_else(|| Fault::Previous { name: value.name().to_owned() })?;
        keys.extend(listed.into_iter().map(|material| (material, value.origin().clone())));
    }
    Ok(keys)
}

/// The previous values of a secret.
pub(super) fn previous_of(
    environment: &Environment,
    entry: &Entry,
) -> Result<Vec<(Material, Origin)>, Fault> {
    let found = previous(environment, entry.previous)?;
    if is_login(entry.secret) {
        return Ok(found.into_iter().map(|(url, origin)| (login_of(url), origin)).collect());
    }
    let is_part = |value: &Material| parts(entry.secret, value.expose_source()).is_none();
    if entry.parts.is_empty() || !found.iter().any(|(value, _)| is_part(value)) {
        return Ok(found);
    }
    let beside = beside(environment, entry, found.len())?;
    let whole = |(place, (value, origin)): (usize, (Material, Origin))| match is_part(&value) {
        true => (together(entry, &value, &beside, place).unwrap_or(value), origin),
        false => (value, origin),
    };
    Ok(found.into_iter().enumerate().map(whole).collect())
}

fn login_of(url: Material) -> Material {
    let login = user_info(url.expose_source()).map(Material::new);
    login.and_then(Result::ok).unwrap_or(url)
}

/// What the parts beside the one that the secret is called by were, in the catalog's order.
enum Beside {
    /// In the order of the secret's own.
    Each(Vec<Material>),
    /// What it is now, if it is set.
    Always(Option<Value>),
}

fn beside(environment: &Environment, entry: &Entry, count: usize) -> Result<Vec<Beside>, Fault> {
    let others = entry.parts.iter().filter(|part| **part != entry.name);
    let each = others.map(|part| {
        let name = format!("{part}_PREVIOUS");
        let listed = previous(environment, &[&name])?;
        match listed.len() {
            0 => Ok(Beside::Always(environment.lookup(part)?)),
            found if found == count => {
                Ok(Beside::Each(listed.into_iter().map(|(value, _)| value).collect()))
            }
            _ => {
                let own = format!("{}_PREVIOUS", entry.name);
                Err(Fault::PreviousUneven { name, beside: own })
            }
        }
    });
    each.collect()
}

/// The value of which `own` is one part; `None` where nothing tells the others.
fn together(entry: &Entry, own: &Material, beside: &[Beside], place: usize) -> Option<Material> {
    let mut beside = beside.iter();
    let mut texts = Vec::with_capacity(entry.parts.len());
    for part in entry.parts {
        let text = match (*part == entry.name).then_some(own) {
            Some(own) => own.expose_source(),
            None => match beside.next()? {
                Beside::Each(listed) => listed.get(place)?.expose_source(),
                Beside::Always(present) => present.as_ref()?.expose_text(),
            },
        };
        texts.push((*part, text));
    }
    let object = Zeroizing::new(json::object(texts.into_iter()));
    Material::new(object.as_str()).ok()
}
