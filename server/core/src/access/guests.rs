//! Whom a meeting is open to, and what guests may.

use crate::named::named;

named! {
    /// Who may get a join token of a meeting without its host's doing.
    pub enum AccessPolicy ("access_policy") {
        /// Members of the organization that were invited.
        Invited = "invited",
        /// Members of the organization.
        Members = "members",
        /// And guests who have the link.
        Link = "link",
        /// And guests, with as little in their way as the meeting's other settings allow.
        Open = "open",
    }
}

impl AccessPolicy {
    /// Whether people without an account may join.
    #[must_use]
    pub fn admits_guests(self) -> bool {
        matches!(self, Self::Link | Self::Open)
    }
}

named! {
    /// What an organization lets its meetings do by default: a meeting that says nothing itself follows it.
    pub enum GuestAccess ("guest_access") {
        /// No guests.
        Disabled = "disabled",
        /// Guests who have the link.
        LinkOnly = "link_only",
        /// Guests, with as little in their way as possible.
        Open = "open",
    }
}

/// Whom a meeting is open to: what it says itself, else what its organization says.
#[must_use]
pub fn effective_policy(meeting: Option<AccessPolicy>, organization: GuestAccess) -> AccessPolicy {
    meeting.unwrap_or(match organization {
        GuestAccess::Disabled => AccessPolicy::Members,
        GuestAccess::LinkOnly => AccessPolicy::Link,
        GuestAccess::Open => AccessPolicy::Open,
    })
}
