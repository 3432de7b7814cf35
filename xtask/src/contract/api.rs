//! The few calls that xtask itself makes: who tests, and with which token.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process;

/// The machine client of the server under test. The server is reachable from this machine only and gone afterwards.
pub(super) const CLIENT_ID: &str = "contract";
pub(super) const CLIENT_SECRET: &str = "a secret of a server that is gone when this is read";
/// Of every user that xtask makes.
pub(super) const PASSWORD: &str = "a password of a server that is gone";
const CALL_SECONDS: &str = "30";

/// The address of a user that xtask makes.
pub(super) fn owner_email(name: &str) -> String {
    format!("{name}@example.org")
}

/// The API of the server under test.
pub(super) struct Api {
    pub(super) url: String,
    /// What the server's certificate is verified with.
    pub(super) certificate: PathBuf,
}

impl Api {
    /// Calls it; returns status and body.
    fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(u32, Value)> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", CALL_SECONDS, "--cacert"]);
        curl.arg(&self.certificate).args(["--request", method, "--write-out", r"\n%{http_code}"]);
        if let Some(token) = token {
            curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data-raw", &body.to_string()]);
        }
        let (ok, output, complaints) = process::capture(curl.arg(format!("{}{path}", self.url)))?;
        if !ok {
            bail!("{method} {path} was not answered: {}", complaints.trim());
        }
        let (body, status) = output.rsplit_once('\n').context("curl told no status")?;
        let status = status.trim().parse().context("curl told no status")?;
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// The document that the server serves.
    pub(super) fn document(&self, path: &str) -> Result<Value> {
        let (status, body) = self.call("GET", path, None, None)?;
        if status != 200 || !body["paths"].is_object() {
            bail!("the server has no OpenAPI document at {path} (status {status})");
        }
        Ok(body)
    }

    /// An access token of the machine client, with every scope.
    pub(super) fn client_token(&self) -> Result<String> {
        let body = json!({
            "grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
        });
        self.token("/api/v1/auth/token", &body)
    }

    /// An access token of a new user, the owner of a new organization.
    pub(super) fn owner_token(&self, name: &str) -> Result<String> {
        let body = json!({
            "email": owner_email(name), "password": PASSWORD, "name": name,
            "organization_name": name, "organization_slug": name,
        });
        self.token("/api/v1/auth/register", &body)
    }

    fn token(&self, path: &str, body: &Value) -> Result<String> {
        let (status, answer) = self.call("POST", path, None, Some(body))?;
        let token = answer["access_token"].as_str();
        token.map(str::to_owned).with_context(|| format!("no token from {path}: status {status}, {answer}"))
    }

    /// Whether the server still knows the owner of the token.
    pub(super) fn is_known(&self, token: &str) -> Result<bool> {
        Ok(self.call("GET", "/api/v1/auth/me", Some(token), None)?.0 == 200)
    }
}
