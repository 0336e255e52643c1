use serde_json::json;
use shardwright_guest::testing::{Harness, Verdict};

use super::*;

const ORDERS: [&str; 4] = [
    r#"{"total": 100.0, "state": "late"}"#,
    r#"{"total": 99}"#,
    r#"{"total": "100"}"#,
    "{}",
];

/// Which messages go where: the output of each, or `-` for none.
fn routes(config: &Value, messages: &[&str]) -> Vec<String> {
    let mut harness = Harness::<JsonFilter>::new(config).unwrap();
    let route = |message: &&str| {
        let outcome = harness.handle([*message]);
        if let Verdict::Failed(failure) = &outcome.verdicts[0] {
            return failure.to_string();
        }
        assert!(
            outcome
                .emissions
                .iter()
                .all(|emitted| emitted.text() == *message && emitted.key == "key")
        );
        outcome
            .emissions
            .first()
            .map_or("-".to_owned(), |emitted| emitted.output.clone())
    };
    messages.iter().map(route).collect()
}

fn matches(is: &Value) -> Vec<bool> {
    let config = json!({ "at": "/total", "is": is, "mode": "route" });
    routes(&config, &ORDERS)
        .iter()
        .map(|route| route == DEFAULT_OUTPUT)
        .collect()
}

#[test]
fn comparisons_hold_for_values_of_their_own_type() {
    assert_eq!(matches(&json!({ "eq": 100 })), [true, false, false, false]);
    assert_eq!(matches(&json!({ "ne": 100 })), [false, true, true, true]);
    assert_eq!(matches(&json!({ "lt": 100 })), [false, true, false, false]);
    assert_eq!(matches(&json!({ "le": 100 })), [true, true, false, false]);
    assert_eq!(matches(&json!({ "gt": "1" })), [false, false, true, false]);
    assert_eq!(matches(&json!({ "ge": 100 })), [true, false, false, false]);
    assert_eq!(
        matches(&json!({ "in": [99, "100"] })),
        [false, true, true, false]
    );
    assert_eq!(
        matches(&json!({ "contains": "0" })),
        [false, false, true, false]
    );
    assert_eq!(
        matches(&json!({ "exists": true })),
        [true, true, true, false]
    );
    assert_eq!(
        matches(&json!({ "exists": false })),
        [false, false, false, true]
    );
}

#[test]
fn large_integers_compare_exactly() {
    let config = json!({ "at": "", "is": { "gt": 9_007_199_254_740_993_u64 } });
    assert_eq!(
        routes(&config, &["9007199254740993", "9007199254740994"]),
        ["-", "default"]
    );
}

#[test]
fn the_mode_says_what_happens_to_a_match() {
    let config = |mode| json!({ "at": "/state", "is": { "eq": "late" }, "mode": mode });
    assert_eq!(routes(&config("keep"), &ORDERS[..2]), ["default", "-"]);
    assert_eq!(routes(&config("drop"), &ORDERS[..2]), ["-", "default"]);
    assert_eq!(routes(&config("route"), &ORDERS[..2]), ["default", "rest"]);
}

#[test]
fn what_is_not_json_is_rejected_unless_the_config_says_otherwise() {
    let config = |not_json| json!({ "at": "/a", "is": { "exists": true }, "not_json": not_json });
    assert_eq!(
        routes(&config("reject"), &["{"]),
        ["reject: EOF while parsing an object at line 1 column 1"]
    );
    assert_eq!(routes(&config("match"), &["{"]), ["default"]);
    assert_eq!(routes(&config("drop"), &["{"]), ["-"]);
    let unsaid = json!({ "at": "/a", "is": { "exists": true } });
    assert!(routes(&unsaid, &[""])[0].starts_with("reject: "));
}

#[test]
fn all_that_is_wrong_with_a_config_is_said_at_its_place() {
    let error = |config: Value| Harness::<JsonFilter>::new(config).unwrap_err().to_string();
    let both = error(json!({ "at": "total", "is": { "lt": null } }));
    assert!(
        both.contains("/at: not a JSON pointer") && both.contains("/is/lt: only numbers and text"),
        "{both}"
    );
    assert!(
        error(json!({ "at": "/a", "is": { "like": "x" } }))
            .starts_with("/is: unknown variant `like`")
    );
    assert!(
        error(json!({ "at": "/a", "is": { "eq": 1 }, "mod": "keep" }))
            .starts_with("/mod: unknown field")
    );
}

#[test]
fn the_schema_names_the_settings_that_there_are() {
    let schema: Value = serde_json::from_str(JsonFilter::CONFIG_SCHEMA.unwrap()).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(
        properties.keys().collect::<Vec<_>>(),
        ["at", "is", "mode", "not_json"]
    );
    for name in properties["is"]["properties"].as_object().unwrap().keys() {
        let operand = match name.as_str() {
            "in" => json!([1]),
            "exists" => json!(true),
            _ => json!("x"),
        };
        Harness::<JsonFilter>::new(json!({ "at": "/a", "is": { name.as_str(): operand } }))
            .unwrap();
    }
    for name in ["mode", "not_json"] {
        for value in properties[name]["enum"].as_array().unwrap() {
            Harness::<JsonFilter>::new(json!({ "at": "/a", "is": { "eq": 1 }, name: value }))
                .unwrap();
        }
    }
}
