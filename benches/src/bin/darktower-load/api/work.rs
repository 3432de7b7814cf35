//! What is asked over and over, and one window of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use axum::http::Method;
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::Connection;
use crate::tally::histogram;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    /// `GET /hello` of the bare server: what the libraries cost.
    Hello,
    /// `GET /api/v1/certificate` of ours: what every request of the API costs beyond it.
    Certificate,
    /// `POST /api/v1/meetings/{id}/participants`: a join token, signed and stored.
    Token,
    /// Create a meeting, issue a token, read the meeting.
    Cycle,
}

impl Case {
    pub(super) const ALL: [Self; 4] = [Self::Hello, Self::Certificate, Self::Token, Self::Cycle];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Cycle => "cycle",
        }
    }

    /// For people.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Hello => "bare server: GET /hello",
            Self::Certificate => "ours: GET, nothing stored or signed",
            Self::Token => "ours: POST, issue a join token",
            Self::Cycle => "ours: create meeting + token + read it",
        }
    }
}

/// What the requests need.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) access_token: String,
    pub(super) meeting_id: String,
}

/// What one window has shown.
pub(super) struct Window {
    pub(super) latency_us: Histogram<u64>,
    pub(super) length: Duration,
}

/// Asks on every connection, so many at a time, until `length` is over. Every answer is checked.
pub(super) async fn window(
    case: Case,
    connections: &[Connection],
    in_flight: usize,
    subject: &Arc<Subject>,
    length: Duration,
) -> Result<Window> {
    let over = Arc::new(AtomicBool::new(false));
    let mut workers: JoinSet<Result<Histogram<u64>>> = JoinSet::new();
    let started = Instant::now();
    for connection in connections {
        for _ in 0..in_flight {
            let (mut connection, subject, over) =
                (connection.clone(), Arc::clone(subject), Arc::clone(&over));
            workers.spawn(async move {
                let mut latency_us = histogram();
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    once(case, &mut connection, &subject).await.with_context(|| case.description())?;
                    latency_us.saturating_record(asked.elapsed().as_micros() as u64);
                }
                Ok(latency_us)
            });
        }
    }
    let mut latency_us = histogram();
    let end = tokio::time::sleep(length);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end, if !over.load(Ordering::Relaxed) => over.store(true, Ordering::Relaxed),
            done = workers.join_next() => match done {
                Some(done) => latency_us.add(done??)?,
                None => break,
            },
        }
    }
    Ok(Window { latency_us, length: started.elapsed() })
}

async fn once(case: Case, connection: &mut Connection, subject: &Subject) -> Result<()> {
    let token = Some(subject.access_token.as_str());
    let issue = async |connection: &mut Connection, meeting: &str| {
        let path = format!("/api/v1/meetings/{meeting}/participants");
        let body = Bytes::from_static(br#"{"name":"Ada Lovelace"}"#);
        let (status, body) = connection.request(Method::POST, &path, token, body).await?;
        ensure!(status == 201 && body.len() > 200, "{status}: {}", String::from_utf8_lossy(&body));
        anyhow::Ok(())
    };
    match case {
        Case::Hello => {
            let (status, body) = connection.request(Method::GET, "/hello", None, Bytes::new()).await?;
            ensure!(status == 200 && body == "hello", "{status}");
        }
        Case::Certificate => {
            let (status, body) =
                connection.request(Method::GET, "/api/v1/certificate", None, Bytes::new()).await?;
            ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&body));
        }
        Case::Token => issue(connection, &subject.meeting_id).await?,
        Case::Cycle => {
            let meeting = create(connection, &subject.access_token).await?;
            issue(connection, &meeting).await?;
            let path = format!("/api/v1/meetings/{meeting}");
            let (status, body) = connection.request(Method::GET, &path, token, Bytes::new()).await?;
            let found: Value = serde_json::from_slice(&body)?;
            ensure!(status == 200 && found["meeting_id"] == meeting.as_str(), "{status}: {found}");
        }
    }
    Ok(())
}

async fn create(connection: &mut Connection, access_token: &str) -> Result<String> {
    let body = Bytes::from_static(br#"{"display_name":"Stand-up"}"#);
    let (status, body) =
        connection.request(Method::POST, "/api/v1/meetings", Some(access_token), body).await?;
    let created: Value = serde_json::from_slice(&body)?;
    match (status, created["meeting_id"].as_str()) {
        (201, Some(id)) => Ok(id.to_owned()),
        _ => bail!("{status}: {created}"),
    }
}

/// An access token and a meeting.
pub(super) async fn prepare(connection: &mut Connection, client_id: &str, secret: &str) -> Result<Subject> {
    let body = serde_json::json!({
        "grant_type": "client_credentials", "client_id": client_id, "client_secret": secret,
    });
    let body = Bytes::from(body.to_string());
    let (status, body) = connection.request(Method::POST, "/api/v1/auth/token", None, body).await?;
    let granted: Value = serde_json::from_slice(&body)?;
    let access_token =
        granted["access_token"].as_str().with_context(|| format!("no access token: {status}"))?;
    let meeting_id = create(connection, access_token).await?;
    Ok(Subject { access_token: access_token.to_owned(), meeting_id })
}
