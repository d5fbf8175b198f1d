//! The registry against the live schema: every fault is told.

use super::*;

on_both! {
    async fn what_is_wrong_with_the_schema_is_told(db: &Db) {
        db.run("CREATE TABLE keyless (secret text)").await;
        db.run("CREATE TABLE odd_key (id numeric PRIMARY KEY, secret text)").await;
        db.run("CREATE TABLE mixed (id uuid PRIMARY KEY, secret text, n integer)").await;
        let registry = Registry::empty()
            .with(Column::text("absent", "secret"))
            .with(Column::text("keyless", "secret"))
            .with(Column::text("odd_key", "secret"))
            .with(Column::text("mixed", "n"))
            .with(Column::text("mixed", "secret"))
            .with(Column::text("mixed", "gone"));
        let survey = db.rows().survey(&registry).await.unwrap();
        let names: Vec<_> = survey.tables.iter().map(|shape| shape.table.name()).collect();
        assert_eq!(names, ["mixed"]);
        assert_eq!(survey.tables[0].columns(), [Column::text("mixed", "secret")]);
        let told: Vec<_> = survey.faults.iter().map(|fault| match fault {
            ColumnFault::NoTable { table } | ColumnFault::NoPrimaryKey { table } => table.as_str(),
            ColumnFault::KeyType { column, .. } | ColumnFault::WrongType { column, .. }
            | ColumnFault::NoColumn { column } => column,
            other => panic!("{other}"),
        }).collect();
        assert_eq!(told, ["absent", "keyless", "odd_key.id", "mixed.n", "mixed.gone"]);
        assert_eq!(survey.faults.iter().filter(|fault| fault.blocks()).count(), 4);
    }

    async fn envelopes_outside_the_registry_are_reported(db: &Db) {
        with_webhooks(db).await;
        db.run("CREATE TABLE stray (id integer, a text, b jsonb, c text[], d text, e jsonb)").await;
        db.run(&format!(
            "INSERT INTO stray VALUES (1, 'enc:v2:k:x', '{{\"x\": [\"enc:v3:k:y\"]}}', {}, 'about enc:v1:', '{{}}')",
            db.array(r#"["mfa:v1:z"]"#)
        )).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', 'enc:v2:k:x', NULL, NULL, NULL)")).await;
        let survey = db.rows().survey(&webhooks()).await.unwrap();
        assert_eq!(survey.unregistered, ["stray.a", "stray.b", "stray.c"]);
    }
}
