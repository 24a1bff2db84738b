//! When success may be answered for a destination, said by commands.

use serde_json::{Value, json};

use super::Shell;

#[tokio::test]
async fn when_success_is_answered_is_said_and_taken_back_from_a_shell() {
    let shell = Shell::start().await;
    let create = "destination create --name loki --kind http --endpoint http://127.0.0.1:9/x";
    let made = shell.object(create);
    assert_eq!(made.get("ack"), Some(&Value::Null));
    for (ack, shown) in [
        ("spill", json!("spill")),
        ("spool", json!("spool")),
        ("destination", json!("destination")),
        ("default", Value::Null),
    ] {
        let said = shell.says(&format!("destination set loki --ack {ack}"));
        assert!(said.ends_with(" is changed\n"), "{said}");
        assert_eq!(shell.object("destination show loki")["ack"], shown, "{ack}");
    }
    let create = "destination create --name files --kind archive --ack";
    let refused = shell.fails(&format!("{create} spool"), 1);
    assert!(
        refused.contains("an archive can't have ack spool"),
        "{refused}"
    );
    let made = shell.object(&format!("{create} destination"));
    assert_eq!(made["ack"], "destination");
    let none = shell.fails("destination set loki --ack sometime", 2);
    assert!(
        none.contains("destination, spool, spill, default"),
        "{none}"
    );
}
