//! Who may do what: roles, the actions of the API, and the one function that decides.
//!
//! The rule book is [`permits`]. Whose organization a thing belongs to is decided before: nobody reaches into another
//! organization, and what is there looks as if it did not exist.

mod guest_name;
pub mod guests;
#[cfg(test)]
mod tests;

use crate::named::named;
use guests::AccessPolicy;

named! {
    /// What a user is in its organization. A guest is no user: it has a name and a token for one meeting.
    pub enum OrganizationRole ("role") {
        /// Everything; one per organization.
        Owner = "owner",
        /// Everything but deleting the organization or giving it away.
        Admin = "admin",
        /// Creates meetings and runs them.
        Host = "host",
        /// Joins meetings.
        Member = "member",
    }
}

named! {
    /// What a machine client may do.
    pub enum Scope ("scope") {
        /// Create, read, change, end and delete meetings, see who is in them, remove participants.
        Meetings = "meetings",
        /// Issue, renew and revoke join tokens; read meetings.
        Tokens = "tokens",
        /// Everything but deleting the organization or giving it away.
        Admin = "admin",
    }
}

named! {
    /// What a participant is in a meeting; the second half of its preset's name unless one was chosen.
    pub enum ParticipantRole ("role") {
        /// Controls the meeting and other participants.
        Host = "host",
        /// Publishes and subscribes.
        Participant = "participant",
        /// Publishes and subscribes with fewer rights; came by a link.
        Guest = "guest",
        /// Subscribes.
        Viewer = "viewer",
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A signed-in user.
    User(OrganizationRole),
    /// A machine client with these scopes.
    Client(Vec<Scope>),
}

named! {
    /// What the API lets callers do. Every route that is not public names one.
    pub enum Action ("action") {
        /// See one's own account and organization, change one's own profile and password.
        UseAccount = "use_account",
        /// Change name and settings of the organization.
        ManageOrganization = "manage_organization",
        /// Delete the organization with everything in it, or give it to another owner.
        DisposeOfOrganization = "dispose_of_organization",
        /// See, add, change and remove users.
        ManageUsers = "manage_users",
        /// See, add and remove machine clients.
        ManageClients = "manage_clients",
        /// See presets.
        ReadPresets = "read_presets",
        /// Add, change and remove presets.
        ManagePresets = "manage_presets",
        /// Create meetings.
        CreateMeeting = "create_meeting",
        /// See a meeting, and list those one may see.
        ReadMeeting = "read_meeting",
        /// Change, start, end, cancel and delete a meeting; invite to it.
        EditMeeting = "edit_meeting",
        /// Get a join token for oneself.
        JoinMeeting = "join_meeting",
        /// Issue and renew join tokens for others.
        IssueToken = "issue_token",
        /// See who is in a meeting and who holds tokens for it.
        ReadParticipants = "read_participants",
        /// Revoke tokens and remove participants.
        RemoveParticipant = "remove_participant",
        /// See past and running sessions and who took part.
        ReadSessions = "read_sessions",
        /// See who did what.
        ReadAuditLog = "read_audit_log",
    }
}

named! {
    /// What the caller has to do with the meeting that an action is about.
    pub enum Relation ("relation") {
        /// Created it.
        Own = "own",
        /// Was invited to it.
        Invited = "invited",
        /// Neither.
        Other = "other",
    }
}

/// Whether `actor` may do `action`; with a meeting of its organization, also as what, and whom the meeting is open to.
///
/// For an action on no meeting, or to ask whether it may ever be allowed, pass [`Relation::Own`].
#[must_use]
pub fn permits(actor: &Actor, action: Action, relation: Relation, policy: AccessPolicy) -> bool {
    match actor {
        Actor::User(role) => user_may(*role, action, relation, policy),
        Actor::Client(scopes) => scopes.iter().any(|scope| client_may(*scope, action)),
    }
}

fn user_may(role: OrganizationRole, action: Action, relation: Relation, policy: AccessPolicy) -> bool {
    use OrganizationRole::{Admin, Host, Member, Owner};
    match action {
        Action::UseAccount | Action::ReadPresets => true,
        Action::DisposeOfOrganization => role == Owner,
        Action::ManageOrganization
        | Action::ManageUsers
        | Action::ManageClients
        | Action::ManagePresets
        | Action::ReadAuditLog => matches!(role, Owner | Admin),
        Action::CreateMeeting => matches!(role, Owner | Admin | Host),
        Action::EditMeeting
        | Action::IssueToken
        | Action::ReadParticipants
        | Action::RemoveParticipant
        | Action::ReadSessions => match role {
            Owner | Admin => true,
            Host => relation == Relation::Own,
            Member => false,
        },
        Action::ReadMeeting | Action::JoinMeeting => match role {
            Owner | Admin | Host => true,
            Member => relation != Relation::Other || policy != AccessPolicy::Invited,
        },
    }
}

fn client_may(scope: Scope, action: Action) -> bool {
    match scope {
        // Joining is for people: a client issues tokens instead.
        Scope::Admin => !matches!(action, Action::DisposeOfOrganization | Action::JoinMeeting),
        Scope::Meetings => matches!(
            action,
            Action::UseAccount
                | Action::ReadPresets
                | Action::CreateMeeting
                | Action::ReadMeeting
                | Action::EditMeeting
                | Action::ReadParticipants
                | Action::RemoveParticipant
                | Action::ReadSessions
        ),
        Scope::Tokens => matches!(
            action,
            Action::UseAccount
                | Action::ReadPresets
                | Action::ReadMeeting
                | Action::IssueToken
                | Action::ReadParticipants
                | Action::RemoveParticipant
        ),
    }
}
