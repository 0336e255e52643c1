//! The schema and the reader know the same fields: an editor that believes the one is never refused by the other.

use std::path::Path;

use serde_json::{Value, json};
use shardwright::config;

use super::{env, package};

/// Follows a reference.
fn seen<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap();
            seen(root, root.pointer(pointer).unwrap())
        }
        None => schema,
    }
}

/// A value that the schema describes, with every field there is; `pick` decides where there is a choice.
fn sample(root: &Value, schema: &Value, pick: usize) -> Value {
    let schema = seen(root, schema);
    if let Some(options) = schema.get("oneOf").or(schema.get("anyOf")) {
        let options = options.as_array().unwrap();
        return sample(root, &options[pick % options.len()], pick);
    }
    if let Some(only) = schema.get("const") {
        return only.clone();
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let mut object = serde_json::Map::new();
            for (name, field) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                object.insert(name.clone(), sample(root, field, pick));
            }
            if let Some(any @ Value::Object(_)) = schema.get("additionalProperties") {
                object.insert("chosen".to_owned(), sample(root, any, pick));
            }
            object.into()
        }
        "array" => json!([sample(root, &schema["items"], pick)]),
        "string" => json!("text"),
        "integer" => schema["minimum"].clone(),
        "boolean" => json!(true),
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_schema_knows_the_reader_knows() {
    let schema = config::schema();
    for pick in 0..6 {
        let text = sample(&schema, &schema, pick).to_string();
        let Err(problems) = config::load_text(Path::new("sample.yaml"), &text, &env) else {
            continue;
        };
        for problem in problems.iter() {
            let unknown = [
                "there is no field",
                "there is no choice",
                "needs its fields",
                "is missing",
                "must be a map",
                "must be a list",
            ];
            let message = problem.message();
            let is_unknown = unknown.iter().any(|part| message.contains(part));
            assert!(!is_unknown, "{problem}\n{text}");
        }
    }
}

/// Every object of the schema, by an example of a document that leads to it.
fn objects(root: &Value, schema: &Value, path: &[&str], out: &mut Vec<(Vec<String>, Vec<String>)>) {
    let schema = seen(root, schema);
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        // The object of a choice has the one field that says which.
        if schema["description"] != json!("") {
            let path = path.iter().map(|part| (*part).to_owned()).collect();
            out.push((path, fields.keys().cloned().collect()));
        }
        for (name, field) in fields {
            objects(root, field, &[path, &[name.as_str()]].concat(), out);
        }
    }
    for option in schema
        .get("oneOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for (name, field) in option
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            objects(root, field, &[path, &[name.as_str()]].concat(), out);
        }
    }
    if let Some(items) = schema.get("items") {
        objects(root, items, &[path, &["[]"]].concat(), out);
    }
    if let Some(any @ Value::Object(_)) = schema.get("additionalProperties") {
        objects(root, any, &[path, &["chosen"]].concat(), out);
    }
}

#[test]
fn what_the_reader_knows_the_schema_knows() {
    let schema = config::schema();
    let mut all = Vec::new();
    objects(&schema, &schema, &[], &mut all);
    assert!(all.len() > 15, "{all:?}");
    for (path, mut fields) in all {
        // A number where a map belongs: the reader answers with the fields that the map may have.
        let document = path
            .iter()
            .rev()
            .fold(json!(5), |inner, part| match part.as_str() {
                "[]" => json!([inner]),
                name => json!({ name: inner }),
            });
        let problems =
            config::load_text(Path::new("sample.yaml"), &document.to_string(), &env).unwrap_err();
        let help = problems
            .iter()
            .find_map(|problem| problem.help_text()?.strip_prefix("its fields are "))
            .unwrap_or_else(|| panic!("{path:?}: {problems}"));
        let mut told: Vec<_> = help
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        told.sort();
        fields.sort();
        assert_eq!(told, fields, "{path:?}");
    }
}

#[test]
fn defaults_in_the_schema_are_defaults_of_the_reader() {
    // A pipeline that writes every default of the schema is the pipeline that writes none.
    fn defaults(root: &Value, schema: &Value) -> Value {
        let schema = seen(root, schema);
        let fields = schema["properties"].as_object().unwrap();
        let written = fields.iter().filter_map(|(name, field)| {
            let default = field.get("default")?;
            let value = match default {
                Value::Object(_) if seen(root, field).get("properties").is_some() => {
                    defaults(root, field)
                }
                other => other.clone(),
            };
            Some((name.clone(), value))
        });
        Value::Object(written.collect())
    }
    let schema = config::schema();
    let mut document = defaults(&schema, &schema);
    let mut kinesis = defaults(&schema, &schema["$defs"]["Kinesis"]);
    kinesis["stream"] = json!("orders");
    document["version"] = json!(1);
    document["pipeline"] = json!("orders");
    document["source"] = json!({ "kinesis": kinesis });
    assert!(document["flow"]["batch"]["wait"].is_string(), "{document}");
    let load = |text: &str| config::load_text(Path::new("/p/sample.yaml"), text, &env).unwrap();
    let smallest = "version: 1\npipeline: orders\nsource: { kinesis: { stream: orders } }";
    assert_eq!(load(&document.to_string()), load(smallest));
}

#[test]
fn the_schema_is_as_written_down() {
    let golden = package().join("tests/config/schema.json");
    let found = format!("{:#}\n", config::schema());
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&golden).unwrap_or_default(), found);
}
