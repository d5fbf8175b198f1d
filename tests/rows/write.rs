//! A batch: only what was read is written, and only what changes.

use super::*;

on_both! {
    async fn a_row_edited_meanwhile_keeps_the_edit(db: &Db) {
        let shape = with_webhooks(db).await;
        let hosts = db.array(r#"["enc:v2:old:a","enc:v2:old:b"]"#);
        for id in [NIL, ONE, TWO] {
            db.run(&format!(
                "INSERT INTO webhooks VALUES ('{id}', 'enc:v2:old:u', '{{\"token\": 1.10}}', {hosts}, 'then')"
            )).await;
        }
        let rows = stale(db, &shape, &webhook_aims()).await;
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].key, RowKey::from(NIL), "the row with the nil UUID is visited");

        db.run(&format!("UPDATE webhooks SET url = 'enc:v3:new:edit' WHERE id = '{ONE}'")).await;
        let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:u")).collect();
        assert_eq!(write(db, &shape, &updates).await, 2);
        let urls = db.all("SELECT url FROM webhooks ORDER BY id").await;
        assert_eq!(urls, ["enc:v3:new:u", "enc:v3:new:edit", "enc:v3:new:u"]);
        let touched = db.all("SELECT DISTINCT updated_at FROM webhooks").await;
        assert_eq!(touched, ["then"], "only sealed columns are set");
        assert_eq!(write(db, &shape, &updates).await, 0, "a batch that was written is spent");
    }

    async fn a_number_that_changed_its_digits_is_an_edit(db: &Db) {
        let shape = with_webhooks(db).await;
        let document = r#"{"n": 1.10, "big": 123456789012345678901234567890, "token": "t"}"#;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', NULL, '{document}', NULL, NULL)")).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let read = row.values[1].clone().unwrap();
        assert!(read.contains("1.10") && read.contains("123456789012345678901234567890"), "{read}");

        db.run(&format!("UPDATE webhooks SET headers = '{}'", document.replace("1.10", "1.1"))).await;
        let sealed = read.replace("\"t\"", "\"enc:v3:new:t\"");
        assert_eq!(write(db, &shape, &[update(&row, 1, &sealed)]).await, 0);

        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let sealed = row.values[1].clone().unwrap().replace("\"t\"", "\"enc:v3:new:t\"");
        assert_eq!(write(db, &shape, &[update(&row, 1, &sealed)]).await, 1);
        let kept = db.all("SELECT CAST(headers AS text) FROM webhooks").await.remove(0);
        assert_eq!(kept, sealed, "digits are kept");
    }

    async fn a_column_that_does_not_change_is_left_alone(db: &Db) {
        let shape = with_webhooks(db).await;
        db.run(&format!(
            "INSERT INTO webhooks VALUES ('{ONE}', 'enc:v1:u', '{{}}', {}, NULL)",
            db.array(r#"["enc:v3:new:a"]"#)
        )).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        db.run(&format!("UPDATE webhooks SET hosts = {}", db.array(r#"["enc:v3:new:edit"]"#))).await;
        assert_eq!(write(db, &shape, &[update(&row, 0, "enc:v3:new:u")]).await, 1);
        let now = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(now.values[0].as_deref(), Some("enc:v3:new:u"));
        assert_eq!(now.values[2].as_deref(), Some(r#"["enc:v3:new:edit"]"#));
    }

    async fn an_array_keeps_its_nulls_and_its_emptiness(db: &Db) {
        let shape = with_webhooks(db).await;
        let (before, after) = (r#"["enc:v1:a",null,"","é\"\\"]"#, r#"["enc:v3:new:a",null,"","é\"\\"]"#);
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', NULL, NULL, {}, NULL)", db.array(before))).await;
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        assert_eq!(row.values[2].as_deref(), Some(before));
        assert_eq!(write(db, &shape, &[update(&row, 2, after)]).await, 1);
        let row = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(row.values[2].as_deref(), Some(after));
        assert_eq!(write(db, &shape, &[update(&row, 2, "[]")]).await, 1);
        let row = db.rows().fetch(&shape, &[RowKey::from(ONE)]).await.unwrap().remove(0);
        assert_eq!(row.values[2].as_deref(), Some("[]"));
        assert_eq!(stale(db, &shape, &webhook_aims()).await, []);
    }

    async fn a_key_that_no_row_can_have_is_passed_over(db: &Db) {
        let shape = with_webhooks(db).await;
        db.run(&format!("INSERT INTO webhooks VALUES ('{ONE}', 'plain', NULL, NULL, NULL)")).await;
        let foreign = RowKey::composite(vec![ONE.into(), "2".into()]);
        let keys = [RowKey::from("no uuid"), foreign.clone(), RowKey::from(ONE)];
        assert_eq!(db.rows().fetch(&shape, &keys).await.unwrap().len(), 1);
        let row = stale(db, &shape, &webhook_aims()).await.remove(0);
        let good = update(&row, 0, "enc:v3:new:p");
        let bad = Update { key: foreign, ..good.clone() };
        assert_eq!(write(db, &shape, &[bad, good]).await, 1);
    }

    async fn a_batch_of_a_thousand_is_written_at_once_and_split_evenly(db: &Db) {
        let shape = with_webhooks(db).await;
        db.fill_webhooks(5000).await;
        let rows = db.rows().stale(&shape, &webhook_aims(), Window::default(), 1000).await.unwrap();
        assert_eq!(rows.len(), 1000);
        let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:x")).collect();
        assert_eq!(write(db, &shape, &updates).await, 1000);
        let bounds = db.rows().split(&shape, 4).await.unwrap();
        assert_eq!(bounds.len(), 3);
        let mut after = None;
        let mut sizes = Vec::new();
        for upto in bounds.iter().map(Some).chain([None]) {
            let window = Window { after, upto };
            let aims = [aim("enc:v3:none:"), aim("enc:v3:none:"), aim("enc:v3:none:")];
            sizes.push(db.rows().stale(&shape, &aims, window, 10_000).await.unwrap().len());
            after = upto;
        }
        assert_eq!(sizes.iter().sum::<usize>(), 5000, "no row is in no range, none in two");
        assert!(sizes.iter().all(|size| (1100..1400).contains(size)), "{sizes:?}");
        assert_eq!(db.rows().split(&shape, 1).await.unwrap(), []);
    }
}
