//! Meetings, join tokens, and throwing participants out.

use anyhow::Context as _;
use clap::Args;
use darktower_core::access::ParticipantRole;
use darktower_core::meeting::lifecycle::{LifecycleEvent, MeetingStatus, Scheduling};
use darktower_core::preset::preset_name;
use darktower_protocol::{MeetingId, ParticipantId};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::table::Table;
use super::{Admin, named};
use crate::auth::{JoinClaims, TokenService};
use crate::storage::model::{IssuedParticipant, Meeting, MeetingFilter, Page, Removal};

#[derive(Args)]
pub(super) struct TokenArgs {
    /// Id or short name of the meeting
    meeting: String,
    /// Name that the others see
    #[arg(long)]
    name: String,
    /// What the participant is
    #[arg(long, default_value = "participant", value_parser = named::<ParticipantRole>())]
    role: ParticipantRole,
    /// Hours that the token works
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24))]
    hours: u32,
}

#[derive(Args)]
pub(super) struct MeetingsArgs {
    /// Only those with this status
    #[arg(long, value_parser = named::<MeetingStatus>())]
    status: Option<MeetingStatus>,
    /// Only those with this text in name or description
    #[arg(long)]
    search: Option<String>,
    /// How many to list at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

#[derive(Args)]
pub(super) struct EndArgs {
    /// Id or short name of the meeting
    meeting: String,
}

#[derive(Args)]
pub(super) struct RevokeArgs {
    /// Id of the participant
    participant: ParticipantId,
}

impl Admin {
    /// The meeting with this id or slug, of the chosen organization.
    async fn known_meeting(&self, name: &str) -> anyhow::Result<Meeting> {
        let found = match name.parse::<MeetingId>() {
            Ok(id) => self.store.meeting(id).await?,
            Err(_) => self.store.meeting_by_slug(name).await?,
        };
        let organization = self.organization().await?.id;
        found
            .filter(|meeting| meeting.organization_id == organization)
            .with_context(|| format!("there is no meeting {name:?}; `darktower admin meetings` shows them"))
    }

    pub(super) async fn token(&self, args: TokenArgs) -> anyhow::Result<()> {
        let meeting = self.known_meeting(&args.meeting).await?;
        if !meeting.status.is_joinable() {
            anyhow::bail!("the meeting is {}", meeting.status);
        }
        let name = darktower_core::meeting::display_name(&args.name)
            .context("--name must have 1 to 64 visible characters")?;
        let preset = preset_name(meeting.meeting_type, args.role)
            .with_context(|| format!("a meeting of type {} has no {}s", meeting.meeting_type, args.role))?;
        let created_at = OffsetDateTime::now_utc();
        let participant = IssuedParticipant {
            id: ParticipantId::generate(),
            meeting_id: meeting.id,
            name,
            role: args.role,
            preset: preset.to_owned(),
            user_id: None,
            is_guest: args.role == ParticipantRole::Guest,
            issued_by: None,
            created_at,
            expires_at: created_at + Duration::hours(args.hours.into()),
            revoked_at: None,
        };
        let tokens = TokenService::open(&self.data_dir)?;
        self.store.issue_participant(&participant).await?;
        let target = Some(("participant", participant.id.to_string()));
        self.audit(meeting.organization_id, "participant.issue", target, json!({ "role": args.role }))
            .await?;
        let token = tokens.issue_join(&JoinClaims::of(&participant, meeting.organization_id));
        let id = participant.id.to_string();
        self.show_once("Issued:", &[("participant_id", &id), ("join_token", &token)]);
        Ok(())
    }

    pub(super) async fn meetings(&self, args: MeetingsArgs) -> anyhow::Result<()> {
        let filter = MeetingFilter {
            organization_id: self.organization().await?.id,
            active: None,
            status: args.status,
            user_id: None,
            visible_to: None,
            search: args.search,
            from: None,
            to: None,
            page: Page { limit: args.limit, offset: 0 },
        };
        let listed = self.store.meetings(&filter).await?;
        let mut table = Table::new(&["meeting_id", "slug", "status", "there", "created", "name"]);
        for meeting in &listed.items {
            let session = self.store.active_session(meeting.id).await?;
            let there = session.map_or(0, |session| session.live_count);
            if self.json {
                println!(
                    "{}",
                    json!({ "meeting_id": meeting.id.to_string(), "slug": meeting.slug, "status": meeting.status,
                            "participant_count": there, "display_name": meeting.display_name })
                );
            }
            table.row([
                meeting.id.to_string(),
                meeting.slug.clone(),
                meeting.status.to_string(),
                there.to_string(),
                meeting.created_at.date().to_string(),
                meeting.display_name.clone(),
            ]);
        }
        self.print(&table);
        let shown = listed.items.len() as u64;
        if !self.json && shown < listed.total {
            eprintln!("{shown} of {}; --limit shows more", listed.total);
        }
        Ok(())
    }

    pub(super) async fn end(&self, args: EndArgs) -> anyhow::Result<()> {
        let mut meeting = self.known_meeting(&args.meeting).await?;
        let now = OffsetDateTime::now_utc();
        let removal = removal(meeting.id, None, true, now);
        let target = Some(("meeting", meeting.id.to_string()));
        if meeting.scheduling == Scheduling::Permanent && !meeting.status.is_final() {
            self.store.remove_all(&removal).await?;
            self.audit(meeting.organization_id, "meeting.end", target, json!({})).await?;
            eprintln!(
                "Everybody is thrown out of {}. It is permanent: they may come back.",
                meeting.display_name
            );
            return Ok(());
        }
        let (event, action) = match meeting.status {
            MeetingStatus::Draft | MeetingStatus::Scheduled => (LifecycleEvent::Cancel, "meeting.cancel"),
            _ => (LifecycleEvent::End, "meeting.end"),
        };
        meeting.status = meeting.status.after(event)?;
        meeting.ended_at = Some(now);
        meeting.updated_at = now;
        if !self.store.update_meeting(&meeting, Some(&removal)).await? {
            anyhow::bail!("the meeting was changed at the same moment; try again");
        }
        self.audit(meeting.organization_id, action, target, json!({})).await?;
        eprintln!("{} is {}.", meeting.display_name, meeting.status);
        Ok(())
    }

    pub(super) async fn revoke(&self, args: RevokeArgs) -> anyhow::Result<()> {
        let unknown = || format!("there is no participant {}", args.participant);
        let participant = self.store.participant(args.participant).await?.with_context(unknown)?;
        let meeting = self.known_meeting(&participant.meeting_id.to_string()).await.with_context(unknown)?;
        let removal = removal(meeting.id, Some(participant.id), false, OffsetDateTime::now_utc());
        if !self.store.revoke_participant(&removal).await? {
            eprintln!("It was revoked before.");
            return Ok(());
        }
        let target = Some(("participant", participant.id.to_string()));
        self.audit(meeting.organization_id, "participant.revoke", target, json!({})).await?;
        eprintln!("{} is thrown out and its tokens are dead.", participant.name);
        Ok(())
    }
}

fn removal(
    meeting_id: MeetingId,
    participant_id: Option<ParticipantId>,
    meeting_over: bool,
    at: OffsetDateTime,
) -> Removal {
    Removal { id: Uuid::now_v7(), meeting_id, participant_id, meeting_over, at }
}
