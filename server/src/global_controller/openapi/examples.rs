//! Examples of bodies, put together from the examples of their fields.

use serde_json::{Map, Value};

/// Schemas refer to each other; deeper than this they go in circles.
const MAX_DEPTH: usize = 16;

/// Gives every body of an operation that has none an example.
pub(super) fn complete(operation: &mut Value, schemas: &Value) {
    let request = operation.pointer_mut("/requestBody/content");
    for content in request.into_iter().filter_map(Value::as_object_mut).flatten() {
        add(content.1, schemas);
    }
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        let content = response.get_mut("content").and_then(Value::as_object_mut);
        for (_, media_type) in content.into_iter().flatten() {
            add(media_type, schemas);
        }
    }
}

fn add(media_type: &mut Value, schemas: &Value) {
    if media_type.get("example").is_none()
        && media_type.get("examples").is_none()
        && let Some(example) = of_schema(&media_type["schema"], schemas, 0)
    {
        media_type["example"] = example;
    }
}

/// An example of what the schema describes; `None` if a field that must be there has none.
fn of_schema(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(example) = schema.get("examples").and_then(|examples| examples.get(0)) {
        return Some(example.clone());
    }
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next()?;
        return of_schema(schemas.get(name)?, schemas, depth + 1);
    }
    if let Some(first) = schema["enum"].get(0) {
        return Some(first.clone());
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut whole = Map::new();
        for part in all {
            match of_schema(part, schemas, depth + 1)? {
                Value::Object(fields) => whole.extend(fields),
                // A reference with a description of its own.
                other if all.len() == 1 => return Some(other),
                _ => return None,
            }
        }
        return Some(Value::Object(whole));
    }
    for either in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[either].as_array() {
            // "Or null" is the duller one.
            let mut choices = choices.iter().filter(|choice| choice["type"] != "null");
            return choices.find_map(|choice| of_schema(choice, schemas, depth + 1));
        }
    }
    match type_of(schema) {
        "object" => object(schema, schemas, depth),
        "array" => Some(Value::Array(vec![of_schema(&schema["items"], schemas, depth + 1)?])),
        "boolean" => Some(Value::Bool(false)),
        "integer" => Some(schema.get("minimum").cloned().unwrap_or(Value::from(0))),
        "string" => match schema["format"].as_str() {
            Some("uuid") => Some(Value::from("0192f0c1-2a3b-7c4d-8e5f-001122334455")),
            Some("date-time") => Some(Value::from("2026-01-16T12:00:00Z")),
            _ => None,
        },
        _ => None,
    }
}

fn object(schema: &Value, schemas: &Value, depth: usize) -> Option<Value> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut fields = Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|required| required == name.as_str());
        // What may be left out and says no example is left out.
        let says = is_required || has_example(field, schemas, depth);
        match of_schema(field, schemas, depth + 1) {
            Some(example) if says => {
                fields.insert(name.clone(), example);
            }
            None if is_required => return None,
            _ => {}
        }
    }
    Some(Value::Object(fields))
}

fn has_example(field: &Value, schemas: &Value, depth: usize) -> bool {
    match type_of(field) {
        "boolean" | "integer" | "string" => field.get("example").is_some(),
        _ => of_schema(field, schemas, depth + 1).is_some(),
    }
}

/// The type, of several the first that is not null.
fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(text) => text,
        Value::Array(types) => {
            types.iter().filter_map(Value::as_str).find(|text| *text != "null").unwrap_or_default()
        }
        _ => "",
    }
}
