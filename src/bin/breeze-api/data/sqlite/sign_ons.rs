//! Sign-ons at SSO providers that are on their way.

use breeze_rollover::clock::Timestamp;

use super::SqliteData;
use crate::data::{
    DataError, SignOn,
    sign_ons::{self, sign_ons_on},
};

sign_ons_on!(SqliteData);
