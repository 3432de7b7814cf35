//! Facts to store.

use darktower_core::access::{OrganizationRole, ParticipantRole, Scope};
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_core::meeting::quality::{Ingress, QualityRecord};
use darktower_core::preset::Preset;
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId, UserId};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::storage::model::{
    Arrival, Client, IssuedParticipant, Meeting, MeetingSettings, Organization, OrganizationSettings, Page,
    QualitySample, RefreshToken, Removal, SecretHash, SetupSecret, StoredPreset, User,
};
use crate::storage::store::Store;

/// All of a list that is not long.
pub(super) const ALL: Page = Page { limit: 1000, offset: 0 };

/// So many seconds after some moment, with microseconds that must not get lost.
pub(in super::super) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(1_763_000_000_123_456_000).expect("in range")
        + Duration::seconds(seconds)
}

/// An organization with a slug of its own.
pub(in super::super) fn organization() -> Organization {
    let id = OrganizationId::generate();
    Organization {
        id,
        name: "Straße & 会議 GmbH 🎥".to_owned(),
        slug: format!("o-{id}"),
        settings: OrganizationSettings::default(),
        created_at: at(0),
        updated_at: at(1),
    }
}

/// An organization that is stored.
pub(super) async fn stored_organization(store: &dyn Store) -> Organization {
    let organization = organization();
    store.create_organization(&organization, &[], None).await.expect("stored");
    organization
}

pub(super) fn user(organization: OrganizationId, name: &str, role: OrganizationRole) -> User {
    User {
        id: UserId::generate(),
        organization_id: organization,
        email: format!("{}@example.org", name.to_lowercase()),
        name: name.to_owned(),
        role,
        password_hash: None,
        avatar_url: None,
        is_active: true,
        last_login_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

/// A user that is stored.
pub(super) async fn stored_user(
    store: &dyn Store,
    organization: OrganizationId,
    name: &str,
    role: OrganizationRole,
) -> User {
    let user = user(organization, name, role);
    store.create_user(&user, None).await.expect("stored");
    user
}

/// A hash that no other secret has.
pub(super) fn secret() -> SecretHash {
    let mut hash = [0xa5; 32];
    hash[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    hash
}

/// The token of a new login at second 0, for an hour.
pub(super) fn refresh_token(user: UserId) -> RefreshToken {
    RefreshToken {
        hash: secret(),
        user_id: user,
        family: Uuid::new_v4(),
        created_at: at(0),
        expires_at: at(3600),
    }
}

/// The token that replaces `old`.
pub(super) fn next_token(old: &RefreshToken) -> RefreshToken {
    RefreshToken { hash: secret(), ..old.clone() }
}

pub(super) fn setup_secret(organization: OrganizationId, user: Option<UserId>) -> SetupSecret {
    SetupSecret {
        hash: secret(),
        organization_id: organization,
        user_id: user,
        created_at: at(0),
        expires_at: Some(at(3600)),
    }
}

pub(super) fn client(organization: OrganizationId, id: &str) -> Client {
    Client {
        id: id.to_owned(),
        organization_id: organization,
        name: "Back end".to_owned(),
        secret_hash: secret(),
        scopes: vec![Scope::Tokens, Scope::Meetings],
        created_at: at(0),
    }
}

pub(super) fn preset(name: &str) -> StoredPreset {
    let document = include_str!("preset.json");
    let preset = Preset { name: name.to_owned(), ..serde_json::from_str(document).expect("a preset") };
    StoredPreset { preset, is_shipped: false, created_at: at(0), updated_at: at(1) }
}

/// A meeting that is active, with a slug of its own, and its host.
pub(in super::super) fn meeting(organization: OrganizationId) -> (Meeting, IssuedParticipant) {
    let id = MeetingId::generate();
    let meeting = Meeting {
        id,
        organization_id: organization,
        slug: format!("m-{id}"),
        display_name: "Straße 会議 🎥 '; DROP TABLE meetings".to_owned(),
        description: None,
        meeting_type: MeetingType::Webinar,
        scheduling: Scheduling::Instant,
        status: MeetingStatus::Active,
        access_policy: None,
        max_participants: 7,
        max_guests: None,
        keep_alive_seconds: 60,
        settings: MeetingSettings { enable_e2e_encryption: true, ..MeetingSettings::default() },
        created_by: None,
        scheduled_start: None,
        scheduled_end: None,
        started_at: None,
        ended_at: None,
        created_at: at(0),
        updated_at: at(0),
        version: 0,
    };
    let mut host = participant(id);
    host.role = ParticipantRole::Host;
    (meeting, host)
}

/// A meeting that is stored, and its host.
pub(super) async fn stored_meeting(
    store: &dyn Store,
    organization: OrganizationId,
    change: impl FnOnce(&mut Meeting),
) -> (Meeting, IssuedParticipant) {
    let (mut meeting, host) = meeting(organization);
    change(&mut meeting);
    store.create_meeting(&meeting, &host).await.expect("stored");
    (meeting, host)
}

/// A participant without account or user.
pub(in super::super) fn participant(meeting: MeetingId) -> IssuedParticipant {
    IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id: meeting,
        name: "Zoë".to_owned(),
        role: ParticipantRole::Participant,
        preset: "video_participant".to_owned(),
        user_id: None,
        is_guest: false,
        issued_by: Some("back-end".to_owned()),
        created_at: at(0),
        expires_at: at(86_400),
        revoked_at: None,
    }
}

/// A participant that is stored.
pub(super) async fn stored_participant(
    store: &dyn Store,
    meeting: MeetingId,
    change: impl FnOnce(&mut IssuedParticipant),
) -> IssuedParticipant {
    let mut participant = participant(meeting);
    change(&mut participant);
    store.issue_participant(&participant).await.expect("stored");
    participant
}

/// A join of this participant, so many seconds in.
pub(super) fn arrival(participant: &IssuedParticipant, seconds: i64) -> Arrival {
    Arrival {
        meeting_id: participant.meeting_id,
        new_session_id: MeetingSessionId::generate(),
        participant_id: participant.id,
        name: participant.name.clone(),
        at: at(seconds),
    }
}

/// The removal of a participant, or of all.
pub(super) fn removal(meeting: MeetingId, participant: Option<ParticipantId>, seconds: i64) -> Removal {
    Removal {
        id: Uuid::now_v7(),
        meeting_id: meeting,
        participant_id: participant,
        meeting_over: false,
        at: at(seconds),
    }
}

/// How media got through until `second`.
pub(super) fn quality_sample(
    session: MeetingSessionId,
    participant: ParticipantId,
    second: i64,
) -> QualitySample {
    let record = QualityRecord {
        participant,
        duration: std::time::Duration::from_micros(10_000_123),
        score: 4.1,
        lowest_score: 3.25,
        rtt: std::time::Duration::from_micros(40_001),
        max_rtt: std::time::Duration::from_micros(90_002),
        jitter: std::time::Duration::from_micros(3),
        audio: Ingress { units: 500, bytes: 60_000, missing: 2 },
        video: Ingress { units: 300, bytes: 2_000_000, missing: 1 },
        sent_bytes: 5_000_000_000,
        dropped: 4,
        sent_packets: 7_000,
        lost_packets: 70,
        available_bps: Some(25_000_000_000),
        reported_loss: Some(0.015_625),
    };
    QualitySample { session_id: session, at: at(second), record }
}
