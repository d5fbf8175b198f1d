//! Rows are visited in the order of their key, whatever it is made of.

use super::*;

on_both! {
    async fn integer_keys_page_in_their_own_order(db: &Db) {
        db.run("CREATE TABLE numbered (id bigint PRIMARY KEY, secret text)").await;
        for id in [-5_i64, 0, 9, 10, 100, i64::MAX] {
            db.run(&format!("INSERT INTO numbered VALUES ({id}, 'plain')")).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("numbered", "secret"))).await;
        let keys = paged(db, &shape, None, None).await;
        assert_eq!(keys, [-5, 0, 9, 10, 100, i64::MAX].map(RowKey::from));
        let keys = paged(db, &shape, Some(RowKey::from(0)), Some(RowKey::from(10))).await;
        assert_eq!(keys, [9, 10].map(RowKey::from), "after is exclusive, upto inclusive");
        assert_eq!(write_all(db, &shape).await, 6);
    }

    async fn text_keys_page_in_the_order_of_their_index(db: &Db) {
        db.run("CREATE TABLE named (id text PRIMARY KEY, secret text)").await;
        let names = ["", "A", "B", "Zebra", "a", "a b", "a'b\"c", "z", "É", "é", "_", "日本"];
        for name in names {
            db.run(&format!("INSERT INTO named VALUES ('{}', 'plain')", name.replace('\'', "''"))).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("named", "secret"))).await;
        let keys = paged(db, &shape, None, None).await;
        let wanted = db.all("SELECT id FROM named ORDER BY id").await;
        assert_eq!(keys, wanted.iter().map(|id| RowKey::from(id.as_str())).collect::<Vec<_>>());
        assert_eq!(write_all(db, &shape).await, names.len() as u64);
    }

    async fn composite_keys_page_part_by_part(db: &Db) {
        db.run(
            "CREATE TABLE parted (secret text, name text, org uuid NOT NULL, n integer NOT NULL, \
             PRIMARY KEY (org, n))"
        ).await;
        for (org, n) in [(ONE, 10), (ONE, 9), (TWO, -1), (NIL, 7), (TWO, 3)] {
            db.run(&format!("INSERT INTO parted VALUES ('plain', 'x', '{org}', {n})")).await;
        }
        let shape = shape(db, &Registry::empty().with(Column::text("parted", "secret"))).await;
        let wanted = [(NIL, "7"), (ONE, "9"), (ONE, "10"), (TWO, "-1"), (TWO, "3")]
            .map(|(org, n)| RowKey::composite(vec![org.into(), n.into()]));
        assert_eq!(paged(db, &shape, None, None).await, wanted);
        assert_eq!(paged(db, &shape, Some(wanted[1].clone()), Some(wanted[3].clone())).await, wanted[2..4]);
        let fetched = db.rows().fetch(&shape, &wanted[2..3]).await.unwrap();
        assert_eq!(fetched.into_iter().map(|row| row.key).collect::<Vec<_>>(), wanted[2..3]);
        assert_eq!(write_all(db, &shape).await, 5);
    }

    async fn identifiers_are_quoted(db: &Db) {
        db.run(
            "CREATE TABLE \"Weird \"\"Table\" (\"select\" text PRIMARY KEY, \"trigger\" jsonb, \"it's\" text)"
        ).await;
        db.run("INSERT INTO \"Weird \"\"Table\" VALUES ('k', '{\"token\": \"t\"}', 'plain')").await;
        let table = "Weird \"Table";
        let registry = Registry::empty()
            .with(Column::new(table, "trigger", Kind::Json))
            .with(Column::text(table, "it's"));
        let shape = shape(db, &registry).await;
        let aims = [aim("enc:v3:new:"), aim("enc:v3:new:")];
        let row = stale(db, &shape, &aims).await.remove(0);
        let row = Update { new: vec![Some("{\"token\": \"enc:v3:new:t\"}".into()), Some("enc:v3:new:p".into())],
            ..update(&row, 1, "") };
        assert_eq!(write(db, &shape, &[row]).await, 1);
        assert_eq!(stale(db, &shape, &aims).await, []);
        assert_eq!(db.rows().census(&shape).await.unwrap().len(), 2);
        assert_eq!(db.rows().approximate_rows(&shape).await.unwrap(), 1);
    }

    async fn a_small_table_is_not_split(db: &Db) {
        let shape = with_webhooks(db).await;
        db.fill_webhooks(100).await;
        assert_eq!(db.rows().split(&shape, 8).await.unwrap(), []);
    }
}
