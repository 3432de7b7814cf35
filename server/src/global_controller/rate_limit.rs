//! How often a client may ask, and how often something may be asked for: one limiter per [`Class`], and the headers that
//! tell clients where they stand.
//!
//! Handlers call [`RateLimits::check`] with what they are about to do. [`limit_rate`] checks the general limit of every
//! request and afterwards writes the numbers of the tightest class that was checked on the way into the answer.

mod address;
mod keys;

use std::cell::Cell;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use time::OffsetDateTime;

use super::ApiState;
use super::caller::{Caller, Identity};
use super::error::{ApiError, ErrorCode};
use super::rules::Access;
use crate::config;
use crate::transport::network;
pub(super) use address::{ClientAddress, find_client_address};
use keys::{BoundedKeys, Key, KeyHasher, MAX_KEYS};

pub(super) const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const MINUTE: Duration = Duration::from_secs(60);

/// What is limited on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Any request. Key: who asks ([`RateLimits::general`]).
    General,
    /// A login. Key: address and account name.
    Login,
    /// A new account. Key: address.
    Register,
    /// A new meeting. Key: machine client, else organization ([`RateLimits::new_meeting`]).
    MeetingCreate,
    /// A join token. Key: meeting, and organization of who asks, so that strangers use up nothing.
    MeetingJoin,
    /// A guest asks to join. Key: meeting.
    GuestJoin,
    /// A guest asks to join. Key: meeting and address.
    GuestJoinPerAddress,
    /// A request with a wrong token or secret. Key: address.
    FailedAuth,
}

impl Class {
    const COUNT: usize = 8;

    /// For metrics.
    fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Login => "login",
            Self::Register => "register",
            Self::MeetingCreate => "meeting_create",
            Self::MeetingJoin => "meeting_join",
            Self::GuestJoin => "guest_join",
            Self::GuestJoinPerAddress => "guest_join_per_address",
            Self::FailedAuth => "failed_auth",
        }
    }

    /// For clients, after "Too many".
    fn noun(self) -> &'static str {
        match self {
            Self::General => "requests",
            Self::Login => "logins to this account",
            Self::Register => "new accounts",
            Self::MeetingCreate => "new meetings",
            Self::MeetingJoin => "join tokens for this meeting",
            Self::GuestJoin => "guests for this meeting",
            Self::GuestJoinPerAddress => "attempts to join this meeting as a guest",
            Self::FailedAuth => "requests with a wrong token or secret",
        }
    }
}

/// The limiters of all classes.
#[derive(Debug)]
pub(super) struct RateLimits {
    hasher: KeyHasher,
    /// By [`Class`]; `None` where nothing is limited.
    limiters: [Option<Limiter>; Class::COUNT],
    /// Whose guesses are not looked at, and until when.
    guessers: DashMap<Key, Instant>,
}

#[derive(Debug)]
struct Limiter {
    inner: RateLimiter<Key, BoundedKeys, DefaultClock, StateInformationMiddleware>,
    limit: NonZeroU32,
    /// Until one use is given back.
    interval: Duration,
}

/// Where a client stands with one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    limit: u32,
    remaining: u32,
    /// Until all of it is there again.
    full_after: Duration,
    /// If it was refused: until it is worth asking again.
    retry_after: Option<Duration>,
}

impl Standing {
    /// The part that is left, to tell which class is tighter: a refusal before everything else.
    fn room(&self) -> (bool, u64) {
        (self.retry_after.is_none(), u64::from(self.remaining) * 1_000_000 / u64::from(self.limit.max(1)))
    }
}

tokio::task_local! {
    /// The tightest standing of the request that this task answers.
    static TIGHTEST: Cell<Option<Standing>>;
}

impl Limiter {
    /// `None` for a `limit` of 0.
    fn new(limit: u32, per: Duration) -> Option<Self> {
        let limit = NonZeroU32::new(limit)?;
        let interval = (per / limit.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval)?.allow_burst(limit);
        let inner = RateLimiter::new(quota, BoundedKeys::default(), DefaultClock::default());
        Some(Self { inner, limit, interval })
    }

    fn check(&self, key: Key) -> Standing {
        let limit = self.limit.get();
        let (remaining, retry_after) = match self.inner.check_key(&key) {
            Ok(snapshot) => (snapshot.remaining_burst_capacity().min(limit), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(self.inner.clock().now()))),
        };
        let full_after = self.interval * limit.saturating_sub(remaining);
        Standing { limit, remaining, full_after, retry_after }
    }
}

impl RateLimits {
    pub(super) fn new(config: &config::RateLimits) -> Self {
        let limiter = |class| match class {
            Class::General => Limiter::new(config.general, MINUTE),
            Class::Login => Limiter::new(config.login, MINUTE),
            Class::Register => Limiter::new(config.register, 60 * MINUTE),
            Class::MeetingCreate => Limiter::new(config.meeting_create, MINUTE),
            Class::MeetingJoin => Limiter::new(config.meeting_join, MINUTE),
            Class::GuestJoin => Limiter::new(config.guest_join, MINUTE),
            Class::GuestJoinPerAddress => Limiter::new(config.guest_join_per_address, 5 * MINUTE),
            Class::FailedAuth => Limiter::new(config.failed_auth, MINUTE),
        };
        // In the order of the variants, which index them.
        let limiters = [
            limiter(Class::General),
            limiter(Class::Login),
            limiter(Class::Register),
            limiter(Class::MeetingCreate),
            limiter(Class::MeetingJoin),
            limiter(Class::GuestJoin),
            limiter(Class::GuestJoinPerAddress),
            limiter(Class::FailedAuth),
        ];
        Self { hasher: KeyHasher::default(), limiters, guessers: DashMap::new() }
    }

    fn limiter(&self, class: Class) -> Option<&Limiter> {
        self.limiters.get(class as usize)?.as_ref()
    }

    /// Counts one use of `class` by `key`, and notes for the answer where the client stands.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`] if it was one too many; it is not counted then.
    pub(super) fn check(&self, class: Class, key: impl Hash) -> Result<(), ApiError> {
        let Some(limiter) = self.limiter(class) else { return Ok(()) };
        let standing = limiter.check(self.hasher.key(key));
        note(standing);
        match standing.retry_after {
            None => Ok(()),
            Some(wait) => Err(refusal(class, wait)),
        }
    }

    /// The general limit of a request: of the client if it is known, else of the address.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn general(&self, client: Option<&str>, address: ClientAddress) -> Result<(), ApiError> {
        match client {
            Some(client) => self.check(Class::General, client),
            None => self.check(Class::General, address),
        }
    }

    /// The limit of new meetings: of the machine client that asks, else of the organization.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn new_meeting(&self, caller: &Caller) -> Result<(), ApiError> {
        match &caller.identity {
            Identity::Client(client) => self.check(Class::MeetingCreate, client),
            Identity::User(_) | Identity::Developer => self.check(Class::MeetingCreate, caller.organization),
        }
    }

    /// Whether a secret from `address` may be looked at, or a wrong token be called wrong.
    ///
    /// # Errors
    /// [`ErrorCode::RateLimited`] if too many were wrong lately.
    pub(super) fn may_guess(&self, address: ClientAddress) -> Result<(), ApiError> {
        if self.guessers.is_empty() {
            return Ok(());
        }
        let until = self.guessers.get(&self.hasher.key(address)).map(|until| *until);
        let wait = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if wait.is_zero() {
            return Ok(());
        }
        if let Some(limiter) = self.limiter(Class::FailedAuth) {
            let limit = limiter.limit.get();
            let full_after = limiter.interval * limit;
            note(Standing { limit, remaining: 0, full_after, retry_after: Some(wait) });
        }
        Err(refusal(Class::FailedAuth, wait))
    }

    /// Counts a wrong token or secret from `address`.
    pub(super) fn guessed_wrong(&self, address: ClientAddress) {
        let Some(limiter) = self.limiter(Class::FailedAuth) else { return };
        let key = self.hasher.key(address);
        if let Some(wait) = limiter.check(key).retry_after
            && self.guessers.len() < MAX_KEYS
        {
            self.guessers.insert(key, Instant::now() + wait);
        }
    }

    /// Forgets who has not been there for long enough to have everything back. To be called now and then.
    pub(super) fn forget_idle(&self) {
        for limiter in self.limiters.iter().flatten() {
            limiter.inner.retain_recent();
            limiter.inner.shrink_to_fit();
        }
        let now = Instant::now();
        self.guessers.retain(|_, until| *until > now);
        self.guessers.shrink_to_fit();
    }
}

fn note(standing: Standing) {
    // Outside a request nobody asks.
    let _no_request = TIGHTEST.try_with(|tightest| {
        if tightest.get().is_none_or(|before| standing.room() < before.room()) {
            tightest.set(Some(standing));
        }
    });
}

fn refusal(class: Class, wait: Duration) -> ApiError {
    metrics::counter!("http_rate_limited_total", "class" => class.name()).increment(1);
    let seconds = whole_seconds(wait);
    let message = format!("Too many {}; try again in {seconds} s", class.noun());
    ApiError::new(ErrorCode::RateLimited, message)
}

/// Rounded up, so that whoever waits as long has waited long enough; at least 1.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// What is not for clients of the API, or costs nothing.
fn is_exempt(path: &str) -> bool {
    path.starts_with("/health/") || path.starts_with("/assets/") || path == "/metrics"
}

/// Checks the general limit of what has no rule, keeps guesses of tokens slow, and tells clients where they stand.
pub(super) async fn limit_rate(state: &ApiState, request: Request, next: Next) -> Response {
    if is_exempt(request.uri().path()) {
        return next.run(request).await;
    }
    let answer = async {
        let response = limited(state, request, next).await.unwrap_or_else(ApiError::into_response);
        (response, TIGHTEST.with(Cell::take))
    };
    let (mut response, standing) = TIGHTEST.scope(Cell::new(None), answer).await;
    if let Some(standing) = standing {
        let reset = OffsetDateTime::now_utc() + standing.full_after;
        let headers = response.headers_mut();
        headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(standing.limit));
        headers.insert(X_RATELIMIT_REMAINING, HeaderValue::from(standing.remaining));
        headers.insert(X_RATELIMIT_RESET, HeaderValue::from(reset.unix_timestamp().saturating_add(1)));
        if let Some(wait) = standing.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
    }
    response
}

async fn limited(state: &ApiState, request: Request, next: Next) -> Result<Response, ApiError> {
    let limits = &state.0.limits;
    let (parts, body) = request.into_parts();
    let address = ClientAddress::of(&parts);
    let has_token = parts.headers.contains_key(AUTHORIZATION);
    let route = parts.extensions.get::<MatchedPath>();
    let rule = route.and_then(|route| state.0.rules.of(&parts.method, route.as_str()));
    // Routes with a rule count once it is known who calls: `caller::authorize` does it.
    if rule.is_none() {
        limits.general(None, address)?;
    }
    let has_secret = parts.uri.path().starts_with("/api/v1/auth/")
        && rule.is_some_and(|rule| rule.access == Access::Public);
    if has_secret {
        limits.may_guess(address)?;
    }
    let response = next.run(Request::from_parts(parts, body)).await;
    if (has_secret || has_token) && response.status() == StatusCode::UNAUTHORIZED {
        // Of tokens only wrong ones are refused: who has a right one may share its address with somebody who guesses.
        let may_guess = limits.may_guess(address);
        limits.guessed_wrong(address);
        may_guess?;
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
