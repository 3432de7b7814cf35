//! The OpenAPI document: what the attributes of the handlers say, completed from the rules of the routes.
//!
//! Handlers list what they answer when all goes well. Who may call a route, and every error with its status, follows from the
//! route's row and shape and is added here, the same way for all. Examples that a handler does not give itself are put
//! together from those of the fields.

#![expect(
    clippy::indexing_slicing,
    reason = "the document is made of our own objects, when the server starts"
)]

mod examples;

use std::collections::BTreeMap;

use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{Action, Actor, OrganizationRole, Relation, Scope, permits};
use darktower_core::named::Named as _;
use darktower_core::preset::shipped;
use serde_json::{Map, Value, json};

use super::api;
use super::error::ErrorCode;
use super::rules::{Access, Rule};

const DESCRIPTION: &str = "\
The control plane of Dark Tower: meetings, the tokens with which participants join them, and who may do what.

Bodies are JSON with snake_case names; unknown fields are refused. Ids are UUIDs, times are RFC 3339 in UTC. Send the access \
token of a login (`POST /api/v1/auth/login`) or of a machine client (`POST /api/v1/auth/token`) as \
`Authorization: Bearer TOKEN`. Things of other organizations look as if they did not exist.

Every error has the same body: a `code` for programs, a `message` for people, and `details`. Every answer has an \
`X-Request-Id`, which is in the server's log as well.";

const TAGS: &[(&str, &str)] = &[
    ("auth", "Signing in, and tokens for the API"),
    ("organization", "The organization of the caller"),
    ("users", "Users of the organization"),
    ("clients", "Programs that call the API"),
    ("presets", "Named sets of permissions for participants"),
    ("meetings", "Meetings and their lives"),
    ("participants", "Join tokens, and who is in a meeting"),
    ("sessions", "Past and running sessions of meetings"),
    ("aliases", "Routes of other products, for applications written for them"),
    ("audit", "Who did what"),
    ("operations", "What clients and operators ask of the server"),
];

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document of every route of the API.
pub(super) fn document() -> Value {
    let described = api::routes().into_openapi();
    let mut document = serde_json::to_value(described).expect("the description is plain data");
    let rules: Vec<&Rule> = api::RULES.iter().flat_map(|group| group.iter()).collect();
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "Dark Tower API",
        "version": env!("CARGO_PKG_VERSION"),
        "description": DESCRIPTION,
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    document["servers"] = json!([{ "url": "/", "description": "This server" }]);
    let used = used_tags(&document);
    let tags = TAGS.iter().filter(|(name, _)| used.iter().any(|used| used == name));
    document["tags"] = tags.map(|(name, text)| json!({ "name": name, "description": text })).collect();
    let components = entry(&mut document, "components");
    entry(components, "schemas")["Error"] = error_schema();
    components["securitySchemes"] = json!({ "bearer": {
        "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
        "description": "The access token of a login or of a machine client.",
    } });

    preset_examples(&mut document["components"]["schemas"]);
    let schemas = document["components"]["schemas"].clone();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                let rule =
                    rules.iter().find(|rule| rule.path == path && rule.method.eq_ignore_ascii_case(method));
                if let Some(rule) = rule {
                    complete(operation, rule);
                }
                examples::complete(operation, &schemas);
            }
        }
    }
    document
}

/// The types of presets know nothing of the API: their examples are those of a preset that is shipped.
fn preset_examples(schemas: &mut Value) {
    let Some(preset) = shipped().into_iter().next() else { return };
    let example = serde_json::to_value(preset).expect("presets are plain data");
    for (name, part) in [("PresetConfig", "config"), ("PresetPermissions", "permissions"), ("PresetUi", "ui")]
    {
        schemas[name]["example"] = example[part].clone();
    }
    schemas["Preset"]["example"] = example;
}

fn used_tags(document: &Value) -> Vec<String> {
    operations(document)
        .flat_map(|(_, _, operation)| operation["tags"].as_array().cloned().unwrap_or_default())
        .filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect()
}

/// Path, method and description of each operation.
pub(super) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let items = document["paths"].as_object().into_iter().flatten();
    items.flat_map(|(path, item)| {
        let of_methods = METHODS.iter().filter_map(move |method| Some((*method, item.get(method)?)));
        of_methods.map(move |(method, operation)| (path.as_str(), method, operation))
    })
}

fn entry<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let entry = &mut value[key];
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry
}

/// Adds who may call it and what it answers when something is wrong.
fn complete(operation: &mut Value, rule: &Rule) {
    let text = operation["description"].as_str().map(str::to_owned).unwrap_or_default();
    let (security, who) = match rule.access {
        Access::Public => (json!([]), "Anybody may call this.".to_owned()),
        Access::Needs(action) => (json!([{ "bearer": [] }]), who_may(action)),
    };
    operation["security"] = security;
    operation["description"] = json!(if text.is_empty() { who } else { format!("{text}\n\n{who}") });
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in errors(operation, rule) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    let responses = entry(operation, "responses");
    for (status, codes) in by_status {
        responses[status.to_string()] = error_response(status, &codes);
    }
}

/// Every code that the route may answer with, each once, in the order of the table.
fn errors(operation: &Value, rule: &Rule) -> Vec<ErrorCode> {
    let mut codes = rule.errors.to_vec();
    codes.extend([ErrorCode::RequestTimeout, ErrorCode::RateLimited, ErrorCode::InternalError]);
    if matches!(rule.access, Access::Needs(_)) {
        codes.extend([ErrorCode::Unauthorized, ErrorCode::Forbidden]);
    }
    // Pages of other sites may read what is public, and change nothing.
    if rule.method != "GET" {
        codes.push(ErrorCode::Forbidden);
    }
    if operation["parameters"].as_array().is_some_and(|parameters| !parameters.is_empty()) {
        codes.push(ErrorCode::InvalidRequest);
    }
    if operation.get("requestBody").is_some() {
        codes.extend([
            ErrorCode::InvalidRequest,
            ErrorCode::PayloadTooLarge,
            ErrorCode::UnsupportedMediaType,
        ]);
    }
    ErrorCode::ALL.iter().copied().filter(|code| codes.contains(code)).collect()
}

fn error_response(status: u16, codes: &[ErrorCode]) -> Value {
    let meanings = codes.iter().map(|code| format!("- `{}`: {}", code.as_str(), code.meaning()));
    let examples: Map<_, _> = codes
        .iter()
        .map(|code| {
            let body = json!({ "error": {
                "code": code.as_str(), "message": code.meaning(), "details": {},
            } });
            (code.as_str().to_owned(), json!({ "value": body }))
        })
        .collect();
    let mut response = json!({
        "description": meanings.collect::<Vec<_>>().join("\n"),
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Error" },
            "examples": examples,
        } },
    });
    if status == 401 {
        response["headers"] = json!({ "WWW-Authenticate": {
            "description": "Always `Bearer`.", "schema": { "type": "string" },
        } });
    }
    if codes.contains(&ErrorCode::RateLimited) {
        response["headers"] = json!({ "Retry-After": {
            "description": "Seconds after which it is worth trying again.", "schema": { "type": "integer", "minimum": 1 },
        } });
    }
    response
}

fn error_schema() -> Value {
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "description": "What every refused or failed request answers.",
        "required": ["error"],
        "additionalProperties": false,
        "properties": { "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "additionalProperties": false,
            "properties": {
                "code": { "type": "string", "enum": codes, "description": "For programs." },
                "message": { "type": "string", "minLength": 1, "description": "For people." },
                "details": {
                    "type": "object",
                    "additionalProperties": { "type": "string" },
                    "description": "More about it; `field` names the one to blame.",
                },
            },
        } },
    })
}

/// The rule book's answer for this action, in words.
fn who_may(action: Action) -> String {
    let words = |actor: &Actor, name: &str| {
        let may = |relation, policy| permits(actor, action, relation, policy);
        if may(Relation::Other, AccessPolicy::Invited) {
            Some(name.to_owned())
        } else if may(Relation::Other, AccessPolicy::Open) {
            Some(format!("{name} (where the meeting is open to it)"))
        } else if may(Relation::Own, AccessPolicy::Open) {
            Some(format!("{name} (its own meetings)"))
        } else {
            None
        }
    };
    let roles = OrganizationRole::ALL
        .iter()
        .filter_map(|role| words(&Actor::User(*role), role.as_str()))
        .collect::<Vec<_>>();
    let scopes = Scope::ALL
        .iter()
        .filter_map(|scope| words(&Actor::Client(vec![*scope]), scope.as_str()))
        .collect::<Vec<_>>();
    let clients = match scopes.as_slice() {
        [] => "no machine clients".to_owned(),
        scopes => format!("machine clients with the scope {}", scopes.join(" or ")),
    };
    format!("Needs the right `{action}`: users with the role {}; {clients}.", roles.join(", "))
}

#[cfg(test)]
mod tests;
