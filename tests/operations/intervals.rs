//! How long one key of a secret serves, as an operator sets it.

use serde_json::json;

use crate::{app::Api, on_both_databases};

on_both_databases!(an_operator_sets_an_interval_and_takes_it_back);

async fn an_operator_sets_an_interval_and_takes_it_back(api: &Api) {
    let admin = api.as_administrator().await;
    let jwt = async || {
        let secrets = admin.get("/admin/secrets").await.expect(200);
        let secrets = secrets["secrets"].as_array().unwrap().clone();
        secrets.into_iter().find(|view| view["secret"] == "JWT_SECRET").unwrap()
    };
    let before = jwt().await;
    assert_eq!((&before["intervalDays"], &before["due"]), (&json!(90), &json!("later")));
    let set = |days| json!({ "days": days, "reason": "policy" });
    let path = "/admin/schedule/JWT_SECRET";
    assert_eq!(admin.put(path, set(Some(30))).await.status, 204);
    let after = jwt().await;
    assert_eq!((&after["intervalDays"], &after["intervalIsSet"]), (&json!(30), &json!(true)));
    for days in [0, 3651] {
        let refused = admin.put(path, set(Some(days))).await.expect(422);
        assert_eq!(refused["code"], "unfit_interval");
    }
    admin.put("/admin/schedule/NO_SECRET", set(Some(1))).await.expect(404);
    admin.put(path, json!({ "days": 5 })).await.expect(422);
    api.client.put(path, set(Some(1))).await.expect(401);
    assert_eq!(admin.put(path, set(None)).await.status, 204);
    assert_eq!(jwt().await["intervalDays"], 90);
    let told =
        api.db.texts("SELECT CAST(id AS text) FROM audit_logs WHERE action = 'schedule.set'");
    assert_eq!(told.await.len(), 2, "what is refused is told as a call alone");
}
