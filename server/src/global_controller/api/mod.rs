//! The handlers of the API, a module for each kind of thing: parse, authorize, call, render.
//!
//! Each module has its handlers with their OpenAPI attributes, `routes()`, and `RULES`, which says who may use them.

#![allow(unused_qualifications, reason = "the attributes of utoipa write paths out")]

mod aliases;
mod audit_log;
mod auth;
mod caller;
mod clients;
pub(super) mod docs;
mod meetings;
pub(super) mod operations;
mod organization;
mod participants;
mod presets;
mod quality;
mod sessions;
mod slugs;
mod users;

use std::fmt;
use std::marker::PhantomData;

use darktower_core::access::Action;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::error::{ApiError, ErrorCode};
use super::meetings::MAX_PAGE;
use super::rules::{Access, Rule};
use crate::storage::model::Page;

/// How many things a list has if nothing is asked for.
const DEFAULT_PAGE: u32 = 50;

/// The rows of every route.
pub(super) const RULES: &[&[Rule]] = &[
    auth::RULES,
    caller::RULES,
    organization::RULES,
    users::RULES,
    clients::RULES,
    presets::RULES,
    meetings::RULES,
    participants::RULES,
    sessions::RULES,
    quality::RULES,
    slugs::RULES,
    aliases::RULES,
    audit_log::RULES,
    operations::RULES,
    docs::RULES,
];

/// Every route of the API with its description.
pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .merge(aliases::routes())
        .merge(auth::routes())
        .merge(caller::routes())
        .merge(organization::routes())
        .merge(users::routes())
        .merge(clients::routes())
        .merge(presets::routes())
        .merge(meetings::routes())
        .merge(participants::routes())
        .merge(audit_log::routes())
        .merge(sessions::routes())
        .merge(quality::routes())
        .merge(slugs::routes())
        .merge(operations::api_routes())
        .merge(docs::routes())
}

/// A time as the API writes it, for example `2025-01-16T12:00:00.123Z`.
fn rfc3339(time: OffsetDateTime) -> Result<String, ApiError> {
    time.format(&Rfc3339).map_err(ApiError::internal)
}

/// As [`rfc3339`], of a time that may not have come.
fn rfc3339_of(time: Option<OffsetDateTime>) -> Result<Option<String>, ApiError> {
    time.map(rfc3339).transpose()
}

/// Times that callers may name: others have no use here, and every part of the server can write these.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9998;

/// A time that a caller wrote.
fn time(field: &'static str, text: Option<&str>) -> Result<Option<OffsetDateTime>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let time = time.filter(|time| YEARS.contains(&time.year())).map(|time| time.to_offset(UtcOffset::UTC));
    let message =
        || format!("{field} must be a time as in RFC 3339, such as 2025-01-16T12:00:00Z, from 1970 on");
    Ok(Some(time.ok_or_else(|| ApiError::field(field, message()))?))
}

/// A field that may be left out but not null.
fn set<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A field in which null says something else than nothing.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An object inside a body. Without this, serde would also take a list of its values in the order of our source code.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// See [`Object`].
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// As [`object`], of one that may be left out but not null.
fn set_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    object(deserializer).map(Some)
}

/// As [`object`], of one that may be null.
fn nullable_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let value: Option<Object<T>> = Option::deserialize(deserializer)?;
    Ok(value.map(|Object(value)| value))
}

/// Beyond what any list has; what schemas call a number of 32 bits.
const MAX_OFFSET: u32 = i32::MAX as u32;

/// Which part of a list is asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// How many to list, 1 to 200. Default 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// How many of the first to leave out.
    offset: Option<u32>,
}

impl PageQuery {
    /// # Errors
    /// As [`page`].
    fn page(self) -> Result<Page, ApiError> {
        page(self.limit, self.offset)
    }
}

/// The part of a list that a query asks for.
fn page(limit: Option<u32>, offset: Option<u32>) -> Result<Page, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::field("limit", format!("limit must be 1 to {MAX_PAGE}")));
    }
    let offset = offset.unwrap_or(0);
    if offset > MAX_OFFSET {
        return Err(ApiError::field("offset", format!("offset must be 0 to {MAX_OFFSET}")));
    }
    Ok(Page { limit, offset })
}

/// Characters of a text that is searched for.
const MAX_SEARCH_LEN: usize = 200;

/// The text that a query searches for; none if it is empty.
fn search(text: Option<String>) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.chars().count() > MAX_SEARCH_LEN => {
            let message = format!("search must not have more than {MAX_SEARCH_LEN} characters");
            Err(ApiError::field("search", message))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

/// The row of a route that needs `action`.
const fn needs(
    method: &'static str,
    path: &'static str,
    action: Action,
    errors: &'static [ErrorCode],
) -> Rule {
    Rule { method, path, access: Access::Needs(action), errors }
}

/// The row of a route for everybody.
const fn public(method: &'static str, path: &'static str, errors: &'static [ErrorCode]) -> Rule {
    Rule { method, path, access: Access::Public, errors }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_strange_ones_are_refused() {
        let read =
            |text| time("from", Some(text)).ok().flatten().map(|time| rfc3339(time).expect("writable"));
        assert_eq!(read("2025-01-16T14:00:00.5+02:00").as_deref(), Some("2025-01-16T12:00:00.5Z"));
        assert_eq!(read("1970-01-01T00:00:00+23:59").as_deref(), Some("1969-12-31T00:01:00Z"));
        assert_eq!(read("9998-12-31T23:59:59-23:59").as_deref(), Some("9999-01-01T23:58:59Z"));
        for bad in [
            "",
            "yesterday",
            "2025-01-16",
            "2025-01-16 12:00",
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
