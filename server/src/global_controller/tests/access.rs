//! Who may do what with which meeting: the logic under callers of every kind.

use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{Action, Actor, OrganizationRole, Scope};
use darktower_protocol::UserId;

use super::*;
use crate::global_controller::caller::{Caller, Identity};
use crate::global_controller::error::ApiError;
use crate::global_controller::meetings::{MeetingChange, MeetingsError, NewMeeting};
use crate::global_controller::participants::{NewParticipant, newcomer};
use crate::storage::model::{MeetingFilter, Organization, Page, User};

const ROLES: [OrganizationRole; 4] =
    [OrganizationRole::Owner, OrganizationRole::Admin, OrganizationRole::Host, OrganizationRole::Member];

/// A user of an organization, in the store and as a caller.
async fn user(server: &Server, organization: &Organization, role: OrganizationRole, name: &str) -> Caller {
    let now = OffsetDateTime::now_utc();
    let id = UserId::generate();
    let user = User {
        id,
        organization_id: organization.id,
        email: format!("{name}@{}.example", organization.slug),
        name: name.to_owned(),
        role,
        password_hash: None,
        avatar_url: None,
        is_active: true,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    };
    server.store.create_user(&user, None).await.expect("stored");
    caller(organization, Actor::User(role), Identity::User(id))
}

fn client(organization: &Organization, name: &str, scopes: &[Scope]) -> Caller {
    caller(organization, Actor::Client(scopes.to_vec()), Identity::Client(name.to_owned()))
}

fn caller(organization: &Organization, actor: Actor, identity: Identity) -> Caller {
    Caller { actor, organization: organization.id, identity, login: None, request_id: None }
}

async fn meeting(server: &Server, by: &Caller, policy: AccessPolicy) -> MeetingId {
    let new = NewMeeting {
        display_name: format!("{policy} of {:?}", by.identity),
        access_policy: Some(policy),
        ..NewMeeting::default()
    };
    server.state.0.meetings.create(by, new).await.expect("created").0.meeting.id
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    Forbidden,
    Hidden,
}

fn answer<T>(result: Result<T, MeetingsError>) -> Answer {
    match result {
        Ok(_) => Answer::Yes,
        Err(MeetingsError::Forbidden(_)) => Answer::Forbidden,
        Err(MeetingsError::NotFound(_)) => Answer::Hidden,
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn meetings_are_for_those_they_are_open_to() {
    use AccessPolicy::{Invited, Link, Members, Open};
    use Answer::{Forbidden, Hidden, Yes};
    use OrganizationRole::{Admin, Host, Member, Owner};
    let server = Server::development().await;
    let creator = user(&server, &server.organization, Host, "creator").await;
    let asks = async |caller: &Caller, action: Action, id: MeetingId| {
        answer(server.state.0.meetings.find(caller, action, id).await)
    };
    for policy in [Invited, Members, Link, Open] {
        let id = meeting(&server, &creator, policy).await;
        let stranger = user(&server, &server.other_organization().await, Owner, "stranger").await;
        for action in [Action::ReadMeeting, Action::EditMeeting, Action::JoinMeeting, Action::ReadSessions] {
            assert_eq!(asks(&creator, action, id).await, Yes, "{action} {policy}");
            assert_eq!(asks(&stranger, action, id).await, Hidden, "{action} {policy}");
        }
        let seen = |role| if role == Member && policy == Invited { Hidden } else { Yes };
        for role in ROLES {
            // There is one owner; for the rule book it is enough to call as one.
            let somebody = match role {
                Owner => caller(&server.organization, Actor::User(Owner), Identity::User(UserId::generate())),
                role => user(&server, &server.organization, role, &format!("{role}-{policy}")).await,
            };
            assert_eq!(asks(&somebody, Action::ReadMeeting, id).await, seen(role), "{role} {policy}");
            assert_eq!(asks(&somebody, Action::JoinMeeting, id).await, seen(role), "{role} {policy}");
            let edits = match role {
                Owner | Admin => Yes,
                Host => Forbidden,
                Member if policy == Invited => Hidden,
                Member => Forbidden,
            };
            for action in [
                Action::EditMeeting,
                Action::IssueToken,
                Action::ReadParticipants,
                Action::RemoveParticipant,
                Action::ReadSessions,
            ] {
                assert_eq!(asks(&somebody, action, id).await, edits, "{role} {action} {policy}");
            }
        }
        let member = user(&server, &server.organization, Member, &format!("invited-{policy}")).await;
        let Identity::User(member_id) = member.identity else { panic!("a user") };
        server.state.0.meetings.invite(&creator, id, member_id).await.expect("invited");
        assert_eq!(asks(&member, Action::JoinMeeting, id).await, Yes, "invited to {policy}");
        assert_eq!(asks(&member, Action::EditMeeting, id).await, Forbidden);
        server.state.0.meetings.uninvite(&creator, id, member_id).await.expect("uninvited");
        assert_eq!(asks(&member, Action::JoinMeeting, id).await, seen(Member), "uninvited from {policy}");

        let tokens = client(&server.organization, "tokens", &[Scope::Tokens]);
        assert_eq!(asks(&tokens, Action::IssueToken, id).await, Yes);
        assert_eq!(asks(&tokens, Action::EditMeeting, id).await, Forbidden);
        assert_eq!(asks(&tokens, Action::JoinMeeting, id).await, Forbidden);
    }
}

#[tokio::test]
async fn hidden_meetings_answer_as_if_they_did_not_exist() {
    let server = Server::development().await;
    let creator = user(&server, &server.organization, OrganizationRole::Host, "creator").await;
    let member = user(&server, &server.organization, OrganizationRole::Member, "member").await;
    let admin = user(&server, &server.other_organization().await, OrganizationRole::Admin, "admin").await;
    let hidden = meeting(&server, &creator, AccessPolicy::Invited).await;
    for caller in [&member, &admin] {
        let message = |id: MeetingId, error: MeetingsError| {
            let response = axum::response::IntoResponse::into_response(ApiError::from(error));
            (response.status(), format!("{:?}", response.headers()).replace(&id.to_string(), "ID"))
        };
        let unknown = MeetingId::generate();
        let meetings = &server.state.0.meetings;
        for action in [Action::ReadMeeting, Action::JoinMeeting] {
            let of_hidden = meetings.find(caller, action, hidden).await.err().expect("hidden");
            let of_unknown = meetings.find(caller, action, unknown).await.err().expect("unknown");
            assert_eq!(
                of_hidden.to_string().replace(&hidden.to_string(), "ID"),
                of_unknown.to_string().replace(&unknown.to_string(), "ID")
            );
            assert_eq!(message(hidden, of_hidden), message(unknown, of_unknown));
        }
        let new = NewParticipant { name: "Zoë".to_owned(), ..NewParticipant::default() };
        assert!(matches!(meetings.issue(caller, hidden, new).await, Err(MeetingsError::NotFound(_))));
        let change = MeetingChange::default();
        assert!(matches!(meetings.update(caller, hidden, &change).await, Err(MeetingsError::NotFound(_))));
        assert!(matches!(meetings.delete(caller, hidden).await, Err(MeetingsError::NotFound(_))));
        assert!(matches!(meetings.kick_all(caller, hidden).await, Err(MeetingsError::NotFound(_))));
    }
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let server = Server::development().await;
    let host = user(&server, &server.organization, OrganizationRole::Host, "host").await;
    let admin = user(&server, &server.organization, OrganizationRole::Admin, "admin").await;
    let member = user(&server, &server.organization, OrganizationRole::Member, "member").await;
    let stranger =
        user(&server, &server.other_organization().await, OrganizationRole::Admin, "stranger").await;
    let Identity::User(member_id) = member.identity else { panic!("a user") };
    let hidden = meeting(&server, &host, AccessPolicy::Invited).await;
    let invited = meeting(&server, &host, AccessPolicy::Invited).await;
    let open = meeting(&server, &admin, AccessPolicy::Open).await;
    let meetings = &server.state.0.meetings;
    meetings.invite(&host, invited, member_id).await.expect("invited");
    // A token alone shows nothing, neither in the list nor by itself.
    let stored = server.store.meeting(hidden).await.expect("read").expect("stored");
    let mut issued = newcomer(&stored, "Member".to_owned(), ParticipantRole::Participant).expect("a preset");
    issued.user_id = member.id();
    server.store.issue_participant(&issued).await.expect("stored");
    assert!(matches!(meetings.by_id(&member, hidden).await, Err(MeetingsError::NotFound(_))));
    let list = async |caller: &Caller, user_id: Option<String>| {
        let filter = MeetingFilter {
            organization_id: caller.organization,
            active: None,
            status: None,
            user_id,
            visible_to: None,
            search: None,
            from: None,
            to: None,
            page: Page { limit: 50, offset: 0 },
        };
        let listed = meetings.list(caller, filter).await?;
        Ok::<_, MeetingsError>(listed.0.into_iter().map(|view| view.meeting.id).collect::<Vec<_>>())
    };
    for caller in [&host, &admin, &client(&server.organization, "c", &[Scope::Meetings])] {
        assert_eq!(list(caller, None).await.expect("listed"), [open, invited, hidden]);
    }
    assert_eq!(list(&member, None).await.expect("listed"), [open, invited]);
    assert_eq!(list(&stranger, None).await.expect("listed"), []);

    assert_eq!(list(&host, host.id()).await.expect("its own"), [invited, hidden]);
    assert_eq!(list(&member, member.id()).await.expect("its own"), [invited]);
    assert_eq!(list(&admin, host.id()).await.expect("an administrator"), [invited, hidden]);
    for caller in [&host, &member] {
        assert!(matches!(list(caller, admin.id()).await, Err(MeetingsError::ForeignList)));
    }

    let page = Page { limit: 50, offset: 0 };
    let open_path = server.arrive_somebody(open).await;
    assert_eq!(meetings.sessions(&host, None, None, page).await.expect("its own").total, 0);
    assert_eq!(meetings.sessions(&admin, None, None, page).await.expect("all").total, 1);
    assert_eq!(meetings.sessions(&stranger, None, None, page).await.expect("none").total, 0);
    let session = meetings.sessions(&admin, None, None, page).await.expect("all").items.remove(0);
    assert_eq!(session.meeting_id, open);
    assert!(meetings.session(&admin, session.id).await.is_ok());
    assert!(matches!(meetings.session(&host, session.id).await, Err(MeetingsError::Forbidden(_))));
    assert!(matches!(meetings.session(&stranger, session.id).await, Err(MeetingsError::SessionNotFound)));
    let attended = meetings.attendances(&admin, session.id, page).await.expect("listed");
    assert_eq!(attended.items[0].participant_id, open_path);
}

#[tokio::test]
async fn users_join_as_what_their_role_makes_them() {
    use OrganizationRole::{Admin, Host, Member};
    let server = Server::development().await;
    let creator = user(&server, &server.organization, Host, "creator").await;
    let id = meeting(&server, &creator, AccessPolicy::Members).await;
    let meetings = &server.state.0.meetings;
    let table = [
        (creator.clone(), ParticipantRole::Host),
        (user(&server, &server.organization, Admin, "admin").await, ParticipantRole::Host),
        (user(&server, &server.organization, Host, "host").await, ParticipantRole::Participant),
        (user(&server, &server.organization, Member, "member").await, ParticipantRole::Participant),
    ];
    for (caller, role) in table {
        let issued = meetings.join(&caller, id, None).await.expect("joined");
        assert_eq!((issued.claims.role, issued.claims.user_id.clone()), (role, caller.id()));
        assert!(!issued.claims.is_guest);
        let stored =
            server.store.participant(issued.claims.participant_id).await.expect("read").expect("stored");
        assert_eq!((stored.issued_by, stored.name.is_empty()), (caller.id(), false));
    }
    let machine = client(&server.organization, "c", &[Scope::Admin]);
    assert!(matches!(meetings.join(&machine, id, None).await, Err(MeetingsError::Forbidden(_))));
}

#[tokio::test]
async fn only_users_of_the_organization_are_invited() {
    let server = Server::development().await;
    let host = user(&server, &server.organization, OrganizationRole::Host, "host").await;
    let member = user(&server, &server.organization, OrganizationRole::Member, "member").await;
    let stranger =
        user(&server, &server.other_organization().await, OrganizationRole::Member, "stranger").await;
    let id = meeting(&server, &host, AccessPolicy::Invited).await;
    let (Identity::User(member_id), Identity::User(stranger_id)) = (&member.identity, &stranger.identity)
    else {
        panic!("users")
    };
    let meetings = &server.state.0.meetings;
    for nobody in [*stranger_id, UserId::generate()] {
        assert!(matches!(meetings.invite(&host, id, nobody).await, Err(MeetingsError::UserNotFound)));
        assert!(matches!(meetings.uninvite(&host, id, nobody).await, Err(MeetingsError::UserNotFound)));
    }
    let path = format!("/api/v1/meetings/{id}/invitees");
    for _ in 0..2 {
        let (status, body) = server.send(Method::PUT, &format!("{path}/{member_id}")).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }
    let (_, list) = server.get(&path).await;
    assert_eq!((&list["total"], &list["invitees"][0]["name"]), (&json!(1), &json!("member")), "{list}");
    assert_eq!(server.get(&format!("{path}?offset=1")).await.1["invitees"], json!([]));
    assert_error(&server.get(&format!("{path}?limit=0")).await, 400, "INVALID_REQUEST");
    let error = server.send(Method::PUT, &format!("{path}/nobody")).await;
    assert_eq!(error.1["error"]["details"]["field"], "user_id");
    assert_eq!(server.send(Method::DELETE, &format!("{path}/{member_id}")).await.0, StatusCode::NO_CONTENT);
    assert_error(&server.send(Method::DELETE, &format!("{path}/{member_id}")).await, 404, "USER_NOT_FOUND");
}
