//! What the application counts, and what a provider answers: as the course wants it.

use async_trait::async_trait;
use breeze_rollover::{
    ids::KeyId,
    material::Material,
    provider::{Provider, ProviderError},
    rollover::Reliance,
    store::StoreError,
    worker::Counting,
};

use super::*;

#[async_trait]
impl Counting for Scene {
    async fn what_needs(&self, _: Secret, _: &[KeyId]) -> Result<Reliance, StoreError> {
        Ok(Reliance::Counted { rows: self.play().needing, unknown: 0 })
    }
}

/// In a hard rollover an operator revokes.
#[async_trait]
impl Provider for Scene {
    fn secret(&self) -> Secret {
        first_of(Class::Provider)
    }

    async fn probe(&self, _: &Material) -> Result<String, ProviderError> {
        let play = self.play();
        match (play.here(), play.due()) {
            (Phase::Staged, Some(Event::RollBack)) => {
                Err(ProviderError::Refused("it knows no such key".to_owned()))
            }
            _ => Ok("it answers".to_owned()),
        }
    }

    async fn make(&self, _: &Material) -> Result<Material, ProviderError> {
        match self.play().due() {
            Some(Event::Refused) => Err(ProviderError::ByHand("make it in the console")),
            _ => Ok(Material::generate().unwrap()),
        }
    }

    async fn in_use(&self, _: &Material, _: &Material) -> Result<Option<String>, ProviderError> {
        let is_kept = self.play().due() == Some(Event::RollBack);
        Ok(is_kept.then(|| "an upload".to_owned()))
    }

    async fn revoke(&self, _: &Material, _: &Material) -> Result<String, ProviderError> {
        match self.play().course.mode {
            Mode::Graceful => Ok("it is gone".to_owned()),
            Mode::Hard => Err(ProviderError::ByHand("revoke it in the console")),
        }
    }
}
