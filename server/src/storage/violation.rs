//! What a failure of the database means to who called the store.

use sqlx::error::ErrorKind;

use super::store::{StoreError, Unique};

/// Values that must be unique: PostgreSQL's name of the constraint, the end of SQLite's message about it, what it is.
/// Every other unique constraint is on an id.
const CONSTRAINTS: [(&str, &str, Unique); 5] = [
    ("meetings_slug_key", ": meetings.slug", Unique::MeetingSlug),
    ("organizations_slug_key", ": organizations.slug", Unique::OrganizationSlug),
    ("users_organization_id_email_key", ": users.organization_id, users.email", Unique::Email),
    ("users_one_owner", ": users.organization_id", Unique::Owner),
    ("presets_pkey", ": presets.organization_id, presets.name", Unique::PresetName),
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let known = error.as_database_error().and_then(|refused| match refused.kind() {
            ErrorKind::UniqueViolation => Some(Self::Taken(
                CONSTRAINTS
                    .iter()
                    .find(|(constraint, ending, _)| {
                        refused.constraint() == Some(constraint) || refused.message().ends_with(ending)
                    })
                    .map_or(Unique::Id, |(.., unique)| *unique),
            )),
            ErrorKind::ForeignKeyViolation => Some(Self::NoSuchReference),
            _ => None,
        });
        known.unwrap_or_else(|| Self::Backend(Box::new(error)))
    }
}
