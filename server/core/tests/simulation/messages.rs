//! The chat, and messages that applications agree on.

use std::collections::BTreeSet;

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;

use crate::Checked;
use crate::model::{Line, Standing};
use crate::ops::{Name, Whom};
use crate::world::World;

impl World {
    pub(crate) fn write(&mut self, by: ParticipantId, to: Whom, is_blank: bool) -> Checked<bool> {
        let may = match to {
            Name::Empty => self.model.may(by, Standing::may_write_to_everybody),
            Name::One(id) => {
                self.model.sees(by, id)
                    && by != id
                    && self.model.may(id, |standing| standing.may().chat.private.can_receive)
                    && self.model.may(by, Standing::may_write_to_one)
            }
            Name::Malformed => false,
        };
        let may = may && self.model.may(by, Standing::is_seen);
        let text = if is_blank { " \u{7}\n" } else { "hello" };
        let request = pb::SendChatMessage { text: text.to_owned(), to_participant_id: to.text() };
        let result = self.meeting.send_chat(by, &request, self.now_us());
        let Some(id) = self.agreed(may && !is_blank, result)? else { return Ok(false) };
        let expected = self.model.lines.len() as u64 + 1;
        ensure!(id == expected, "message {id} comes after {}", expected - 1);
        let to = match to {
            Name::One(to) => Some(to),
            Name::Empty | Name::Malformed => None,
        };
        self.model.lines.push(Line { id, from: by, to, is_deleted: false, is_pinned: false });
        self.line_told(id)
    }

    pub(crate) fn edit(&mut self, by: ParticipantId, line: u64) -> Checked<bool> {
        let found = self.line(by, line).filter(|line| line.from == by && !line.is_deleted);
        let expected = found.is_some_and(|line| {
            let writes = match line.to {
                None => Standing::may_write_to_everybody,
                Some(_) => Standing::may_write_to_one,
            };
            self.model.may(by, writes) && self.model.may(by, Standing::is_seen)
        });
        let request = pb::EditChatMessage { message_id: line, text: "hello again".to_owned() };
        let result = self.meeting.edit_chat(by, &request, self.now_us());
        match self.agreed(expected, result)? {
            Some(()) => self.line_told(line),
            None => Ok(false),
        }
    }

    pub(crate) fn delete(&mut self, by: ParticipantId, line: u64) -> Checked<bool> {
        let is_host = self.model.is_host(by);
        let found = self.line(by, line);
        let expected = found.is_some_and(|line| line.from == by || is_host && line.to.is_none());
        let request = pb::DeleteChatMessage { message_id: line };
        let result = self.meeting.delete_chat(by, &request, self.now_us());
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let Some(found) = self.model.lines.iter_mut().find(|found| found.id == line) {
            found.is_deleted = true;
            found.is_pinned = false;
        }
        self.line_told(line)
    }

    pub(crate) fn pin(&mut self, by: ParticipantId, line: u64, pinned: bool) -> Checked<bool> {
        let found = self.line(by, line).filter(|line| line.to.is_none() && !(pinned && line.is_deleted));
        let expected = found.is_some() && self.model.is_host(by);
        let request = pb::PinChatMessage { message_id: line, pinned };
        let result = self.meeting.pin_chat(by, &request, self.now_us());
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        if let Some(found) = self.model.lines.iter_mut().find(|found| found.id == line) {
            found.is_pinned = pinned;
        }
        self.line_told(line)
    }

    /// The line as somebody who is here may know it.
    fn line(&self, by: ParticipantId, id: u64) -> Option<&Line> {
        let is_here = self.model.here.contains_key(&by);
        self.model.lines.iter().find(|line| line.id == id && is_here && line.is_for(by))
    }

    /// Exactly those whom a line concerns are told of it.
    fn line_told(&mut self, id: u64) -> Checked<bool> {
        let heard = self.drain(None)?.chat;
        let line = self.model.lines.iter().find(|line| line.id == id).ok_or("there is no such line")?;
        let expected: Vec<ParticipantId> =
            self.model.here.keys().copied().filter(|reader| line.is_for(*reader)).collect();
        ensure!(heard == expected, "message {id} was told {heard:?} instead of {expected:?}");
        Ok(true)
    }

    pub(crate) fn history(
        &mut self,
        by: ParticipantId,
        with: Whom,
        request: &pb::FetchChatHistory,
    ) -> Checked<bool> {
        let expected = self.model.here.contains_key(&by) && with != Name::Malformed;
        let result = self.meeting.chat_history(by, request, self.now_us());
        let Some(history) = self.agreed(expected, result)? else { return Ok(false) };
        self.nothing_follows()?;
        let belongs = |line: &&Line| {
            let concerns = match with {
                Name::One(with) => line.to.is_some() && by != with && line.is_for(by) && line.is_for(with),
                Name::Empty | Name::Malformed => line.to.is_none(),
            };
            let is_before = request.before_message_id == 0 || line.id < request.before_message_id;
            concerns && is_before && (line.is_pinned || !request.pinned_only)
        };
        let mut matching: Vec<u64> = self.model.lines.iter().filter(belongs).map(|line| line.id).collect();
        let limit = if request.limit == 0 { 50 } else { request.limit as usize };
        let expected = matching.split_off(matching.len().saturating_sub(limit));
        let ids: Vec<u64> = history.messages.iter().map(|message| message.message_id).collect();
        ensure!(ids == expected, "{by} reads {ids:?} instead of {expected:?}");
        ensure!(history.has_more != matching.is_empty(), "earlier messages are {matching:?}");
        Ok(true)
    }

    pub(crate) fn broadcast(&mut self, by: ParticipantId, to: &[Whom], is_reaction: bool) -> Checked<bool> {
        let is_seen = |whom: &Whom| self.model.named(by, *whom).is_some();
        let may = is_reaction && self.model.here.contains_key(&by)
            || self.model.may(by, |standing| standing.is_host || standing.may_write_to_everybody());
        let expected = may && self.model.may(by, Standing::is_seen) && to.iter().all(is_seen);
        let message_type = if is_reaction { "reaction" } else { "poll.vote" };
        let request = pb::BroadcastMessage {
            r#type: message_type.to_owned(),
            payload: vec![7_u8; 8].into(),
            to_participant_ids: to.iter().map(Name::text).collect(),
        };
        let result = self.meeting.broadcast(by, &request, self.now_us());
        if self.agreed(expected, result)?.is_none() {
            return Ok(false);
        }
        let heard: BTreeSet<ParticipantId> = self.drain(None)?.broadcast.into_iter().collect();
        let named = to.iter().filter_map(|whom| match whom {
            Name::One(id) => Some(*id),
            Name::Empty | Name::Malformed => None,
        });
        let others = self.model.here.keys().copied().filter(|id| *id != by);
        let expected: BTreeSet<_> = if to.is_empty() { others.collect() } else { named.collect() };
        ensure!(heard == expected, "a broadcast message went to {heard:?} instead of {expected:?}");
        Ok(true)
    }
}
