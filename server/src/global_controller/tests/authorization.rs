//! The authorization matrix: every route, under every kind of caller, with every relation to the thing it is about.
//!
//! Real requests through the real router on a real database. What is expected is written down here once more, from the list of
//! routes and the platform's table of rights, and not taken from the rule book.

use std::collections::{BTreeMap, BTreeSet};

use darktower_core::access::guests::AccessPolicy;
use darktower_core::access::{OrganizationRole, Scope};
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_protocol::UserId;

use super::*;
use crate::auth::secret::hash_secret;
use crate::auth::{AccessClaims, Subject};
use crate::global_controller::rules::Access;
use crate::storage::model::{
    Client as MachineClient, IssuedParticipant, Meeting, MeetingSettings, RefreshToken, SetupSecret, User,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    Nobody,
    /// Somebody with a join token where an access token belongs.
    Participant,
    Member,
    Host,
    Admin,
    Owner,
    ForMeetings,
    ForTokens,
    ForAdmin,
    /// The owner of another organization.
    Stranger,
}

use Asker::{Admin, ForAdmin, ForMeetings, ForTokens, Host, Member, Nobody, Owner, Participant, Stranger};

const EVERYBODY: [Asker; 10] =
    [Nobody, Participant, Member, Host, Admin, Owner, ForMeetings, ForTokens, ForAdmin, Stranger];

/// What the caller has to do with the meeting, or with the user, client, preset … of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    /// Created the meeting. Of other things: they are of its organization.
    Own,
    /// Was invited to the meeting, which is for the invited only.
    Invited,
    /// Neither; the meeting is for members.
    Other,
    /// Neither; the meeting is for the invited only.
    Private,
    /// The thing is another organization's.
    Foreign,
}

const RELATIONS: [To; 5] = [To::Own, To::Invited, To::Other, To::Private, To::Foreign];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allowed,
    /// 401
    Unknown,
    /// 403
    Forbidden,
    /// 404, as if it were not there.
    Hidden,
}

use Outcome::{Allowed, Forbidden, Hidden, Unknown};

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same answer for everybody.
    Public,
    /// Everybody who is known.
    Account,
    /// Every user.
    Profile,
    /// Owner, admins, clients with every scope.
    Administration,
    /// The owner.
    Ownership,
    /// Owner, admins, hosts; clients for meetings.
    Create,
    ReadMeeting,
    Join,
    /// Change, start, end, cancel, delete, invite.
    Edit,
    Issue,
    /// See or remove participants.
    Participants,
    Sessions,
}

#[rustfmt::skip]
const ROUTES: &[(&str, &str, Kind)] = &[
    ("POST", "/api/v1/auth/token", Kind::Public),
    ("POST", "/api/v1/auth/register", Kind::Public),
    ("POST", "/api/v1/auth/login", Kind::Public),
    ("POST", "/api/v1/auth/refresh", Kind::Public),
    ("POST", "/api/v1/auth/logout", Kind::Public),
    ("POST", "/api/v1/auth/activate", Kind::Public),
    ("GET", "/api/v1/caller", Kind::Public),
    ("GET", "/api/v1/auth/me", Kind::Account),
    ("PATCH", "/api/v1/auth/me", Kind::Profile),
    ("POST", "/api/v1/auth/password", Kind::Profile),
    ("GET", "/api/v1/organization", Kind::Account),
    ("PATCH", "/api/v1/organization", Kind::Administration),
    ("DELETE", "/api/v1/organization", Kind::Ownership),
    ("GET", "/api/v1/users", Kind::Administration),
    ("POST", "/api/v1/users", Kind::Administration),
    ("GET", "/api/v1/users/{user_id}", Kind::Administration),
    ("PATCH", "/api/v1/users/{user_id}", Kind::Administration),
    ("DELETE", "/api/v1/users/{user_id}", Kind::Administration),
    ("POST", "/api/v1/users/{user_id}/setup-token", Kind::Administration),
    ("GET", "/api/v1/clients", Kind::Administration),
    ("POST", "/api/v1/clients", Kind::Administration),
    ("GET", "/api/v1/clients/{client_id}", Kind::Administration),
    ("DELETE", "/api/v1/clients/{client_id}", Kind::Administration),
    ("POST", "/api/v1/clients/{client_id}/secret", Kind::Administration),
    ("GET", "/api/v1/presets", Kind::Account),
    ("GET", "/api/v1/presets/{name}", Kind::Account),
    ("POST", "/api/v1/presets", Kind::Administration),
    ("PUT", "/api/v1/presets/{name}", Kind::Administration),
    ("DELETE", "/api/v1/presets/{name}", Kind::Administration),
    ("POST", "/api/v1/meetings", Kind::Create),
    ("GET", "/api/v1/meetings", Kind::Account),
    ("GET", "/api/v1/meetings/{meeting_id}", Kind::ReadMeeting),
    ("PATCH", "/api/v1/meetings/{meeting_id}", Kind::Edit),
    ("DELETE", "/api/v1/meetings/{meeting_id}", Kind::Edit),
    ("POST", "/api/v1/meetings/{meeting_id}/start", Kind::Edit),
    ("POST", "/api/v1/meetings/{meeting_id}/end", Kind::Edit),
    ("POST", "/api/v1/meetings/{meeting_id}/cancel", Kind::Edit),
    ("POST", "/api/v1/meetings/{meeting_id}/join", Kind::Join),
    ("POST", "/api/v1/meetings/{meeting_id}/guest-join", Kind::Public),
    ("POST", "/api/v1/meetings/{meeting_id}/participants", Kind::Issue),
    ("POST", "/api/v1/meetings/{meeting_id}/tokens", Kind::Issue),
    ("GET", "/api/v1/meetings/{meeting_id}/participants", Kind::Participants),
    ("GET", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Kind::Participants),
    ("PATCH", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Kind::Issue),
    ("DELETE", "/api/v1/meetings/{meeting_id}/participants/{participant_id}", Kind::Participants),
    ("POST", "/api/v1/meetings/{meeting_id}/participants/{participant_id}/token", Kind::Issue),
    ("GET", "/api/v1/meetings/{meeting_id}/invitees", Kind::Edit),
    ("PUT", "/api/v1/meetings/{meeting_id}/invitees/{user_id}", Kind::Edit),
    ("DELETE", "/api/v1/meetings/{meeting_id}/invitees/{user_id}", Kind::Edit),
    ("GET", "/api/v1/meetings/{meeting_id}/active-session", Kind::Sessions),
    ("POST", "/api/v1/meetings/{meeting_id}/active-session/kick-all", Kind::Participants),
    ("GET", "/api/v1/sessions", Kind::Create),
    ("GET", "/api/v1/sessions/{session_id}", Kind::Sessions),
    ("GET", "/api/v1/sessions/{session_id}/participants", Kind::Sessions),
    ("GET", "/api/v1/sessions/{session_id}/quality", Kind::Sessions),
    ("GET", "/api/v1/sessions/{session_id}/participants/{participant_id}/quality", Kind::Sessions),
    ("GET", "/api/v1/slugs/{slug}", Kind::Public),
    ("GET", "/api/v1/audit-log", Kind::Administration),
    ("GET", "/api/v1/certificate", Kind::Public),
    ("GET", "/.well-known/jwks.json", Kind::Public),
    ("GET", "/api/v1/openapi.json", Kind::Public),
    ("GET", "/api/docs", Kind::Public),
    ("POST", "/api/video-call/session", Kind::Create),
    ("GET", "/api/video-call/sessions", Kind::Create),
    ("GET", "/api/video-call/meetings", Kind::Account),
    ("POST", "/api/video-call/token", Kind::Issue),
];

/// What must come of it.
fn expected(kind: Kind, who: Asker, to: To) -> Outcome {
    if matches!(who, Nobody | Participant) {
        return Unknown;
    }
    // The stranger owns its own organization: what the route is about is another's.
    let (who, to) = if who == Stranger { (Owner, To::Foreign) } else { (who, to) };
    // First whether somebody like this may ever do it.
    let ever = match kind {
        Kind::Public | Kind::Account | Kind::ReadMeeting => true,
        Kind::Profile | Kind::Join => !matches!(who, ForMeetings | ForTokens | ForAdmin),
        Kind::Administration => matches!(who, Owner | Admin | ForAdmin),
        Kind::Ownership => who == Owner,
        Kind::Create | Kind::Edit | Kind::Sessions => {
            matches!(who, Owner | Admin | Host | ForMeetings | ForAdmin)
        }
        Kind::Issue => matches!(who, Owner | Admin | Host | ForTokens | ForAdmin),
        Kind::Participants => who != Member,
    };
    if !ever {
        return Forbidden;
    }
    if to == To::Foreign {
        return Hidden;
    }
    match (kind, who) {
        (Kind::ReadMeeting | Kind::Join, Member) if to == To::Private => Hidden,
        // A host sees all meetings and runs its own.
        (Kind::Edit | Kind::Issue | Kind::Participants | Kind::Sessions, Host) if to != To::Own => Forbidden,
        _ => Allowed,
    }
}

/// What the answer says.
fn outcome(status: StatusCode, body: &Value) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED => Unknown,
        StatusCode::FORBIDDEN => Forbidden,
        StatusCode::NOT_FOUND => Hidden,
        // Somebody else's state of things stands against it, not the rights.
        StatusCode::CONFLICT => Allowed,
        status if status.is_success() => Allowed,
        status => panic!("{status} {body}"),
    }
}

/// One organization with one of each.
struct Cast {
    organization: OrganizationId,
    password_hash: String,
    ids: BTreeMap<Asker, String>,
    tokens: BTreeMap<Asker, String>,
}

fn new_user(organization_id: OrganizationId, role: OrganizationRole, password_hash: &str) -> User {
    let now = OffsetDateTime::now_utc();
    let id = UserId::generate();
    User {
        id,
        organization_id,
        email: format!("{id}@example.org"),
        name: "Somebody".to_owned(),
        role,
        password_hash: Some(password_hash.to_owned()),
        avatar_url: None,
        is_active: true,
        last_login_at: None,
        created_at: now,
        updated_at: now,
    }
}

impl Cast {
    async fn assemble(server: &Server, organization: OrganizationId, password_hash: &str) -> Self {
        let mut cast = Self {
            organization,
            password_hash: password_hash.to_owned(),
            ids: BTreeMap::new(),
            tokens: BTreeMap::new(),
        };
        let users = [
            (Member, OrganizationRole::Member),
            (Host, OrganizationRole::Host),
            (Admin, OrganizationRole::Admin),
            (Owner, OrganizationRole::Owner),
        ];
        for (who, role) in users {
            let user = new_user(organization, role, password_hash);
            server.store.create_user(&user, None).await.expect("stored");
            let subject = Subject::User { id: user.id, login: uuid::Uuid::new_v4() };
            cast.enter(server, who, user.id.to_string(), subject);
        }
        let clients = [(ForMeetings, Scope::Meetings), (ForTokens, Scope::Tokens), (ForAdmin, Scope::Admin)];
        for (who, scope) in clients {
            let client = new_client(organization, scope);
            server.store.create_client(&client).await.expect("stored");
            cast.enter(server, who, client.id.clone(), Subject::Client(client.id));
        }
        cast.tokens.insert(Participant, join_token(&server.tokens, MeetingId::generate()));
        cast
    }

    /// Two organizations; the owner of the second is the stranger in the first.
    async fn with_stranger(server: &Server, password_hash: &str) -> (Self, Self) {
        let home = server.other_organization().await.id;
        let away = server.other_organization().await.id;
        let mut cast = Self::assemble(server, home, password_hash).await;
        let strangers = Self::assemble(server, away, password_hash).await;
        cast.ids.insert(Stranger, strangers.ids[&Owner].clone());
        cast.tokens.insert(Stranger, strangers.tokens[&Owner].clone());
        (cast, strangers)
    }

    fn enter(&mut self, server: &Server, who: Asker, id: String, subject: Subject) {
        let claims = AccessClaims::new(subject, self.organization, time::Duration::minutes(15));
        self.ids.insert(who, id);
        self.tokens.insert(who, server.tokens.issue_access(&claims));
    }
}

fn new_client(organization_id: OrganizationId, scope: Scope) -> MachineClient {
    MachineClient {
        id: format!("dtc_{}", uuid::Uuid::new_v4().simple()),
        organization_id,
        name: "Program".to_owned(),
        secret_hash: hash_secret("secret"),
        scopes: vec![scope],
        created_at: OffsetDateTime::now_utc(),
    }
}

/// The things that a path names, new for each request.
struct Things {
    meeting: Meeting,
    participant: ParticipantId,
    session: String,
    user: UserId,
    client: String,
    preset: String,
}

impl Things {
    /// In the organization of `cast`; `relation` is that of `who` to the meeting.
    async fn make(server: &Server, cast: &Cast, route: &str, who: Asker, to: To) -> Self {
        let store = &server.store;
        let now = OffsetDateTime::now_utc();
        let id = MeetingId::generate();
        let scheduled = route.ends_with("/start") || route.ends_with("/cancel");
        let policy =
            if matches!(to, To::Other | To::Own) { AccessPolicy::Members } else { AccessPolicy::Invited };
        let meeting = Meeting {
            id,
            organization_id: cast.organization,
            slug: id.to_string(),
            display_name: "Meeting".to_owned(),
            description: None,
            meeting_type: MeetingType::Video,
            scheduling: if scheduled { Scheduling::Scheduled } else { Scheduling::Instant },
            status: if scheduled { MeetingStatus::Scheduled } else { MeetingStatus::Active },
            access_policy: Some(policy),
            max_participants: 10,
            max_guests: None,
            keep_alive_seconds: 60,
            settings: MeetingSettings::default(),
            created_by: cast.ids.get(&who).filter(|_| to == To::Own).cloned(),
            scheduled_start: scheduled.then(|| now + time::Duration::hours(1)),
            scheduled_end: None,
            started_at: None,
            ended_at: None,
            created_at: now,
            updated_at: now,
            version: 0,
        };
        let participant = IssuedParticipant {
            id: ParticipantId::generate(),
            meeting_id: id,
            name: "Somebody".to_owned(),
            role: ParticipantRole::Participant,
            preset: "video_participant".to_owned(),
            user_id: None,
            is_guest: false,
            issued_by: None,
            created_at: now,
            expires_at: now + time::Duration::hours(1),
            revoked_at: None,
        };
        store.create_meeting(&meeting, &participant).await.expect("stored");
        let mut session = String::new();
        if route.contains("session") {
            let arrival = Arrival {
                meeting_id: id,
                new_session_id: MeetingSessionId::generate(),
                participant_id: participant.id,
                name: participant.name,
                at: now,
            };
            session = store.arrive(&arrival).await.expect("stored").expect("there").id.to_string();
        }
        if let (To::Invited, Some(user)) = (to, cast.ids.get(&who).and_then(|id| id.parse().ok())) {
            store.invite(id, user, now).await.expect("invited");
        }
        let user = new_user(cast.organization, OrganizationRole::Member, &cast.password_hash);
        let client = new_client(cast.organization, Scope::Tokens);
        let preset = format!("p_{}", uuid::Uuid::new_v4().simple());
        if route.contains("{user_id}") {
            store.create_user(&user, None).await.expect("stored");
            if route.contains("invitees") {
                store.invite(id, user.id, now).await.expect("invited");
            }
        }
        if route.contains("{client_id}") {
            store.create_client(&client).await.expect("stored");
        }
        if route.contains("{name}") {
            let stored = StoredPreset {
                preset: new_preset(&preset),
                is_shipped: false,
                created_at: now,
                updated_at: now,
            };
            assert!(store.create_preset(cast.organization, &stored, u32::MAX).await.expect("stored"));
        }
        Self { meeting, participant: participant.id, session, user: user.id, client: client.id, preset }
    }

    fn path(&self, route: &str) -> String {
        route
            .replace("{meeting_id}", &self.meeting.id.to_string())
            .replace("{participant_id}", &self.participant.to_string())
            .replace("{session_id}", &self.session)
            .replace("{user_id}", &self.user.to_string())
            .replace("{client_id}", &self.client)
            .replace("{name}", &self.preset)
            .replace("{slug}", &self.meeting.slug)
    }

    /// A body that the route accepts.
    fn body(&self, method: &str, route: &str) -> Value {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        match (method, route) {
            ("POST", "/api/v1/auth/token") => {
                json!({"grant_type": "client_credentials", "client_id": "x", "client_secret": "x"})
            }
            ("POST", "/api/v1/auth/register") => {
                json!({"setup_secret": "x", "email": "a@example.org", "name": "A", "password": PASSWORD})
            }
            ("POST", "/api/v1/auth/login") => {
                json!({"email": "a@example.org", "password": PASSWORD, "organization_slug": "default"})
            }
            ("POST", "/api/v1/auth/refresh" | "/api/v1/auth/logout") => json!({"refresh_token": "x"}),
            ("POST", "/api/v1/auth/activate") => json!({"setup_token": "x", "password": PASSWORD}),
            (
                "PATCH",
                "/api/v1/auth/me"
                | "/api/v1/organization"
                | "/api/v1/users/{user_id}"
                | "/api/v1/meetings/{meeting_id}/participants/{participant_id}",
            ) => json!({"name": "Another"}),
            ("POST", "/api/v1/auth/password") => {
                json!({"current_password": PASSWORD, "new_password": PASSWORD})
            }
            ("POST", "/api/v1/users") => json!({"email": format!("{unique}@example.org"), "name": "New"}),
            ("POST", "/api/v1/clients") => json!({"name": "New", "scopes": ["tokens"]}),
            ("POST", "/api/v1/presets") => {
                serde_json::to_value(new_preset(&format!("n_{unique}"))).expect("JSON")
            }
            ("PUT", "/api/v1/presets/{name}") => {
                serde_json::to_value(new_preset(&self.preset)).expect("JSON")
            }
            ("POST", "/api/v1/meetings") | ("PATCH", "/api/v1/meetings/{meeting_id}") => {
                json!({"display_name": "Another"})
            }
            ("POST", path) if path.ends_with("-join") => json!({"name": "Ada Lovelace"}),
            ("POST", path) if path.ends_with("/participants") || path.ends_with("/tokens") => {
                json!({"name": "Ada"})
            }
            ("POST", "/api/video-call/session") => json!({"name": "Another"}),
            ("POST", "/api/video-call/token") => json!({"meeting_id": self.meeting.id.to_string()}),
            _ => Value::Null,
        }
    }
}

fn new_preset(name: &str) -> Preset {
    let mut preset = darktower_core::preset::shipped().remove(0);
    preset.name = name.to_owned();
    preset
}

#[test]
fn every_rule_has_an_expectation_and_every_expectation_a_rule() {
    let rules: BTreeSet<_> = api::RULES
        .iter()
        .flat_map(|group| group.iter())
        .map(|rule| (rule.method, rule.path, rule.access == Access::Public))
        .collect();
    let expectations: BTreeSet<_> =
        ROUTES.iter().map(|(method, path, kind)| (*method, *path, *kind == Kind::Public)).collect();
    assert_eq!(expectations.len(), ROUTES.len(), "each once");
    let left: Vec<_> = rules.symmetric_difference(&expectations).collect();
    assert!(left.is_empty(), "in the rules or here only: {left:?}");
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let server = Server::start(open, public_router).await;
    let passwords = crate::auth::password::Passwords::new();
    let password_hash = passwords.hash(PASSWORD.to_owned()).await.expect("hashed");
    let mut wrong = Vec::new();
    let mut cells = 0;
    for (index, (method, route, kind)) in ROUTES.iter().enumerate() {
        // Of their own for each route, so that what one does to its organization is over with it.
        let (mut cast, strangers) = Cast::with_stranger(&server, &password_hash).await;
        let is_about_something = route.contains('{') || *route == "/api/video-call/token";
        let is_about_meeting = is_about_something
            && !["users", "clients", "presets"]
                .iter()
                .any(|kind| route.starts_with(&format!("/api/v1/{kind}/")));
        let mut cast_is_used = false;
        for (who, to) in EVERYBODY.iter().flat_map(|who| RELATIONS.map(|to| (*who, to))) {
            let applies = match to {
                To::Own => true,
                To::Foreign => is_about_something && who != Stranger,
                To::Invited | To::Other | To::Private => is_about_meeting && who != Stranger,
            };
            if !applies {
                continue;
            }
            if *kind == Kind::Ownership && cast_is_used {
                // The caller before may have deleted it.
                cast = Cast::with_stranger(&server, &password_hash).await.0;
            }
            cast_is_used = true;
            let owner_of_thing = if to == To::Foreign { &strangers } else { &cast };
            let things = Things::make(&server, owner_of_thing, route, who, to).await;
            let path = things.path(route);
            let mut request = server.request(method.parse().expect("a method"), &path);
            if let Some(token) = cast.tokens.get(&who) {
                request = request.bearer_auth(token);
            }
            let body = things.body(method, route);
            let (status, body) = answer(if body.is_null() { request } else { request.json(&body) }).await;
            cells += 1;
            if *kind == Kind::Public {
                let refused =
                    body["error"]["message"].as_str().is_some_and(|text| text.contains("access token"));
                assert!(!refused, "{method} {route} is public: {body}");
                continue;
            }
            let mut expected = expected(*kind, who, to);
            // What names nothing is one's own.
            if who == Stranger && !is_about_something && expected == Hidden {
                expected = Allowed;
            }
            let outcome = outcome(status, &body);
            if outcome != expected {
                wrong.push(format!(
                    "{index} {method} {route} {who:?} {to:?}: {expected:?} but {status} {body}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells > 1000, "{cells}");
}

#[tokio::test]
async fn what_is_hidden_looks_like_what_is_not_there() {
    let server = Server::start(open, public_router).await;
    let home = server.other_organization().await.id;
    let away = server.other_organization().await.id;
    let cast = Cast::assemble(&server, home, "no password").await;
    let strangers = Cast::assemble(&server, away, "no password").await;
    for (method, route, kind) in ROUTES {
        if *kind == Kind::Public || !route.contains('{') {
            continue;
        }
        let theirs = Things::make(&server, &strangers, route, Owner, To::Own).await;
        let body = theirs.body(method, route);
        let ask = async |path: &str| {
            let request =
                server.request(method.parse().expect("a method"), path).bearer_auth(&cast.tokens[&Owner]);
            answer(if body.is_null() { request } else { request.json(&body) }).await
        };
        let path = theirs.path(route);
        let (status, hidden) = ask(&path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {route} {hidden}");
        // The same path with the first id changed in its last digit.
        let first = path.split('/').find(|part| part.len() > 30).expect("an id");
        let mut other = first.to_owned();
        let last = if other.pop() == Some('0') { '1' } else { '0' };
        other.push(last);
        let changed = path.replace(first, &other);
        let body = body.clone();
        let nowhere = if body.get("name").is_some_and(|name| name == first) {
            let mut body = body;
            body["name"] = json!(other);
            let request = server.request(method.parse().expect("a method"), &changed);
            answer(request.bearer_auth(&cast.tokens[&Owner]).json(&body)).await
        } else {
            ask(&changed).await
        };
        let same = |text: &Value| text.to_string().replace(first, &other);
        assert_eq!((nowhere.0, same(&nowhere.1)), (status, same(&hidden)), "{method} {route}");
    }
}

#[tokio::test]
async fn one_time_secrets_of_one_organization_mean_nothing_in_another() {
    let server = Server::start(open, public_router).await;
    let home = server.other_organization().await.id;
    let user = new_user(home, OrganizationRole::Member, "no password");
    let now = OffsetDateTime::now_utc();
    let secret = SetupSecret {
        hash: hash_secret("dto_known"),
        organization_id: home,
        user_id: Some(user.id),
        created_at: now,
        expires_at: Some(now - time::Duration::seconds(1)),
    };
    server.store.create_user(&user, Some(&secret)).await.expect("stored");
    let ended = json!({"setup_token": "dto_known", "password": PASSWORD});
    assert_error(&server.post("/api/v1/auth/activate", &ended).await, 401, "UNAUTHORIZED");
    let token = RefreshToken {
        hash: hash_secret("dtr_known"),
        user_id: user.id,
        family: uuid::Uuid::new_v4(),
        created_at: now,
        expires_at: now - time::Duration::seconds(1),
    };
    assert!(server.store.begin_login(&token, user.password_hash.as_deref()).await.expect("begun"));
    assert_error(&server.try_refresh("dtr_known").await, 401, "UNAUTHORIZED");
}
