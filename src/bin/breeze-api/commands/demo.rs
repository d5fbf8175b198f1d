//! stub
use super::Exit;
use clap::Args;
/// Watch.
#[derive(Debug, Args)]
pub(crate) struct Demo {}
pub(crate) async fn run(_: &Demo) -> anyhow::Result<Exit> {
    Ok(Exit::Complete)
}
