//! Who may use which route, and which errors it has: one row for each route, and no route without a row.
//!
//! Each module of `api` brings its rows. The router looks a request's row up before its handler runs; a route that has none
//! answers nobody, and a test fails. The OpenAPI document is completed from the same rows.

use std::collections::HashMap;

use axum::http::Method;
use darktower_core::access::Action;

use super::error::ErrorCode;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Public,
    /// Callers that may do this in some case. Which meetings they may do it with is for the handler to check.
    Needs(Action),
}

/// The row of one route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// `GET`, `POST` …
    pub(super) method: &'static str,
    /// As the router has it: `/api/v1/meetings/{meeting_id}`.
    pub(super) path: &'static str,
    /// Who may use it.
    pub(super) access: Access,
    /// Errors beyond those that follow from the route's shape (see `openapi`).
    pub(super) errors: &'static [ErrorCode],
}

/// The rows, by path.
#[derive(Debug)]
pub(super) struct Rules(HashMap<&'static str, Vec<(Method, &'static Rule)>>);

impl Rules {
    /// All rows of `groups`.
    pub(super) fn new(groups: &[&'static [Rule]]) -> Self {
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for rule in groups.iter().flat_map(|group| group.iter()) {
            let method = Method::from_bytes(rule.method.as_bytes()).expect("rows name methods");
            rules.entry(rule.path).or_default().push((method, rule));
        }
        Self(rules)
    }

    /// The row of a route. `HEAD` is as `GET`.
    pub(super) fn of(&self, method: &Method, path: &str) -> Option<&'static Rule> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.get(path)?.iter().find(|(known, _)| known == method).map(|(_, rule)| *rule)
    }
}
