//! `breeze-api audit verify`: whether the audit trail is whole, and if not, where.

use std::path::PathBuf;

use anyhow::Context;
use breeze_rollover::{
    audit::{Head, Verifier},
    store::verify_audit,
};
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Exit, connect, print, print_json};
use crate::settings::DatabaseUrl;

/// The audit trail.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
}

/// Check every entry and link of the audit trail; ends with 2 where one is missing,
/// altered or reordered.
#[derive(Debug, Args)]
struct Verify {
    /// What an earlier check printed with --json: the ends of its chains must be there
    /// still, which shows when the newest entries were cut off.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// The oldest entries are removed on purpose: take what is left for the beginning.
    #[arg(long)]
    retention: bool,
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// What an earlier check printed, as far as it matters.
#[derive(Debug, Deserialize)]
struct Earlier {
    heads: Vec<Head>,
}

pub(crate) async fn run(url: &DatabaseUrl, audit: &Audit) -> anyhow::Result<Exit> {
    let Command::Verify(verify) = &audit.command;
    let noted = match &verify.since {
        None => vec![],
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str::<Earlier>(&text)
                .with_context(|| {
                    format!("{} is not what `audit verify --json` prints", file.display())
                })?
                .heads
        }
    };
    let mut verifier = Verifier::expecting(noted);
    if verify.retention {
        verifier = verifier.trusting_beginning();
    }
    let report = verify_audit(connect(url).await?.store().as_ref(), verifier).await?;
    if verify.json {
        print_json(&report)?;
    } else {
        for found in &report.breaks {
            print(&found.to_string());
        }
        if report.more_breaks > 0 {
            print(&format!("and {} more", report.more_breaks));
        }
        for head in &report.heads {
            let org = head.org.as_deref().unwrap_or("none");
            print(&format!(
                "organisation {org}: ends at chain_seq {} with {}",
                head.chain_seq, head.chain_checksum
            ));
        }
        print(&format!(
            "{} links checked: the trail is {}",
            report.links,
            if report.is_whole() { "whole" } else { "broken" }
        ));
    }
    Ok(if report.is_whole() { Exit::Complete } else { Exit::Incomplete })
}
