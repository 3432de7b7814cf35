//! The rule book against the table of section 4.5 of the platform's design, and against what any rule book should obey.

use OrganizationRole::{Admin, Host, Member, Owner};
use proptest::prelude::*;

use super::guests::AccessPolicy;
use super::{Action, Actor, OrganizationRole, Relation, Scope, permits};
use crate::named::Named as _;

/// What a cell of the table says.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Yes,
    No,
    /// "Own only".
    Own,
    /// "Invited/Open": of the meetings that are not open to members, those it was invited to. Who created it, is invited.
    InvitedOrOpen,
}
use Cell::{InvitedOrOpen, No, Own, Yes};

impl Cell {
    fn allows(self, relation: Relation, policy: AccessPolicy) -> bool {
        match self {
            Yes => true,
            No => false,
            Own => relation == Relation::Own,
            InvitedOrOpen => match policy {
                AccessPolicy::Invited => matches!(relation, Relation::Own | Relation::Invited),
                AccessPolicy::Members | AccessPolicy::Link | AccessPolicy::Open => true,
            },
        }
    }
}

/// The table, a row per action: owner, admin, host, member. Guests are no users: their column is
/// [`AccessPolicy::admits_guests`]'s. Recording has no action yet.
#[rustfmt::skip]
const TABLE: [(Action, [Cell; 4]); 16] = [
    // Manage org settings; and what they consist of.
    (Action::ManageOrganization,    [Yes, Yes, No,  No]),
    (Action::ManageClients,         [Yes, Yes, No,  No]),
    (Action::ReadAuditLog,          [Yes, Yes, No,  No]),
    // Manage users (invite, promote, deactivate).
    (Action::ManageUsers,           [Yes, Yes, No,  No]),
    // Create meetings.
    (Action::CreateMeeting,         [Yes, Yes, Yes, No]),
    // Edit/delete any meeting; and what its host does with it.
    (Action::EditMeeting,           [Yes, Yes, Own, No]),
    (Action::IssueToken,            [Yes, Yes, Own, No]),
    (Action::ReadParticipants,      [Yes, Yes, Own, No]),
    (Action::RemoveParticipant,     [Yes, Yes, Own, No]),
    // Join meetings; to see one is to know whether one may.
    (Action::JoinMeeting,           [Yes, Yes, Yes, InvitedOrOpen]),
    (Action::ReadMeeting,           [Yes, Yes, Yes, InvitedOrOpen]),
    // Configure presets; to pick one, it must be seen.
    (Action::ManagePresets,         [Yes, Yes, No,  No]),
    (Action::ReadPresets,           [Yes, Yes, Yes, Yes]),
    // View analytics.
    (Action::ReadSessions,          [Yes, Yes, Own, No]),
    // Delete organization; or give it away (section 4.1).
    (Action::DisposeOfOrganization, [Yes, No,  No,  No]),
    // Everybody has an account.
    (Action::UseAccount,            [Yes, Yes, Yes, Yes]),
];
const ROLES: [OrganizationRole; 4] = [Owner, Admin, Host, Member];

#[test]
fn users_may_what_the_table_says() {
    for &action in Action::ALL {
        assert_eq!(TABLE.iter().filter(|row| row.0 == action).count(), 1, "{action} has a row");
    }
    for (action, cells) in TABLE {
        for (role, cell) in ROLES.into_iter().zip(cells) {
            for &relation in Relation::ALL {
                for &policy in AccessPolicy::ALL {
                    let expected = cell.allows(relation, policy);
                    let decided = permits(&Actor::User(role), action, relation, policy);
                    assert_eq!(decided, expected, "{role} {action} {relation} {policy}");
                }
            }
        }
    }
}

/// What each scope is for, in the words of its documentation.
#[rustfmt::skip]
const SCOPES: [(Scope, &[&str]); 3] = [
    (Scope::Meetings, &["use_account", "read_presets", "create_meeting", "read_meeting", "edit_meeting",
        "read_participants", "remove_participant", "read_sessions"]),
    (Scope::Tokens, &["use_account", "read_presets", "read_meeting", "issue_token", "read_participants",
        "remove_participant"]),
    (Scope::Admin, &["use_account", "manage_organization", "manage_users", "manage_clients", "read_presets",
        "manage_presets", "create_meeting", "read_meeting", "edit_meeting", "issue_token", "read_participants",
        "remove_participant", "read_sessions", "read_audit_log"]),
];

#[test]
fn clients_may_what_their_scopes_are_for() {
    for (scope, names) in SCOPES {
        for &action in Action::ALL {
            for &relation in Relation::ALL {
                for &policy in AccessPolicy::ALL {
                    let decided = permits(&Actor::Client(vec![scope]), action, relation, policy);
                    assert_eq!(decided, names.contains(&action.as_str()), "{scope} {action}");
                }
            }
        }
    }
}

fn one_of<T: crate::named::Named + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::sample::select(T::ALL)
}

proptest! {
    #[test]
    fn a_higher_role_may_no_less(
        action in one_of::<Action>(), relation in one_of::<Relation>(), policy in one_of::<AccessPolicy>(),
    ) {
        let may = ROLES.map(|role| permits(&Actor::User(role), action, relation, policy));
        // From the owner down, permission is lost once and never found again.
        prop_assert!(may.is_sorted_by(|higher, lower| higher >= lower), "{:?}", may);
        prop_assert!(may[0], "nothing is closed to the owner");
    }

    #[test]
    fn a_closer_relation_and_an_opener_meeting_take_nothing_away(
        role in one_of::<OrganizationRole>(), action in one_of::<Action>(),
    ) {
        let may = |relation, policy| permits(&Actor::User(role), action, relation, policy);
        for &policy in AccessPolicy::ALL {
            prop_assert!(may(Relation::Own, policy) >= may(Relation::Invited, policy));
            prop_assert!(may(Relation::Invited, policy) >= may(Relation::Other, policy));
        }
        for &relation in Relation::ALL {
            // Declared from the closest to the most open.
            prop_assert!(AccessPolicy::ALL.iter().map(|&policy| may(relation, policy)).is_sorted());
        }
        // "May it ever be allowed?" is asked with `Own`.
        let ever = Relation::ALL.iter().any(|&r| AccessPolicy::ALL.iter().any(|&p| may(r, p)));
        prop_assert!(AccessPolicy::ALL.iter().all(|&policy| may(Relation::Own, policy) == ever));
    }

    #[test]
    fn a_client_may_the_union_of_its_scopes(
        scopes in prop::collection::vec(one_of::<Scope>(), 0..5), action in one_of::<Action>(),
        relation in one_of::<Relation>(), policy in one_of::<AccessPolicy>(),
    ) {
        let each = scopes.iter().any(|&scope| permits(&Actor::Client(vec![scope]), action, relation, policy));
        prop_assert_eq!(permits(&Actor::Client(scopes), action, relation, policy), each);
    }
}
