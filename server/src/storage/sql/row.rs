//! Reading rows.

use std::str::FromStr;

use sqlx::{ColumnIndex, Decode, Row as _, Type};
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialect::{Db, Row};
use crate::storage::model::{Listed, SecretHash};
use crate::storage::representation::from_micros;
use crate::storage::store::{StoreError, Stored};

/// What is in a column.
pub(super) fn get<'r, T>(row: &'r Row, column: &'static str) -> Stored<T>
where
    T: Decode<'r, Db> + Type<Db>,
    &'static str: ColumnIndex<Row>,
{
    row.try_get(column).map_err(|error| match error {
        sqlx::Error::ColumnDecode { .. } => StoreError::Damaged(column),
        other => other.into(),
    })
}

pub(super) fn time(row: &Row, column: &'static str) -> Stored<OffsetDateTime> {
    from_micros(get(row, column)?).ok_or(StoreError::Damaged(column))
}

pub(super) fn optional_time(row: &Row, column: &'static str) -> Stored<Option<OffsetDateTime>> {
    let micros: Option<i64> = get(row, column)?;
    micros.map(|micros| from_micros(micros).ok_or(StoreError::Damaged(column))).transpose()
}

/// A value that is kept by its name.
pub(super) fn named<T: FromStr>(row: &Row, column: &'static str) -> Stored<T> {
    let name: &str = get(row, column)?;
    name.parse().map_err(|_| StoreError::Damaged(column))
}

pub(super) fn optional_named<T: FromStr>(row: &Row, column: &'static str) -> Stored<Option<T>> {
    let name: Option<&str> = get(row, column)?;
    name.map(|name| name.parse().map_err(|_| StoreError::Damaged(column))).transpose()
}

/// A number that is not negative and fits.
pub(super) fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Stored<T> {
    let number: i64 = get(row, column)?;
    number.try_into().map_err(|_| StoreError::Damaged(column))
}

pub(super) fn optional_number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Stored<Option<T>> {
    let number: Option<i64> = get(row, column)?;
    number.map(|number| number.try_into().map_err(|_| StoreError::Damaged(column))).transpose()
}

pub(super) fn id<T>(row: &Row, column: &'static str, wrap: fn(Uuid) -> T) -> Stored<T> {
    get(row, column).map(wrap)
}

pub(super) fn hash(row: &Row, column: &'static str) -> Stored<SecretHash> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map_err(|_| StoreError::Damaged(column))
}

/// A document that is kept as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Stored<T> {
    let document: &str = get(row, column)?;
    serde_json::from_str(document).map_err(|_| StoreError::Damaged(column))
}

/// The JSON of what is to be kept as such.
pub(super) fn to_json(value: &impl serde::Serialize) -> Stored<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Backend(Box::new(error)))
}

/// The answer to a `page!` query. A page with nothing on it is one row that has only the total.
///
/// `key` is a column that is never NULL.
pub(super) fn listed<T>(rows: &[Row], key: &'static str, read: fn(&Row) -> Stored<T>) -> Stored<Listed<T>> {
    let total = rows.first().map_or(Ok(0), |row| number(row, "total"))?;
    let items = rows
        .iter()
        .filter_map(|row| match row.try_get_raw(key) {
            Ok(value) if sqlx::ValueRef::is_null(&value) => None,
            Ok(_) => Some(read(row)),
            Err(error) => Some(Err(error.into())),
        })
        .collect::<Stored<Vec<T>>>()?;
    Ok(Listed { items, total })
}

/// The one value of a query that counts.
pub(super) fn count(value: i64) -> Stored<u64> {
    value.try_into().map_err(|_| StoreError::Damaged("a negative count"))
}

/// Whether a write that changed so many rows changed anything.
pub(super) fn changed(rows: u64) -> bool {
    rows > 0
}
