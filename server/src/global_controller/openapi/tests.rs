use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn has_example(media_type: &Value) -> bool {
    media_type.get("example").is_some()
        || media_type["examples"].as_object().is_some_and(|examples| !examples.is_empty())
}

#[test]
fn every_operation_says_everything() {
    let document = document();
    let rules: BTreeSet<_> = api::RULES
        .iter()
        .flat_map(|group| group.iter())
        .map(|rule| (rule.path.to_owned(), rule.method.to_lowercase()))
        .collect();
    let described: BTreeSet<_> =
        operations(&document).map(|(path, method, _)| (path.to_owned(), method.to_owned())).collect();
    let left: Vec<_> = rules.symmetric_difference(&described).collect();
    assert!(left.is_empty(), "a route without a rule, or a rule without a route: {left:?}");

    let mut missing = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let mut want = |is_there: bool, what: &str| {
            if !is_there {
                missing.push(format!("{method} {path}: {what}"));
            }
        };
        let text = |key: &str| operation[key].as_str().is_some_and(|text| !text.trim().is_empty());
        want(text("summary"), "summary");
        want(text("description"), "description");
        want(TAGS.iter().any(|(name, _)| operation["tags"] == json!([name])), "one known tag");
        want(
            operation["operationId"].as_str().is_some_and(|id| ids.insert(id.to_owned())),
            "operationId of its own",
        );
        want(operation["security"].is_array(), "who may call it");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or("?");
            want(parameter["description"].is_string(), &format!("description of the parameter {name}"));
            want(parameter["schema"].is_object(), &format!("schema of the parameter {name}"));
        }
        let placeholders = path.matches('{').count();
        let in_path = operation["parameters"].as_array().into_iter().flatten();
        want(
            in_path.filter(|parameter| parameter["in"] == "path").count() == placeholders,
            "parameters of the path",
        );
        if let Some(request) = operation.get("requestBody") {
            let content = &request["content"]["application/json"];
            want(content["schema"].is_object(), "schema of the request");
            want(has_example(content), "example of the request");
        }
        let responses = operation["responses"].as_object().expect("responses");
        want(responses.keys().any(|status| status.starts_with('2')), "what it answers when all goes well");
        for (status, response) in responses {
            want(
                response["description"].as_str().is_some_and(|text| !text.is_empty()),
                &format!("description of {status}"),
            );
            want((status == "204") == response.get("content").is_none(), &format!("content of {status}"));
            for (_, media_type) in response["content"].as_object().into_iter().flatten() {
                want(media_type["schema"].is_object(), &format!("schema of {status}"));
                want(has_example(media_type), &format!("example of {status}"));
            }
        }
        let guarded = operation["security"] != json!([]);
        let mut errors = vec!["408", "429", "500"];
        errors.extend(guarded.then_some(["401", "403"]).into_iter().flatten());
        errors.extend(operation.get("requestBody").map(|_| ["400", "413", "415"]).into_iter().flatten());
        for status in errors {
            let schema =
                &responses.get(status).unwrap_or(&Value::Null)["content"]["application/json"]["schema"];
            want(schema["$ref"] == "#/components/schemas/Error", &format!("the error {status}"));
        }
    }
    assert!(missing.is_empty(), "{} missing:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value.as_str().filter(|_| key == "$ref") {
                        Some(target) => drop(into.insert(target.to_owned())),
                        None => references(value, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let there: BTreeSet<_> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    let left: Vec<_> = used.symmetric_difference(&there).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_document_tells_the_rights_in_words() {
    let document = document();
    let text = |path: &str, method: &str| {
        document["paths"][path][method]["description"].as_str().expect("text").to_owned()
    };
    let users = text("/api/v1/users", "get");
    assert!(
        users.contains(
            "`manage_users`: users with the role owner, admin; machine clients with the scope admin"
        ),
        "{users}"
    );
    let edit = text("/api/v1/meetings/{meeting_id}", "patch");
    assert!(edit.contains("owner, admin, host (its own meetings)"), "{edit}");
    let dispose = text("/api/v1/organization", "delete");
    assert!(dispose.contains("users with the role owner; no machine clients"), "{dispose}");
    assert!(text("/api/v1/auth/login", "post").contains("Anybody may call this"));
    assert_eq!(document["paths"]["/api/v1/auth/login"]["post"]["security"], json!([]));
}

#[test]
fn the_errors_page_is_the_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = crate::global_controller::reference::errors_page();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&file, &page).expect("written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "docs/errors.md is not what the table says: run this test with UPDATE_GENERATED=1");
}

#[test]
fn the_page_shows_every_operation_and_error_without_a_script() {
    let document = document();
    let page = crate::global_controller::reference::page(&document);
    for (path, method, operation) in operations(&document) {
        let line = format!("<code class=\"method\">{}</code> <code>{path}</code>", method.to_uppercase());
        assert!(page.contains(&line), "{line}");
        assert!(page.contains(&format!("id=\"{}\"", operation["operationId"].as_str().expect("an id"))));
    }
    for code in ErrorCode::ALL {
        assert!(page.contains(&format!("<code>{}</code>", code.as_str())), "{code:?}");
    }
    for forbidden in ["<script", "style=", " onclick", "http://", "src="] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    // Every link within the page has its place.
    for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{target}\"")), "#{target}");
    }
}
