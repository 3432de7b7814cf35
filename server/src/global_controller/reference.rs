//! The browsable page of the API, and the page of its error codes, both from the OpenAPI document.
//!
//! Rendered here and not by a script in the browser: the page works offline and under a policy that allows nothing inline.
//! The usual viewers are 4 MB of script with images in data URLs, or come from elsewhere.

#![expect(
    clippy::indexing_slicing,
    reason = "the document is made of our own objects, when the server starts"
)]

use std::fmt::Write as _;

use serde_json::Value;

use super::error::ErrorCode;
use super::openapi::operations;

/// The page of every operation.
pub(super) fn page(document: &Value) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Dark Tower API</title>\n\
         <link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body>\n<main class=\"reference\">\n\
         <p class=\"brand\"><a href=\"/\">Dark Tower</a></p>\n",
    );
    let info = &document["info"];
    let _ = writeln!(html, "<h1>{} {}</h1>", text(&info["title"]), text(&info["version"]));
    html.push_str(&markdown(&info["description"]));
    html.push_str(
        "<p>For programs: <a href=\"/api/v1/openapi.json\">openapi.json</a> (OpenAPI 3.1)</p>\n<nav>\n<ul>\n",
    );
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    for tag in tags {
        let _ = writeln!(
            html,
            "<li><a href=\"#{0}\">{0}</a>: {1}</li>",
            text(&tag["name"]),
            text(&tag["description"])
        );
    }
    html.push_str("<li><a href=\"#errors\">errors</a>: every code with its status</li>\n");
    html.push_str("<li><a href=\"#schemas\">schemas</a>: every body field by field</li>\n</ul>\n</nav>\n");
    for tag in tags {
        let _ = writeln!(
            html,
            "<h2 id=\"{0}\">{0}</h2>\n<p>{1}</p>",
            text(&tag["name"]),
            text(&tag["description"])
        );
        let of_tag = operations(document).filter(|(_, _, operation)| operation["tags"][0] == tag["name"]);
        for (path, method, operation) in of_tag {
            operation_section(&mut html, path, method, operation);
        }
    }
    errors_section(&mut html);
    schemas_section(&mut html, &document["components"]["schemas"]);
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Text as HTML text or quoted attribute value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn operation_section(html: &mut String, path: &str, method: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    let _ = writeln!(
        html,
        "<details id=\"{id}\">\n<summary><code class=\"method\">{}</code> <code>{}</code> {}</summary>",
        method.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
    );
    html.push_str(&markdown(&operation["description"]));
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        html.push_str("<h3>Parameters</h3>\n<ul>\n");
        for parameter in parameters {
            let _ = write!(html, "<li><code>{}</code> ({}", text(&parameter["name"]), text(&parameter["in"]));
            let needed = if parameter["required"] == true { ", required" } else { "" };
            let _ = writeln!(
                html,
                "{needed}): {}. {}</li>",
                kind(&parameter["schema"]),
                inline(parameter["description"].as_str().unwrap_or_default()),
            );
        }
        html.push_str("</ul>\n");
    }
    let request = &operation["requestBody"]["content"];
    if request.is_object() {
        html.push_str("<h3>Request</h3>\n");
        body(html, request);
    }
    html.push_str("<h3>Responses</h3>\n");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let _ = writeln!(html, "<h4><code>{}</code></h4>", escape(status));
        html.push_str(&markdown(&response["description"]));
        // One error looks like the other.
        if status.starts_with('2') {
            body(html, &response["content"]);
        }
    }
    html.push_str("</details>\n");
}

fn body(html: &mut String, content: &Value) {
    for (media_type, described) in content.as_object().into_iter().flatten() {
        let _ = writeln!(html, "<p><code>{}</code>: {}</p>", escape(media_type), kind(&described["schema"]));
        if let Some(example) = described.get("example") {
            let example = serde_json::to_string_pretty(example).unwrap_or_default();
            let _ = writeln!(html, "<pre><code>{}</code></pre>", escape(&example));
        }
    }
}

fn errors_section(html: &mut String) {
    html.push_str(
        "<h2 id=\"errors\">errors</h2>\n<table>\n<tr><th>status</th><th>code</th><th>meaning</th></tr>\n",
    );
    for code in ErrorCode::ALL {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
            code.status().as_u16(),
            code.as_str(),
            inline(code.meaning()),
        );
    }
    html.push_str("</table>\n");
}

fn schemas_section(html: &mut String, schemas: &Value) {
    html.push_str("<h2 id=\"schemas\">schemas</h2>\n");
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        let _ = writeln!(html, "<h3 id=\"schema-{0}\">{0}</h3>", escape(name));
        html.push_str(&markdown(&schema["description"]));
        fields(html, schema);
    }
}

fn fields(html: &mut String, schema: &Value) {
    for part in schema["allOf"].as_array().into_iter().flatten() {
        match part.get("$ref") {
            Some(_) => {
                let _ = writeln!(html, "<p>Every field of {}, and:</p>", kind(part));
            }
            None => fields(html, part),
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    html.push_str("<ul>\n");
    for (name, field) in properties {
        let optional = if required.iter().any(|known| known == name.as_str()) { "" } else { ", optional" };
        let _ = writeln!(
            html,
            "<li><code>{}</code> ({}{optional}) {}</li>",
            escape(name),
            kind(field),
            inline(field["description"].as_str().unwrap_or_default()),
        );
    }
    html.push_str("</ul>\n");
}

/// What a schema is, in a few words, with links.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for either in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[either].as_array() {
            return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let mut words = match &schema["type"] {
        Value::String(text) => text.clone(),
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    };
    if words == "array" {
        return format!("list of {}", kind(&schema["items"]));
    }
    if let Some(format) = schema["format"].as_str().filter(|format| !format.starts_with("int")) {
        words = format!("{words}, {format}");
    }
    let bounds = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "length from"),
        ("maxLength", "length to"),
    ];
    for (key, word) in bounds {
        if let Some(bound) = schema[key].as_f64() {
            words = format!("{words}, {word} {bound}");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        words = format!("{words}: {}", values.join(", "));
    }
    escape(&words)
}

/// Paragraphs, lists and `code`, which is all that descriptions use.
fn markdown(description: &Value) -> String {
    let mut html = String::new();
    for paragraph in
        description.as_str().unwrap_or_default().split("\n\n").filter(|text| !text.trim().is_empty())
    {
        if paragraph.trim_start().starts_with("- ") {
            html.push_str("<ul>\n");
            for item in paragraph.trim().split("\n- ") {
                let _ = writeln!(html, "<li>{}</li>", inline(item.trim_start_matches("- ")));
            }
            html.push_str("</ul>\n");
        } else {
            let _ = writeln!(html, "<p>{}</p>", inline(paragraph));
        }
    }
    html
}

fn inline(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = escape(part);
        let _ = if index % 2 == 1 { write!(html, "<code>{part}</code>") } else { write!(html, "{part}") };
    }
    html
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

/// `docs/errors.md`.
#[cfg(test)]
pub(super) fn errors_page() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
         Every refused or failed request of the API answers with the same body:\n\n\
         ```json\n{\"error\": {\"code\": \"MEETING_NOT_FOUND\", \"message\": \"for people\", \"details\": {}}}\n```\n\n\
         `code` is for programs and stays; `message` may change. `details.field` names the field to blame where one is. Which\n\
         codes a route answers with is in its description (`/api/docs`, `/api/v1/openapi.json`).\n\n\
         | status | code | meaning |\n|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let _ = writeln!(page, "| {} | `{}` | {} |", code.status().as_u16(), code.as_str(), code.meaning());
    }
    page.push_str(
        "\nThis page is written by a test from the table in `server/src/global_controller/error.rs`: change it there, then run\n\
         `UPDATE_GENERATED=1 cargo nextest run -p darktower-server errors_page`.\n",
    );
    page
}
