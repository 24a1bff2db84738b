//! What changing calls answer beside the object: the revision, and with `?wait=enforced` who enforces it, in time (the
//! status of the object itself) or not (202).

use serde_json::{Map, Value, json};

const ENFORCEMENT: &str = "#/components/schemas/Enforcement";

/// Says it of every call that can be waited for.
pub(super) fn state(document: &mut Value) {
    let enforcement = &mut document["components"]["schemas"]["Enforcement"]["properties"];
    enforcement["last_accepted_at"] = json!({
        "type": ["string", "null"], "format": "date-time",
        "description": "Of what ends tokens: when any gateway last accepted one of them; null if none is known to have"
    });
    let paths = document["paths"].as_object_mut();
    for item in paths.into_iter().flat_map(Map::values_mut) {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if is_waited_for(operation) {
                responses(&mut operation["responses"]);
            }
        }
    }
}

fn is_waited_for(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let mut names = parameters.map(|parameter| &parameter["name"]);
    names.any(|name| name == "wait")
}

fn responses(responses: &mut Value) {
    let Some(done) = ["200", "201"]
        .into_iter()
        .find(|status| responses[status].is_object())
    else {
        return;
    };
    let content = "/content/application~1json/schema";
    let object = responses[done].pointer(content).cloned();
    let with = |required: Value| {
        let mut all: Vec<Value> = object.iter().cloned().collect();
        let beside = json!({
            "type": "object",
            "required": required,
            "properties": {
                "revision": {"type": "integer", "format": "uint64", "minimum": 0,
                    "description": "Of the commit; not there where nothing was changed"},
                "enforcement": {"$ref": ENFORCEMENT}
            }
        });
        all.push(beside);
        json!({"application/json": {"schema": {"allOf": all}}})
    };
    responses["202"] = json!({
        "description": "It is done, and not every gateway has confirmed it within `timeout_ms`: those that have not are \
                        named in `enforcement.laggards`, and enforce it once they hear of it. Ask again to go on waiting",
        "content": with(json!(["revision", "enforcement"]))
    });
    responses[done]["content"] = with(json!([]));
}
