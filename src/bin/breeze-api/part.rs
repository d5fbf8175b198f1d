//! What a process of this API knows of secrets that the library cannot: the same in a
//! server and in a command beside it, since either may drive any rollover.

use std::sync::Arc;

use breeze_rollover::{
    catalog::Secret,
    clock::Clock,
    embed::{Database, Setup},
};

use crate::{
    counting::Counted,
    data::{self, Data},
    impact::Effects,
    settings::Settings,
};

/// A part in the rollovers of `database`, whose tables `data` reads.
pub(crate) fn part(
    database: Database,
    data: &Arc<dyn Data>,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Setup {
    let counted = Counted { data: Arc::clone(data), clock: Arc::clone(clock) };
    let effects = Effects { data: Arc::clone(data), clock: Arc::clone(clock) };
    let mut setup = Setup::new(database, data::registry())
        .clock(Arc::clone(clock))
        .counting(Arc::new(counted))
        .impact(Arc::new(effects));
    if let Some(redis) = &settings.redis {
        setup = setup.provider(Arc::new(redis.clone()));
    }
    if let Some(grace) = settings.scrape_grace {
        setup = setup.grace(Secret::MetricsScrapeToken, grace);
    }
    if let Some(grace) = settings.agents.secret_grace {
        setup = setup.grace(Secret::AgentEnrollmentSecret, grace);
    }
    settings.outside.clone().join(setup)
}
