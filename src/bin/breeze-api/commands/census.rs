//! `breeze-api census`: what every registered column holds, by form and key.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::{Exit, connect, print, print_json};
use crate::{data, settings::DatabaseUrl};

/// Count what every registered column holds, by form and key.
#[derive(Debug, Args)]
pub(crate) struct Census {
    /// One JSON object on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    columns: BTreeMap<String, BTreeMap<String, u64>>,
    forms: BTreeMap<String, u64>,
    faults: Vec<String>,
    unregistered: Vec<String>,
}

pub(crate) async fn run(url: &DatabaseUrl, census: &Census) -> anyhow::Result<Exit> {
    let store = connect(url).await?.store();
    let survey = store.survey(&data::registry()).await?;
    let mut report = Report {
        columns: BTreeMap::new(),
        forms: BTreeMap::new(),
        faults: survey.faults.iter().map(ToString::to_string).collect(),
        unregistered: survey.unregistered,
    };
    for table in &survey.tables {
        for column in store.census(table).await? {
            for (form, count) in &column.values {
                *report.forms.entry(form.clone()).or_default() += count;
            }
            report.columns.insert(column.column, column.values);
        }
    }
    let unseen = survey.faults.iter().any(|fault| fault.blocks());
    if census.json {
        print_json(&report)?;
    } else {
        for (column, values) in report.columns.iter().filter(|(_, values)| !values.is_empty()) {
            let forms: Vec<_> = values.iter().map(|(form, n)| format!("{form} {n}")).collect();
            print(&format!("{column:<56} {}", forms.join(", ")));
        }
        for fault in survey.faults.iter().filter(|fault| fault.blocks()) {
            print(&format!("not looked at: {fault}"));
        }
        for column in &report.unregistered {
            print(&format!("not registered, and holds envelopes: {column}"));
        }
        for (form, count) in &report.forms {
            print(&format!("{form:<56} {count:>9} in all"));
        }
    }
    Ok(if unseen { Exit::Incomplete } else { Exit::Complete })
}
