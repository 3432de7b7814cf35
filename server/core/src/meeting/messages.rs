//! What participants write to each other, and what their applications send each other.

use std::collections::BTreeSet;

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::ErrorCode;
use pb::envelope::Message;

use super::chat::{Asker, Audience, check_broadcast};
use super::rights::Control;
use super::{Meeting, Participant, Refusal, parse_participant_id};

/// Type of the broadcast message that everybody may send, and its longest payload, bytes.
const REACTION: &str = "reaction";
const MAX_REACTION: usize = 64;

impl Meeting {
    /// Writes to everybody or to one participant; answers with the number of the message.
    ///
    /// # Errors
    /// If the preset of `by` or that of the receiver does not allow it, the text is empty or too long, or `by` writes too
    /// much.
    pub fn send_chat(
        &mut self,
        by: ParticipantId,
        request: &pb::SendChatMessage,
        now_us: u64,
    ) -> Result<u64, Refusal> {
        let to = match request.to_participant_id.as_str() {
            "" => None,
            text => Some(self.chat_partner(by, text)?),
        };
        let writer = self.participant(by)?;
        refuse_hidden(writer)?;
        let rights = writer.rights();
        if !(if to.is_some() { rights.chat_private } else { rights.chat_public }) {
            let whom = if to.is_some() { "single participants" } else { "everybody" };
            let message = format!("your preset {} does not allow to write to {whom}", rights.preset);
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        self.allowances(by, now_us).chat.take(now_us)?;
        let writer = self.participant(by)?;
        let name = writer.identity.name.clone();
        let is_host = writer.rights().permits(Control::ModerateChat);
        let message = self.chat.send(Asker { id: by, name: &name, is_host }, to, &request.text, now_us)?;
        let message_id = message.message_id;
        let audience = to.map_or(Audience::Everybody, |to| Audience::Between(by, to));
        let sent = Message::ChatMessageSent(pb::ChatMessageSent { message: Some(message) });
        self.tell_audience(audience, sent);
        Ok(message_id)
    }

    /// Changes the text of one's own message.
    ///
    /// # Errors
    /// If there is no such message of `by`, or the text is empty or too long.
    pub fn edit_chat(
        &mut self,
        by: ParticipantId,
        request: &pb::EditChatMessage,
        now_us: u64,
    ) -> Result<(), Refusal> {
        let is_public = self.chat.is_public(by, request.message_id);
        let writer = self.participant(by)?;
        refuse_hidden(writer)?;
        let rights = writer.rights();
        // Whoever may not write any more does not write through what it wrote before.
        let may = match is_public {
            Some(true) => rights.chat_public,
            Some(false) => rights.chat_private,
            None => rights.chat_public || rights.chat_private,
        };
        if !may {
            let message = format!("your preset {} does not allow to write this", rights.preset);
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        self.allowances(by, now_us).chat.take(now_us)?;
        self.change_chat(by, |chat, asker| chat.edit(asker, request, now_us))
    }

    /// Deletes one's own message, or as a host any to everybody.
    ///
    /// # Errors
    /// If there is no such message, or it is another's.
    pub fn delete_chat(
        &mut self,
        by: ParticipantId,
        request: &pb::DeleteChatMessage,
        now_us: u64,
    ) -> Result<(), Refusal> {
        self.participant(by)?;
        self.allowances(by, now_us).chat.take(now_us)?;
        self.change_chat(by, |chat, asker| chat.delete(asker, request.message_id))
    }

    /// Pins a message to everybody, or no longer.
    ///
    /// # Errors
    /// If `by` is no host, there is no such message, or too many are pinned.
    pub fn pin_chat(
        &mut self,
        by: ParticipantId,
        request: &pb::PinChatMessage,
        now_us: u64,
    ) -> Result<(), Refusal> {
        self.participant(by)?.rights().require(Control::ModerateChat)?;
        self.allowances(by, now_us).chat.take(now_us)?;
        self.change_chat(by, |chat, asker| chat.pin(asker, request))
    }

    /// Messages that were sent before.
    ///
    /// # Errors
    /// If the other participant's id is none, or `by` asks too often.
    pub fn chat_history(
        &mut self,
        by: ParticipantId,
        request: &pb::FetchChatHistory,
        now_us: u64,
    ) -> Result<pb::ChatHistory, Refusal> {
        self.participant(by)?;
        self.allowances(by, now_us).broadcasts.take(now_us)?;
        let with = match request.with_participant_id.as_str() {
            "" => None,
            text => Some(parse_participant_id(text)?),
        };
        Ok(self.chat.history(by, with, request))
    }

    /// A message between applications. Reactions may be sent by everybody, others by those who may write to everybody.
    ///
    /// # Errors
    /// If type or payload is not valid, a receiver is not here, or `by` may not, or sends too much.
    pub fn broadcast(
        &mut self,
        by: ParticipantId,
        request: &pb::BroadcastMessage,
        now_us: u64,
    ) -> Result<(), Refusal> {
        check_broadcast(request)?;
        let to = request.to_participant_ids.iter();
        let to =
            to.map(|text| self.seen(by, text).map_err(|refusal| of_field(refusal, "to_participant_ids")));
        // Each once, however often it is named.
        let to = to.collect::<Result<BTreeSet<ParticipantId>, Refusal>>()?;
        let sender = self.participant(by)?;
        refuse_hidden(sender)?;
        let is_reaction = request.r#type == REACTION && request.payload.len() <= MAX_REACTION;
        if !is_reaction && !sender.rights().chat_public && !sender.rights().run_meeting {
            let message = format!(
                "your preset {} allows only reactions of {MAX_REACTION} bytes",
                sender.rights().preset
            );
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        self.allowances(by, now_us).broadcasts.take(now_us)?;
        let event = Message::MessageBroadcast(pb::MessageBroadcast {
            participant_id: by.to_string(),
            r#type: request.r#type.clone(),
            payload: request.payload.clone(),
        });
        let everybody_else = || self.participants.keys().copied().filter(|id| *id != by).collect();
        let to: BTreeSet<ParticipantId> = if to.is_empty() { everybody_else() } else { to };
        self.tell_each(to, event);
        Ok(())
    }

    fn change_chat(
        &mut self,
        by: ParticipantId,
        change: impl FnOnce(&mut super::Chat, Asker<'_>) -> Result<(Audience, pb::ChatMessage), Refusal>,
    ) -> Result<(), Refusal> {
        let participant = self.participant(by)?;
        let name = participant.identity.name.clone();
        let is_host = participant.rights().permits(Control::ModerateChat);
        let (audience, message) = change(&mut self.chat, Asker { id: by, name: &name, is_host })?;
        let updated = Message::ChatMessageUpdated(pb::ChatMessageUpdated { message: Some(message) });
        self.tell_audience(audience, updated);
        Ok(())
    }

    /// Somebody who may be written to.
    fn chat_partner(&self, by: ParticipantId, text: &str) -> Result<ParticipantId, Refusal> {
        let to = self.seen(by, text).map_err(|refusal| of_field(refusal, "to_participant_id"))?;
        let may_receive = |to| self.participants.get(to).is_some_and(|to| to.rights().receive_private_chat);
        if to == by || !may_receive(&to) {
            let message = "this participant takes no messages of single participants";
            return Err(Refusal::field(ErrorCode::Forbidden, "to_participant_id", message));
        }
        Ok(to)
    }

    /// Tells whom a message concerns, its writer included: other devices show it, too.
    fn tell_audience(&mut self, audience: Audience, event: Message) {
        let to = match audience {
            Audience::Everybody => self.those_who(|_| true),
            Audience::Between(one, other) => vec![one, other],
        };
        self.tell_each(to, event);
    }
}

/// A refusal of what another field of the request names.
fn of_field(refusal: Refusal, field: &'static str) -> Refusal {
    Refusal { field: Some(field), ..refusal }
}

/// Whoever is hidden would show itself.
fn refuse_hidden(participant: &Participant) -> Result<(), Refusal> {
    if participant.rights().hidden {
        return Err(Refusal::new(ErrorCode::Forbidden, "hidden participants send no messages"));
    }
    Ok(())
}
