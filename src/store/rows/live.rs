//! Judges a registered table against the facts of the live schema: pure, one for
//! both databases.
//!
//! 1. A column that is faulty takes no other column with it.
//! 2. A table comes out only if its rows can be paged, and all of them seen.
//! 3. Every fault is told, also of a table that does not come out.

use super::{ColumnFault, TableShape};
use crate::column::{Column, Kind, Table};

/// A registered table, as the catalogue of the database describes it.
#[derive(Debug, Default)]
pub(crate) struct LiveTable {
    /// Its name in the registry.
    pub(crate) name: String,
    /// Whether rows of it may be out of sight.
    pub(crate) hidden: bool,
    /// The columns of its primary key, in order.
    pub(crate) key: Vec<LiveColumn>,
    /// All its columns.
    pub(crate) columns: Vec<LiveColumn>,
}

/// One column of it.
#[derive(Debug, Clone)]
pub(crate) struct LiveColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its SQL type, spelled as in [`Dialect`] where it is one of those.
    pub(crate) sql_type: String,
    /// Whether the role may SELECT it.
    pub(crate) readable: bool,
    /// Whether the role may UPDATE it.
    pub(crate) writable: bool,
}

/// The types that one database has for each purpose.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) key: &'static [&'static str],
    pub(crate) text: &'static [&'static str],
    pub(crate) array: &'static [&'static str],
    pub(crate) json: &'static [&'static str],
    /// Whether two names are one.
    pub(crate) same_name: fn(&str, &str) -> bool,
}

impl Dialect {
    /// The table as far as it can be rewrapped, and what is wrong with the rest.
    pub(crate) fn judge(
        &self,
        table: &Table,
        live: Option<&LiveTable>,
    ) -> (Option<TableShape>, Vec<ColumnFault>) {
        let name = table.name().to_owned();
        let Some(live) = live else {
            return (None, vec![ColumnFault::NoTable { table: name }]);
        };
        let mut whole = self.whole_table_faults(table, live);
        let mut faults = Vec::new();
        let mut sound = self.sound_columns(table, live, &mut faults);
        for (privilege, may) in [
            ("SELECT", (|column| column.readable) as fn(&LiveColumn) -> bool),
            ("UPDATE", |column| column.writable),
        ] {
            retain_permitted(table, &mut sound, privilege, may, &mut faults);
        }
        let usable = whole.is_empty() && !sound.is_empty();
        whole.append(&mut faults);
        let shape = usable.then(|| TableShape {
            table: table.only(|column| sound.iter().any(|(known, _)| *known == column)),
            types: sound.iter().map(|(_, live)| live.sql_type.clone()).collect(),
            key: live.key.iter().map(|c| (c.name.clone(), c.sql_type.clone())).collect(),
        });
        (shape, whole)
    }

    /// What keeps the whole table from being read by key.
    fn whole_table_faults(&self, table: &Table, live: &LiveTable) -> Vec<ColumnFault> {
        let name = || table.name().to_owned();
        let mut faults = Vec::new();
        if live.key.is_empty() {
            faults.push(ColumnFault::NoPrimaryKey { table: name() });
        }
        for part in &live.key {
            if !self.key.contains(&part.sql_type.as_str()) {
                faults.push(ColumnFault::KeyType {
                    column: format!("{}.{}", table.name(), part.name),
                    found: part.sql_type.clone(),
                    expected: self.key.join(" or "),
                });
            }
        }
        if live.key.iter().any(|part| !part.readable) {
            faults.push(ColumnFault::NoPrivilege { table: name(), privilege: "SELECT".into() });
        }
        if live.hidden {
            faults.push(ColumnFault::HiddenRows { table: name() });
        }
        faults
    }

    /// The columns that are there and of an expected type.
    fn sound_columns<'a>(
        &self,
        table: &'a Table,
        live: &'a LiveTable,
        faults: &mut Vec<ColumnFault>,
    ) -> Vec<(&'a Column, &'a LiveColumn)> {
        let mut sound = Vec::new();
        for column in table.columns() {
            let expected = match column.kind() {
                Kind::Text => self.text,
                Kind::TextArray => self.array,
                Kind::Json => self.json,
            };
            match live.columns.iter().find(|c| (self.same_name)(&c.name, column.name())) {
                None => faults.push(ColumnFault::NoColumn { column: column.to_string() }),
                Some(found) if !expected.contains(&found.sql_type.as_str()) => {
                    faults.push(ColumnFault::WrongType {
                        column: column.to_string(),
                        found: found.sql_type.clone(),
                        expected: expected.join(" or "),
                    });
                }
                Some(found) => sound.push((column, found)),
            }
        }
        sound
    }
}

/// Drops the columns that the role may not use so, and tells of them: of the table
/// in one sentence when it is all of them.
fn retain_permitted(
    table: &Table,
    sound: &mut Vec<(&Column, &LiveColumn)>,
    privilege: &str,
    may: fn(&LiveColumn) -> bool,
    faults: &mut Vec<ColumnFault>,
) {
    let denied: Vec<String> =
        sound.iter().filter(|(_, live)| !may(live)).map(|(column, _)| column.to_string()).collect();
    let fault = |table| ColumnFault::NoPrivilege { table, privilege: privilege.to_owned() };
    if !denied.is_empty() && denied.len() == sound.len() {
        faults.push(fault(table.name().to_owned()));
    } else {
        faults.extend(denied.into_iter().map(fault));
    }
    sound.retain(|(_, live)| may(live));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Registry;

    const DIALECT: Dialect = Dialect {
        key: &["uuid"],
        text: &["text"],
        array: &["text[]"],
        json: &["jsonb"],
        same_name: |a, b| a == b,
    };

    fn column(name: &str, sql_type: &str) -> LiveColumn {
        LiveColumn { name: name.into(), sql_type: sql_type.into(), readable: true, writable: true }
    }

    fn webhooks() -> (Registry, LiveTable) {
        let registry = Registry::empty()
            .with(Column::text("webhooks", "url"))
            .with(Column::new("webhooks", "headers", Kind::Json))
            .with(Column::text("webhooks", "secret"));
        let live = LiveTable {
            name: "webhooks".into(),
            hidden: false,
            key: vec![column("id", "uuid")],
            columns: vec![
                column("secret", "text"),
                column("headers", "jsonb"),
                column("url", "text"),
            ],
        };
        (registry, live)
    }

    #[test]
    fn a_sound_table_comes_out_in_the_order_of_registration() {
        let (registry, live) = webhooks();
        let (shape, faults) = DIALECT.judge(&registry.tables()[0], Some(&live));
        assert_eq!(faults, []);
        let shape = shape.unwrap();
        assert_eq!(shape.table, registry.tables()[0]);
        assert_eq!(shape.types, ["text", "jsonb", "text"]);
    }

    #[test]
    fn a_faulty_column_takes_no_other_with_it() {
        let (registry, mut live) = webhooks();
        live.columns[1].sql_type = "bytea".into();
        live.columns[2].writable = false;
        let (shape, faults) = DIALECT.judge(&registry.tables()[0], Some(&live));
        assert_eq!(shape.unwrap().table.columns(), [Column::text("webhooks", "secret")]);
        assert_eq!(
            faults,
            [
                ColumnFault::WrongType {
                    column: "webhooks.headers".into(),
                    found: "bytea".into(),
                    expected: "jsonb".into(),
                },
                ColumnFault::NoPrivilege {
                    table: "webhooks.url".into(),
                    privilege: "UPDATE".into()
                },
            ]
        );
    }

    #[test]
    fn what_hides_rows_or_forbids_paging_takes_the_whole_table() {
        let (registry, mut live) = webhooks();
        live.hidden = true;
        live.key[0].sql_type = "numeric".into();
        live.columns.remove(0);
        let (shape, faults) = DIALECT.judge(&registry.tables()[0], Some(&live));
        assert_eq!(shape, None);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.iter().all(ColumnFault::blocks));
    }

    #[test]
    fn a_missing_table_blocks_nothing() {
        let (registry, _) = webhooks();
        let (shape, faults) = DIALECT.judge(&registry.tables()[0], None);
        assert_eq!((shape, faults.len()), (None, 1));
        assert!(!faults[0].blocks());
    }
}
