//! Whom a meeting is open to, how many guests it takes, and what they may call themselves.

pub use super::guest_name::{BadName, guest_name};
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

/// How many guests a meeting takes that does not say so itself, as a part of its participants: one in two.
const GUEST_SHARE: u32 = 2;

/// How many guests a meeting takes: what was configured, or half of its participants, rounded down; never more than it
/// takes participants. Section 6.8 of the platform's design, "capacity caps".
#[must_use]
pub fn guest_cap(max_participants: u32, configured: Option<u32>) -> u32 {
    configured.unwrap_or(max_participants / GUEST_SHARE).min(max_participants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::Named as _;

    #[test]
    fn a_meeting_overrides_its_organization() {
        use AccessPolicy::{Link, Members, Open};
        for (organization, policy) in
            [(GuestAccess::Disabled, Members), (GuestAccess::LinkOnly, Link), (GuestAccess::Open, Open)]
        {
            assert_eq!(effective_policy(None, organization), policy);
            assert_eq!(policy.admits_guests(), organization != GuestAccess::Disabled);
            for &own in AccessPolicy::ALL {
                assert_eq!(effective_policy(Some(own), organization), own);
            }
        }
        assert!(!AccessPolicy::Invited.admits_guests());
    }

    #[test]
    fn guests_are_half_unless_configured() {
        for (max_participants, configured, cap) in [
            (100, None, 50),
            (101, None, 50),
            (2, None, 1),
            (1, None, 0),
            (0, None, 0),
            (u32::MAX, None, u32::MAX / 2),
            (100, Some(0), 0),
            (100, Some(80), 80),
            (100, Some(100), 100),
            (100, Some(101), 100),
            (10, Some(u32::MAX), 10),
        ] {
            assert_eq!(guest_cap(max_participants, configured), cap, "{max_participants} {configured:?}");
        }
    }
}
