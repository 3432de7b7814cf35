//! What a participant says of itself, and changes of it (docs/protocol.md 5.5).

use super::pb::{ParticipantState, StateChange};

impl StateChange {
    /// What leads from one state to another: nothing that is the same in both.
    #[must_use]
    pub fn between(before: &ParticipantState, after: &ParticipantState) -> Self {
        let changed = |before: bool, after: bool| (before != after).then_some(after);
        Self {
            audio_muted: changed(before.audio_muted, after.audio_muted),
            video_on: changed(before.video_on, after.video_on),
            screen_sharing: changed(before.screen_sharing, after.screen_sharing),
            hand_raised: changed(before.hand_raised, after.hand_raised),
        }
    }

    /// The state after this change.
    #[must_use]
    pub fn applied_to(&self, state: &ParticipantState) -> ParticipantState {
        ParticipantState {
            audio_muted: self.audio_muted.unwrap_or(state.audio_muted),
            video_on: self.video_on.unwrap_or(state.video_on),
            screen_sharing: self.screen_sharing.unwrap_or(state.screen_sharing),
            hand_raised: self.hand_raised.unwrap_or(state.hand_raised),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leads_from_any_state_to_any_other_and_names_nothing_else() {
        let state = |bits: u8| ParticipantState {
            audio_muted: bits & 1 != 0,
            video_on: bits & 2 != 0,
            screen_sharing: bits & 4 != 0,
            hand_raised: bits & 8 != 0,
        };
        for (before, after) in (0..16).flat_map(|before| (0..16).map(move |after| (before, after))) {
            let change = StateChange::between(&state(before), &state(after));
            assert_eq!(change.applied_to(&state(before)), state(after));
            // What it does not name stays.
            let named = before ^ after;
            for other in 0..16 {
                let expected = other & !named | after & named;
                assert_eq!(change.applied_to(&state(other)), state(expected), "{change:?} of {other:04b}");
            }
        }
        assert_eq!(StateChange::between(&state(5), &state(5)), StateChange::default());
    }
}
