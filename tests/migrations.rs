//! Migrations only add: a program of before works on what they leave. One that must do
//! more says so, by raising `needs` to its own number.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]
#![allow(missing_docs, reason = "a test has no reader but its own")]

use std::{fs, path::Path};

/// The words of a migration: comments and texts aside, in capitals.
fn words(sql: &str) -> Vec<String> {
    let mut code = String::new();
    for line in sql.lines() {
        code += line.split("--").next().unwrap();
        code.push('\n');
    }
    // Every other part stands within quotes.
    let code: String = code.split('\'').step_by(2).collect::<Vec<_>>().join(" text ");
    code.replace(['(', ')', ','], " ")
        .replace(';', " ; ")
        .to_uppercase()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// What of a migration is more than an addition.
fn does_more(sql: &str) -> Vec<String> {
    let words = words(sql);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut found = vec![];
    for statement in words.split(|word| *word == ";") {
        let told = || statement.join(" ");
        match statement {
            ["DROP" | "TRUNCATE" | "DELETE", ..] => found.push(told()),
            ["ALTER", what, ..] if *what != "TABLE" => found.push(told()),
            ["ALTER", "TABLE", rest @ ..] => {
                // Programs of before leave a new column to its default, whatever it checks.
                let is_column = rest.windows(2).any(|pair| pair == ["ADD", "COLUMN"]);
                let is_refused = rest.iter().any(|word| match *word {
                    "DROP" | "RENAME" | "ALTER" | "CONSTRAINT" | "UNIQUE" => true,
                    "CHECK" => !is_column,
                    _ => false,
                });
                let is_demanded = rest.windows(2).any(|pair| pair == ["NOT", "NULL"])
                    && !rest.contains(&"DEFAULT");
                if is_refused || is_demanded || !rest.contains(&"ADD") {
                    found.push(told());
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether the migration of this number says that older programs cannot go on.
fn says_so(sql: &str, number: &str) -> bool {
    let number = number.trim_start_matches('0');
    let words = words(sql);
    words.windows(4).any(|said| said == ["SET", "NEEDS", "=", number])
}

#[test]
fn every_migration_after_the_first_only_adds_or_says_that_it_does_more() {
    let mut seen = 0;
    for folder in ["postgres/rollover", "sqlite/rollover", "postgres/breeze", "sqlite/breeze"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let number = name.split('_').next().unwrap();
            let sql = fs::read_to_string(&path).unwrap();
            if number != "0001" && !says_so(&sql, number) {
                assert_eq!(does_more(&sql), [""; 0], "{}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn what_does_more_than_add_is_found() {
    for sql in [
        "DROP TABLE rollover.key;",
        "-- only a comment\nCREATE TABLE t (id int); drop index i;",
        "ALTER TABLE t DROP COLUMN a",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint;",
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
        "ALTER TABLE t RENAME TO u;",
        "ALTER TABLE t RENAME COLUMN a TO b;",
        "ALTER TABLE t ADD COLUMN a int NOT NULL;",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);",
        "ALTER TYPE mood ADD VALUE 'sad';",
        "TRUNCATE rollover.range;",
        "DELETE FROM rollover.range;",
    ] {
        assert_eq!(does_more(sql).len(), 1, "{sql}");
    }
    for sql in [
        "CREATE TABLE t (id int NOT NULL);",
        "ALTER TABLE t ADD COLUMN a int;",
        "ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0;",
        "ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0 CHECK (a IN (0, 1));",
        "CREATE INDEX i ON t (a); -- DROP TABLE t;",
        "INSERT INTO t VALUES ('x; DROP TABLE t;');",
    ] {
        assert_eq!(does_more(sql), [""; 0], "{sql}");
    }
    let more = "ALTER TABLE t DROP COLUMN a; UPDATE rollover.meta SET needs = 12;";
    assert!(says_so(more, "0012") && !says_so(more, "0013"));
}
