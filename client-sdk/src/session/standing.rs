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
    /// Whether nobody but hosts gets in.
    pub(crate) locked: bool,
    /// Who is shown large to everybody.
    pub(crate) spotlight: Vec<ParticipantId>,
    /// Who waits to be let in; empty for those who may not admit.
    pub(crate) waiting: Vec<pb::Participant>,
}

impl Standing {
    /// What the answer to a join says.
    pub(crate) fn new(joined: &pb::JoinResponse) -> Self {
        Self {
            role: joined.role(),
            rights: joined.rights.clone().unwrap_or_default(),
            locked: joined.locked,
            spotlight: participant_ids(&joined.spotlight_participant_ids),
            ..Self::default()
        }
    }
}

/// The ids of a message; what is not one is left out.
pub(crate) fn participant_ids(texts: &[String]) -> Vec<ParticipantId> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}
