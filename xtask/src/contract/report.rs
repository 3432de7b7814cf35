//! What schemathesis saw, read from its event log, and how it is told.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use serde_json::{Value, json};

/// What a line of curl may have of a body before it is cut on the terminal.
const SHOWN_BODY: usize = 600;

/// Everything that was sent and found, over all runs.
#[derive(Default)]
pub(super) struct Report {
    pub(super) cases: u64,
    /// Operations of the document: how often each was answered with each status.
    answers: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Check and operation that it failed on.
    failures: BTreeMap<(String, String), Failure>,
    /// Operation and field: valid by the schema, refused by the server, which named the field.
    beyond_schema: BTreeMap<(String, String), Refusal>,
    /// What kept schemathesis from testing: a broken schema, an answer that did not come.
    pub(super) errors: BTreeSet<String>,
}

struct Failure {
    count: u64,
    message: String,
    answer: String,
    curl: String,
}

struct Refusal {
    count: u64,
    message: String,
}

/// A secret and the shell variable that stands for it in what is printed.
pub(super) struct Substitute {
    pub(super) value: String,
    pub(super) variable: &'static str,
}

impl Report {
    /// Adds what the event log of one run says.
    pub(super) fn read(&mut self, events: &Path, substitutes: &[Substitute]) -> Result<()> {
        let file = File::open(events).context("schemathesis left no event log")?;
        for line in BufReader::new(file).lines() {
            let event: Value = serde_json::from_str(&line?).context("an event is not JSON")?;
            if let Some(scenario) = event.get("ScenarioFinished") {
                self.scenario(&scenario["recorder"], substitutes);
            }
        }
        Ok(())
    }

    /// Names the operations of the document, so that those that were never called are seen.
    pub(super) fn expect(&mut self, document: &Value) {
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            // The document itself: schemathesis fetches it, and leaves it out of what it checks.
            if path == super::DOCUMENT {
                continue;
            }
            for method in item.as_object().into_iter().flatten().map(|(method, _)| method) {
                if ["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                    self.answers.entry(format!("{} {path}", method.to_uppercase())).or_default();
                }
            }
        }
    }

    fn scenario(&mut self, recorder: &Value, substitutes: &[Substitute]) {
        for (id, case) in recorder["cases"].as_object().into_iter().flatten() {
            let text = |name: &str| case["value"][name].as_str().unwrap_or_default();
            let operation = format!("{} {}", text("method").to_uppercase(), text("path"));
            let interaction = &recorder["interactions"][id];
            if interaction.is_null() {
                continue;
            }
            self.cases += 1;
            let status = interaction["response"]["status_code"].as_u64().unwrap_or_default();
            // Methods that the document does not have are tried too, and counted above only.
            if let Some(answers) = self.answers.get_mut(&operation) {
                *answers.entry(status).or_default() += 1;
            }
            for check in recorder["checks"][id].as_array().into_iter().flatten() {
                if check["status"] == "failure" {
                    self.failed(&operation, check, interaction, substitutes);
                }
            }
        }
    }

    fn failed(&mut self, operation: &str, check: &Value, interaction: &Value, substitutes: &[Substitute]) {
        let name = check["name"].as_str().unwrap_or_default();
        let answer = body_text(&interaction["response"]["content"]);
        if name == "positive_data_acceptance"
            && let Some((field, message)) = blamed_field(interaction, &answer)
        {
            self.beyond_schema
                .entry((operation.to_owned(), field))
                .or_insert(Refusal { count: 0, message })
                .count += 1;
            return;
        }
        // A meeting that was just created has no session before somebody joins.
        if name == "ensure_resource_availability" && answer.contains("\"SESSION_NOT_FOUND\"") {
            return;
        }
        let told = &check["failure_info"]["failure"];
        let title = told["title"].as_str().unwrap_or_default();
        let message = told["message"].as_str().unwrap_or_default();
        let found = Failure {
            count: 0,
            message: format!("{title}: {message}"),
            answer: format!("{} {answer}", interaction["response"]["status_code"]),
            curl: curl(&interaction["request"], substitutes),
        };
        let failure = match self.failures.entry((name.to_owned(), operation.to_owned())) {
            Entry::Vacant(none) => none.insert(found),
            Entry::Occupied(known) => {
                let known = known.into_mut();
                // The shortest request says most clearly what is wrong.
                if (found.curl.len(), &found.curl) < (known.curl.len(), &known.curl) {
                    *known = Failure { count: known.count, ..found };
                }
                known
            }
        };
        failure.count += 1;
    }

    /// Whether anything is wrong.
    pub(super) fn has_faults(&self) -> bool {
        !self.failures.is_empty() || !self.errors.is_empty()
    }

    pub(super) fn failure_count(&self) -> usize {
        self.failures.len()
    }

    /// Operations that never got an answer, and those that never got a good one.
    fn idle(&self) -> (Vec<&str>, Vec<&str>) {
        let is_good = |status: &u64| (200..400).contains(status);
        let (mut untested, mut never_succeeded) = (Vec::new(), Vec::new());
        for (operation, answers) in &self.answers {
            if answers.is_empty() {
                untested.push(operation.as_str());
            } else if !answers.keys().any(is_good) {
                never_succeeded.push(operation.as_str());
            }
        }
        (untested, never_succeeded)
    }

    /// An operation that was never called was not checked.
    pub(super) fn untested(&self) -> usize {
        self.idle().0.len()
    }

    pub(super) fn json(&self) -> Value {
        let (untested, never_succeeded) = self.idle();
        let failures = self.failures.iter().map(|((check, operation), failure)| {
            json!({
                "check": check, "operation": operation, "count": failure.count,
                "message": failure.message, "answer": failure.answer, "curl": failure.curl,
            })
        });
        let refusals = self.beyond_schema.iter().map(|((operation, field), refusal)| {
            json!({
                "operation": operation, "field": field, "count": refusal.count, "message": refusal.message,
            })
        });
        let answers = self.answers.iter().map(|(operation, answers)| {
            let answers = answers.iter().map(|(status, count)| (status.to_string(), json!(count)));
            (operation.clone(), Value::Object(answers.collect()))
        });
        json!({
            "cases": self.cases,
            "operations": self.answers.len(),
            "failures": failures.collect::<Vec<_>>(),
            "errors": self.errors,
            "untested": untested,
            "never_succeeded": never_succeeded,
            "refused_beyond_schema": refusals.collect::<Vec<_>>(),
            "answers": answers.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let (untested, never_succeeded) = self.idle();
        if !self.beyond_schema.is_empty() {
            text.push_str("Refused by rules that the schema does not say; each answer named the field:\n");
            for ((operation, field), refusal) in &self.beyond_schema {
                let _ = writeln!(text, "  {operation}, {field} ({}): {}", refusal.count, refusal.message);
            }
        }
        for (what, operations) in [
            ("Never answered with success, so only their refusals were checked:", never_succeeded),
            ("NOT CALLED:", untested),
        ] {
            if !operations.is_empty() {
                let _ = writeln!(text, "{what}");
                for operation in operations {
                    let _ = writeln!(text, "  {operation}");
                }
            }
        }
        for ((check, operation), failure) in &self.failures {
            let _ = writeln!(text, "\nFAILED {check} on {operation}, {} times", failure.count);
            for line in failure.message.lines().filter(|line| !line.trim().is_empty()) {
                let _ = writeln!(text, "  {line}");
            }
            let _ = writeln!(text, "  answer: {}", cut(&failure.answer));
            let _ = writeln!(text, "  {}", cut(&failure.curl));
        }
        for error in &self.errors {
            let _ = writeln!(text, "\nERROR {error}");
        }
        let mut by_check = BTreeMap::<&str, (usize, u64)>::new();
        for ((check, _), failure) in &self.failures {
            let (operations, count) = by_check.entry(check).or_default();
            *operations += 1;
            *count += failure.count;
        }
        let _ = writeln!(text, "\n{} cases on {} operations", self.cases, self.answers.len());
        for (check, (operations, count)) in by_check {
            let _ = writeln!(text, "  {check:<30} failed on {operations:>3} operations, {count:>5} times");
        }
        text
    }
}

/// The field that a 400 in the API's own form blames, and what it says about it.
fn blamed_field(interaction: &Value, answer: &str) -> Option<(String, String)> {
    if interaction["response"]["status_code"] != 400 {
        return None;
    }
    let body: Value = serde_json::from_str(answer).ok()?;
    let field = body["error"]["details"]["field"].as_str()?;
    Some((field.to_owned(), body["error"]["message"].as_str().unwrap_or_default().to_owned()))
}

fn body_bytes(body: &Value) -> Vec<u8> {
    let text = body["$base64"].as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}

fn body_text(body: &Value) -> String {
    String::from_utf8_lossy(&body_bytes(body)).into_owned()
}

/// The request as one would type it. Tokens and the server's address, which are others the next time, stand as variables.
fn curl(request: &Value, substitutes: &[Substitute]) -> String {
    let mut line = format!("curl -k -X {}", request["method"].as_str().unwrap_or_default());
    for (name, values) in request["headers"].as_object().into_iter().flatten() {
        let is_of_client = ["accept", "accept-encoding", "connection", "content-length", "user-agent"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own));
        if !is_of_client {
            for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
                let _ = write!(line, " -H {}", quoted(&format!("{name}: {value}"), substitutes));
            }
        }
    }
    let body = body_bytes(&request["body"]);
    match std::str::from_utf8(&body) {
        Ok("") => {}
        Ok(text) if !text.contains('\0') => {
            let _ = write!(line, " --data-raw {}", quoted(text, &[]));
        }
        _ => {
            let body = base64::engine::general_purpose::STANDARD.encode(&body);
            let _ = write!(line, " --data-binary @<(base64 -d <<<{body})");
        }
    }
    let _ = write!(line, " {}", quoted(request["uri"].as_str().unwrap_or_default(), substitutes));
    line
}

/// `text` for a POSIX shell, with variables for what `substitutes` names.
fn quoted(text: &str, substitutes: &[Substitute]) -> String {
    let first = substitutes
        .iter()
        .filter_map(|substitute| text.split_once(&substitute.value).map(|parts| (parts, substitute.variable)))
        .min_by_key(|((before, _), _)| before.len());
    let plain = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let Some(((before, after), variable)) = first else { return plain(text) };
    let mut line = if before.is_empty() { String::new() } else { plain(before) };
    let _ = write!(line, "\"${variable}\"");
    if !after.is_empty() {
        line.push_str(&quoted(after, substitutes));
    }
    line
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_BODY * 2) {
        Some((end, _)) => format!("{} ... (all of it with --json)", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> Value {
        json!({"$base64": base64::engine::general_purpose::STANDARD.encode(text)})
    }

    fn scenario(check: &str, status: u64, answer: &str) -> Value {
        json!({
            "cases": {"a": {"value": {"method": "POST", "path": "/things/{id}"}}},
            "checks": {"a": [
                {"name": "not_a_server_error", "status": "success"},
                {"name": check, "status": "failure", "failure_info": {"failure": {"title": "T", "message": "M"}}},
            ]},
            "interactions": {"a": {
                "request": {
                    "method": "POST", "uri": "https://127.0.0.1:1/things/1",
                    "headers": {"Authorization": ["Bearer abc"], "User-Agent": ["x"]}, "body": encoded(b"it's"),
                },
                "response": {"status_code": status, "content": encoded(answer.as_bytes())},
            }},
        })
    }

    fn report_of(scenarios: &[Value]) -> Report {
        let mut report = Report::default();
        report.expect(
            &json!({"paths": {"/things/{id}": {"post": {}, "parameters": []}, "/other": {"get": {}}}}),
        );
        let substitutes = [
            Substitute { value: "abc".into(), variable: "TOKEN" },
            Substitute { value: "https://127.0.0.1:1".into(), variable: "SERVER" },
        ];
        for scenario in scenarios {
            report.scenario(scenario, &substitutes);
        }
        report
    }

    #[test]
    fn a_failure_is_counted_and_can_be_repeated() {
        let failing = scenario("status_code_conformance", 418, "{}");
        let report = report_of(&[failing.clone(), failing]);
        assert!(report.has_faults());
        let json = report.json();
        assert_eq!((&json["cases"], &json["operations"]), (&json!(2), &json!(2)));
        let failure = &json["failures"][0];
        assert_eq!((&failure["operation"], &failure["count"]), (&json!("POST /things/{id}"), &json!(2)));
        assert_eq!(
            failure["curl"],
            r#"curl -k -X POST -H 'Authorization: Bearer '"$TOKEN" --data-raw 'it'\''s' "$SERVER"'/things/1'"#
        );
        assert_eq!(
            (&json["untested"], &json["never_succeeded"]),
            (&json!(["GET /other"]), &json!(["POST /things/{id}"]))
        );
        assert!(report.text().contains("FAILED status_code_conformance on POST /things/{id}, 2 times"));
    }

    #[test]
    fn the_shortest_request_stands_for_a_failure() {
        let long = scenario("status_code_conformance", 418, "long");
        let mut short = scenario("status_code_conformance", 418, "short");
        short["interactions"]["a"]["request"]["body"] = encoded(b"i");
        for order in [[&long, &short, &long], [&short, &long, &long]] {
            let json = report_of(&order.map(Clone::clone)).json();
            assert_eq!(
                (&json["failures"][0]["count"], &json["failures"][0]["answer"]),
                (&json!(3), &json!("418 short"))
            );
        }
    }

    #[test]
    fn a_refusal_that_names_its_field_is_no_failure() {
        let refusal =
            r#"{"error":{"code":"INVALID_REQUEST","message":"name is taken","details":{"field":"name"}}}"#;
        let report = report_of(&[scenario("positive_data_acceptance", 400, refusal)]);
        assert!(!report.has_faults());
        assert_eq!(report.json()["refused_beyond_schema"][0]["field"], "name");
        // Any other check does not excuse it, nor does an answer that leaves the field out.
        for (check, answer) in [
            ("status_code_conformance", refusal),
            ("positive_data_acceptance", r#"{"error":{"message":"no","details":{}}}"#),
            ("positive_data_acceptance", "no"),
        ] {
            assert!(report_of(&[scenario(check, 400, answer)]).has_faults(), "{check} {answer}");
        }
    }

    #[test]
    fn a_body_that_is_no_text_survives_the_shell() {
        let request = json!({"method": "POST", "uri": "u", "headers": {}, "body": encoded(b"\xff\x00")});
        assert_eq!(curl(&request, &[]), "curl -k -X POST --data-binary @<(base64 -d <<</wA=) 'u'");
    }
}
