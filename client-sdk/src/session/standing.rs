//! What a session knows of itself and of the meeting as a whole, beside who is there.

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;

/// As of the last event of the server; [`Roster`](super::roster::Roster) keeps it.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Host or participant.
    pub(crate) role: pb::Role,
    /// What this session may do.
    pub(crate) rights: pb::Rights,
    /// What it says of itself, or what hosts changed of it.
    pub(crate) state: pb::ParticipantState,
    /// The meeting's name for people; may be empty.
    pub(crate) display_name: String,
    /// Whether nobody but hosts gets in.
    pub(crate) locked: bool,
    /// Who is shown large to everybody.
    pub(crate) spotlight: Vec<ParticipantId>,
    /// How many there are, and how many only watch, as it was last told.
    pub(crate) audience: pb::AudienceChanged,
    /// Who waits to be let in; empty for those who may not admit.
    pub(crate) waiting: Vec<pb::Participant>,
}

impl Standing {
    /// What the answer to a join says.
    pub(crate) fn new(joined: &pb::JoinResponse) -> Self {
        Self {
            role: joined.role(),
            rights: joined.rights.clone().unwrap_or_default(),
            display_name: joined.meeting_display_name.clone(),
            locked: joined.locked,
            spotlight: participant_ids(&joined.spotlight_participant_ids),
            ..Self::default()
        }
    }

    /// The participant changes its state; answers with the whole, and with what undoes the change.
    pub(crate) fn change(&mut self, change: pb::StateChange) -> (pb::ParticipantState, pb::StateChange) {
        let before = self.state;
        self.state = change.applied_to(&before);
        (self.state, pb::StateChange::between(&self.state, &before))
    }

    /// The server refused a change: it is undone, as far as the server has not told of another since.
    pub(crate) fn undo(&mut self, change: pb::StateChange, undo: pb::StateChange) {
        let since = pb::StateChange::between(&change.applied_to(&self.state), &self.state);
        let unless = |changed: Option<bool>, undo: Option<bool>| undo.filter(|_| changed.is_none());
        let undo = pb::StateChange {
            audio_muted: unless(since.audio_muted, undo.audio_muted),
            video_on: unless(since.video_on, undo.video_on),
            screen_sharing: unless(since.screen_sharing, undo.screen_sharing),
            hand_raised: unless(since.hand_raised, undo.hand_raised),
        };
        self.state = undo.applied_to(&self.state);
    }
}

/// The ids of a message; what is not one is left out.
pub(crate) fn participant_ids(texts: &[String]) -> Vec<ParticipantId> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_refused_is_undone_and_what_hosts_did_meanwhile_stays() {
        let state = |audio_muted, hand_raised| pb::ParticipantState {
            audio_muted,
            hand_raised,
            ..pb::ParticipantState::default()
        };
        let mut standing = Standing { state: state(true, false), ..Standing::default() };
        let change = pb::StateChange {
            audio_muted: Some(false),
            hand_raised: Some(true),
            ..pb::StateChange::default()
        };
        let (changed, undo) = standing.change(change);
        assert_eq!((changed, standing.state), (state(false, true), state(false, true)));
        // A host has lowered the hand.
        standing.state.hand_raised = false;
        standing.undo(change, undo);
        assert_eq!(standing.state, state(true, false));
        // What was so before is not undone.
        let (_, undo) = standing.change(pb::StateChange { audio_muted: Some(true), ..Default::default() });
        standing.state.audio_muted = false;
        standing.undo(pb::StateChange { audio_muted: Some(true), ..Default::default() }, undo);
        assert_eq!(standing.state, state(false, false));
    }
}
