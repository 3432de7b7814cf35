//! The chat of one live meeting: messages to everybody and between two, and what is kept of them.
//!
//! Invariants: ids grow from 1 and are never used again; what is kept is within [`MAX_MESSAGES`] and
//! [`MAX_TEXT_BYTES`]; a message between two exists for nobody else, not even for hosts, and requests
//! that name it are answered as if its id were unknown.

use std::collections::BTreeMap;

use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::ErrorCode;
use prost::Message as _;

use super::Refusal;

/// Longest text of a message, in characters: at most 16,000 bytes.
const MAX_TEXT_CHARS: usize = 4_000;
/// Messages that a meeting keeps, deleted ones counted.
const MAX_MESSAGES: usize = 1_000;
/// Text that a meeting keeps. All pinned messages and one more fit in, however long they are: there is always
/// something to drop.
const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Messages that are pinned at one time.
const MAX_PINNED: usize = 50;
const _: () = assert!((MAX_PINNED + 1) * MAX_TEXT_CHARS * 4 <= MAX_TEXT_BYTES);
const _: () = assert!(MAX_PINNED < MAX_MESSAGES);

/// Messages of one answer, if the request does not say how many, and at most.
const DEFAULT_HISTORY: usize = 50;
const MAX_HISTORY: usize = 200;
/// Encoded size of one answer: a protocol message holds 64 KiB, its envelope included. Any single
/// message fits, so that there is no history that cannot be paged through.
const MAX_HISTORY_BYTES: usize = 48 * 1024;

/// Longest type of a broadcast message, in characters.
const MAX_BROADCAST_TYPE_CHARS: usize = 64;
/// Longest payload of a broadcast message.
const MAX_BROADCAST_PAYLOAD: usize = 8 * 1024;
/// Most participants that a broadcast message names.
const MAX_BROADCAST_RECIPIENTS: usize = 100;

/// Whom a message concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// The whole meeting.
    Everybody,
    /// Its author and whom it was written to: never the same.
    Between(ParticipantId, ParticipantId),
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) id: ParticipantId,
    /// As it is now; a message keeps it.
    pub(super) name: &'a str,
    pub(super) is_host: bool,
}

/// One message that is kept.
#[derive(Debug)]
struct Entry {
    from: ParticipantId,
    /// `None` is everybody.
    to: Option<ParticipantId>,
    /// Of the author when it wrote.
    name: String,
    /// Empty if deleted.
    text: String,
    /// µs since the Unix epoch, as all times here.
    sent_at_us: u64,
    /// 0 is never.
    edited_at_us: u64,
    is_pinned: bool,
    is_deleted: bool,
}

impl Entry {
    fn audience(&self) -> Audience {
        self.to.map_or(Audience::Everybody, |to| Audience::Between(self.from, to))
    }

    fn is_visible_to(&self, reader: ParticipantId) -> bool {
        self.to.is_none_or(|to| to == reader) || self.from == reader
    }

    /// Whether it belongs to the messages between `reader` and `with`, or to everybody if there is no `with`.
    fn belongs_to(&self, reader: ParticipantId, with: Option<ParticipantId>) -> bool {
        match (self.to, with) {
            (None, None) => true,
            (Some(to), Some(with)) => [(reader, with), (with, reader)].contains(&(self.from, to)),
            _ => false,
        }
    }

    fn to_message(&self, id: u64) -> pb::ChatMessage {
        pb::ChatMessage {
            message_id: id,
            participant_id: self.from.to_string(),
            name: self.name.clone(),
            text: self.text.clone(),
            to_participant_id: self.to.map(|to| to.to_string()).unwrap_or_default(),
            sent_at: self.sent_at_us,
            edited_at: self.edited_at_us,
            pinned: self.is_pinned,
            deleted: self.is_deleted,
        }
    }
}

/// The messages of one meeting. Those of participants that have left stay.
#[derive(Debug, Default)]
pub(super) struct Chat {
    /// By their ids: in the order in which they were sent.
    messages: BTreeMap<u64, Entry>,
    last_id: u64,
    /// Of all texts in `messages`.
    text_bytes: usize,
    /// How many in `messages` are pinned.
    pinned: usize,
}

impl Chat {
    /// Adds a message. `to` has been checked by the caller: it is here and may receive; `None` is
    /// everybody. The oldest messages that are not pinned make room for it.
    ///
    /// # Errors
    /// If the text is not fit for a message, or `to` is its author.
    pub(super) fn send(
        &mut self,
        from: Asker<'_>,
        to: Option<ParticipantId>,
        text: &str,
        now_us: u64,
    ) -> Result<pb::ChatMessage, Refusal> {
        if to == Some(from.id) {
            let message = "you cannot write to yourself; name somebody else, or nobody for everybody";
            return Err(Refusal::field(ErrorCode::InvalidRequest, "to_participant_id", message));
        }
        let entry = Entry {
            from: from.id,
            to,
            name: from.name.to_owned(),
            text: message_text(text)?,
            sent_at_us: now_us,
            edited_at_us: 0,
            is_pinned: false,
            is_deleted: false,
        };
        self.last_id += 1;
        let id = self.last_id;
        let message = entry.to_message(id);
        self.text_bytes += entry.text.len();
        self.messages.insert(id, entry);
        self.make_room(id);
        Ok(message)
    }

    /// Whether a message that the reader knows was sent to everybody.
    pub(super) fn is_public(&self, reader: ParticipantId, id: u64) -> Option<bool> {
        let entry = self.messages.get(&id).filter(|entry| entry.is_visible_to(reader))?;
        Some(entry.to.is_none())
    }

    /// Changes the text of one's own message. The same text again changes nothing.
    ///
    /// # Errors
    /// If there is no such message for `by`, it is somebody else's or deleted, or the text is not fit
    /// for a message.
    pub(super) fn edit(
        &mut self,
        by: Asker<'_>,
        request: &pb::EditChatMessage,
        now_us: u64,
    ) -> Result<(Audience, pb::ChatMessage), Refusal> {
        let id = request.message_id;
        let entry = visible(&mut self.messages, by.id, id)?;
        if entry.from != by.id {
            let message = format!("message {id} is not yours: only its author may edit it");
            return Err(Refusal::field(ErrorCode::Forbidden, "message_id", message));
        }
        if entry.is_deleted {
            let message = format!("message {id} is deleted and cannot be edited; send a new one");
            return Err(Refusal::field(ErrorCode::Conflict, "message_id", message));
        }
        let text = message_text(&request.text)?;
        if text != entry.text {
            self.text_bytes = self.text_bytes - entry.text.len() + text.len();
            entry.text = text;
            entry.edited_at_us = now_us;
        }
        let edited = (entry.audience(), entry.to_message(id));
        self.make_room(id);
        Ok(edited)
    }

    /// Takes the text away: of one's own message, and for hosts of any that was sent to everybody. Doing
    /// it again changes nothing.
    ///
    /// # Errors
    /// If there is no such message for `by`, or it is not its to delete.
    pub(super) fn delete(
        &mut self,
        by: Asker<'_>,
        message_id: u64,
    ) -> Result<(Audience, pb::ChatMessage), Refusal> {
        let entry = visible(&mut self.messages, by.id, message_id)?;
        if entry.from != by.id && !(by.is_host && entry.to.is_none()) {
            let who = if entry.to.is_none() { "its author and hosts" } else { "its author" };
            let message = format!("message {message_id} is not yours: only {who} may delete it");
            return Err(Refusal::field(ErrorCode::Forbidden, "message_id", message));
        }
        self.text_bytes -= entry.text.len();
        self.pinned -= usize::from(entry.is_pinned);
        entry.text = String::new();
        entry.is_pinned = false;
        entry.is_deleted = true;
        Ok((entry.audience(), entry.to_message(message_id)))
    }

    /// A host pins a message that was sent to everybody, or unpins it. What is so already stays so.
    ///
    /// # Errors
    /// If `by` is no host, there is no such message for it, it is private or, for pinning, deleted, or
    /// too many are pinned.
    pub(super) fn pin(
        &mut self,
        by: Asker<'_>,
        request: &pb::PinChatMessage,
    ) -> Result<(Audience, pb::ChatMessage), Refusal> {
        let pb::PinChatMessage { message_id: id, pinned } = *request;
        // Before the message is looked for: the answer says nothing about which ones there are.
        if !by.is_host {
            let message = "only hosts pin and unpin messages; ask one of them";
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        let entry = visible(&mut self.messages, by.id, id)?;
        if entry.to.is_some() {
            let message = format!("message {id} is private: only messages to everybody can be pinned");
            return Err(Refusal::field(ErrorCode::InvalidRequest, "message_id", message));
        }
        if pinned && entry.is_deleted {
            let message = format!("message {id} is deleted and cannot be pinned; choose another one");
            return Err(Refusal::field(ErrorCode::Conflict, "message_id", message));
        }
        if pinned && !entry.is_pinned && self.pinned >= MAX_PINNED {
            let message = format!("at most {MAX_PINNED} messages are pinned at one time; unpin one first");
            return Err(Refusal::new(ErrorCode::CapacityExceeded, message));
        }
        self.pinned = self.pinned - usize::from(entry.is_pinned) + usize::from(pinned);
        entry.is_pinned = pinned;
        Ok((entry.audience(), entry.to_message(id)))
    }

    /// What `reader` may see: the messages between it and `with`, or those to everybody if there is no
    /// `with`. The latest that match, as many as the request and one answer hold.
    pub(super) fn history(
        &self,
        reader: ParticipantId,
        with: Option<ParticipantId>,
        request: &pb::FetchChatHistory,
    ) -> pb::ChatHistory {
        let limit = match request.limit {
            0 => DEFAULT_HISTORY,
            limit => MAX_HISTORY.min(limit as usize),
        };
        let before = match request.before_message_id {
            0 => u64::MAX,
            id => id,
        };
        let matches =
            |entry: &Entry| entry.belongs_to(reader, with) && (entry.is_pinned || !request.pinned_only);
        let latest_first = self.messages.range(..before).rev().filter(|(_, entry)| matches(entry));

        let mut messages = Vec::new();
        let mut has_more = false;
        let mut bytes = pb::ChatHistory { messages: Vec::new(), has_more: true }.encoded_len();
        for (id, entry) in latest_first {
            let message = entry.to_message(*id);
            let message_len = message.encoded_len();
            // One byte says which field it is.
            bytes += 1 + prost::length_delimiter_len(message_len) + message_len;
            if messages.len() >= limit || bytes > MAX_HISTORY_BYTES {
                has_more = true;
                break;
            }
            messages.push(message);
        }
        messages.reverse();
        pb::ChatHistory { messages, has_more }
    }

    /// Drops the oldest messages that are not pinned until the bounds hold, but not `except`, which has
    /// just been written: an edit must not end the message that it is of.
    fn make_room(&mut self, except: u64) {
        while self.messages.len() > MAX_MESSAGES || self.text_bytes > MAX_TEXT_BYTES {
            let oldest = self.messages.iter().find(|(id, entry)| !entry.is_pinned && **id != except);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            let dropped = self.messages.remove(&oldest);
            self.text_bytes -= dropped.map_or(0, |entry| entry.text.len());
        }
    }
}

/// The message, if there is one for `reader`. One between others is answered as one that never was.
fn visible(
    messages: &mut BTreeMap<u64, Entry>,
    reader: ParticipantId,
    id: u64,
) -> Result<&mut Entry, Refusal> {
    messages.get_mut(&id).filter(|entry| entry.is_visible_to(reader)).ok_or_else(|| {
        let message =
            format!("there is no message {id}, or it is no longer kept; fetch the history to see which are");
        Refusal::field(ErrorCode::NotFound, "message_id", message)
    })
}

/// Text fit for a message: without control characters other than line feeds and tabs (CRLF becomes a
/// line feed), trimmed, 1 to 4,000 characters.
///
/// # Errors
/// If nothing is left of it, or too much.
pub(super) fn message_text(text: &str) -> Result<String, Refusal> {
    let is_kept = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let kept: String = text.chars().filter(is_kept).collect();
    let text = kept.trim();
    let chars = text.chars().count();
    let message = match chars {
        0 => "text is empty: a message has at least one character that is not a space".to_owned(),
        1..=MAX_TEXT_CHARS => return Ok(text.to_owned()),
        _ => format!("text has {chars} characters, at most {MAX_TEXT_CHARS} fit; send several messages"),
    };
    Err(Refusal::field(ErrorCode::InvalidRequest, "text", message))
}

/// Whether a broadcast message is within its bounds: a type of 1 to 64 printable characters, a payload
/// of at most 8 KiB, at most 100 recipients. Who they are is not looked at.
///
/// # Errors
/// If it is not.
pub(super) fn check_broadcast(request: &pb::BroadcastMessage) -> Result<(), Refusal> {
    let chars = request.r#type.chars().count();
    if !(1..=MAX_BROADCAST_TYPE_CHARS).contains(&chars) || request.r#type.chars().any(char::is_control) {
        let message = format!("type must have 1 to {MAX_BROADCAST_TYPE_CHARS} printable characters");
        return Err(Refusal::field(ErrorCode::InvalidRequest, "type", message));
    }
    let payload_len = request.payload.len();
    if payload_len > MAX_BROADCAST_PAYLOAD {
        let message = format!("payload has {payload_len} bytes, at most {MAX_BROADCAST_PAYLOAD} are allowed");
        return Err(Refusal::field(ErrorCode::InvalidRequest, "payload", message));
    }
    let recipients = request.to_participant_ids.len();
    if recipients > MAX_BROADCAST_RECIPIENTS {
        let message = format!(
            "to_participant_ids names {recipients} participants, at most {MAX_BROADCAST_RECIPIENTS} are \
             allowed; send several messages, or leave it empty for everybody else"
        );
        return Err(Refusal::field(ErrorCode::InvalidRequest, "to_participant_ids", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: u8 = 0;

    fn id(number: u8) -> ParticipantId {
        ParticipantId::from_bytes([number; 16])
    }

    fn asker(number: u8) -> Asker<'static> {
        Asker { id: id(number), name: "Ada", is_host: number == HOST }
    }

    /// A text of the most bytes for its characters.
    fn text(chars: usize) -> String {
        "🙂".repeat(chars)
    }

    fn send(chat: &mut Chat, from: u8, to: Option<u8>, text: &str) -> u64 {
        chat.send(asker(from), to.map(id), text, 1).unwrap().message_id
    }

    fn edit(message_id: u64, text: &str) -> pb::EditChatMessage {
        pb::EditChatMessage { message_id, text: text.to_owned() }
    }

    fn pin(message_id: u64, pinned: bool) -> pb::PinChatMessage {
        pb::PinChatMessage { message_id, pinned }
    }

    fn ids(history: &pb::ChatHistory) -> Vec<u64> {
        history.messages.iter().map(|message| message.message_id).collect()
    }

    fn latest(chat: &Chat, reader: u8, with: Option<u8>) -> Vec<u64> {
        ids(&chat.history(id(reader), with.map(id), &pb::FetchChatHistory::default()))
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn text_is_cleaned_and_bounded() {
        assert_eq!(message_text(" \ta\r\n\u{7}b\tc\0 \n").unwrap(), "a\nb\tc");
        assert_eq!(message_text("\u{1} a").unwrap(), "a", "what a control character hid is trimmed");
        assert_eq!(message_text(&format!("  {}\n", text(4_000))).unwrap(), text(4_000));
        for wrong in [String::new(), " \r\n\t\0".to_owned(), text(4_001)] {
            let refusal = message_text(&wrong).unwrap_err();
            assert_eq!((refusal.code, refusal.field), (ErrorCode::InvalidRequest, Some("text")));
        }
    }

    #[test]
    fn what_was_sent_is_read_by_those_it_was_sent_to() {
        let mut chat = Chat::default();
        let sent = chat.send(asker(1), None, " hello ", 7).unwrap();
        let expected = pb::ChatMessage {
            message_id: 1,
            participant_id: id(1).to_string(),
            name: "Ada".to_owned(),
            text: "hello".to_owned(),
            sent_at: 7,
            ..pb::ChatMessage::default()
        };
        assert_eq!(sent, expected);
        let private = chat.send(asker(1), Some(id(2)), "psst", 8).unwrap();
        assert_eq!((private.message_id, private.to_participant_id), (2, id(2).to_string()));
        send(&mut chat, 2, Some(1), "yes?");
        for reader in 0..4 {
            assert_eq!(latest(&chat, reader, None), [1]);
        }
        assert_eq!(latest(&chat, 1, Some(2)), [2, 3]);
        assert_eq!(latest(&chat, 2, Some(1)), [2, 3]);
        assert!(latest(&chat, HOST, Some(1)).is_empty());
        assert!(latest(&chat, HOST, Some(2)).is_empty());
        assert_eq!(code(chat.send(asker(1), Some(id(1)), "me", 9)), ErrorCode::InvalidRequest);
    }

    #[test]
    fn messages_of_others_are_answered_as_unknown_ones() {
        let mut chat = Chat::default();
        let private = send(&mut chat, 1, Some(2), "psst");
        let mut empty = Chat::default();
        for stranger in [HOST, 3] {
            let (by, edit) = (asker(stranger), edit(private, "x"));
            assert_eq!(chat.edit(by, &edit, 2).unwrap_err(), empty.edit(by, &edit, 2).unwrap_err());
            assert_eq!(chat.delete(by, private).unwrap_err(), empty.delete(by, private).unwrap_err());
            let pin = pin(private, true);
            assert_eq!(chat.pin(by, &pin).unwrap_err(), empty.pin(by, &pin).unwrap_err());
        }
        assert_eq!(code(chat.delete(asker(HOST), private)), ErrorCode::NotFound);
        assert_eq!(code(chat.delete(asker(HOST), 0)), ErrorCode::NotFound);
    }

    #[test]
    fn authors_edit_and_delete_and_hosts_delete_what_everybody_sees() {
        let mut chat = Chat::default();
        let public = send(&mut chat, 1, None, "a");
        let private = send(&mut chat, 1, Some(HOST), "b");
        for by in [HOST, 2] {
            assert_eq!(code(chat.edit(asker(by), &edit(public, "x"), 2)), ErrorCode::Forbidden);
        }
        assert_eq!(code(chat.delete(asker(2), public)), ErrorCode::Forbidden);
        assert_eq!(code(chat.delete(asker(HOST), private)), ErrorCode::Forbidden, "was only sent to it");

        let (_, same) = chat.edit(asker(1), &edit(public, "a"), 5).unwrap();
        assert_eq!(same.edited_at, 0);
        let (audience, edited) = chat.edit(asker(1), &edit(public, " aa"), 5).unwrap();
        assert_eq!((audience, edited.text.as_str(), edited.edited_at), (Audience::Everybody, "aa", 5));
        assert_eq!(code(chat.edit(asker(1), &edit(public, " "), 6)), ErrorCode::InvalidRequest);

        let (audience, deleted) = chat.delete(asker(1), private).unwrap();
        assert_eq!(audience, Audience::Between(id(1), id(HOST)));
        assert!(deleted.deleted && deleted.text.is_empty());
        chat.delete(asker(HOST), public).unwrap();
        assert_eq!(chat.text_bytes, 0);
    }

    #[test]
    fn deleted_messages_keep_their_place_and_nothing_else() {
        let mut chat = Chat::default();
        let gone = send(&mut chat, 1, None, "a");
        send(&mut chat, 1, None, "b");
        chat.pin(asker(HOST), &pin(gone, true)).unwrap();
        let (_, first) = chat.delete(asker(1), gone).unwrap();
        assert!(first.deleted && !first.pinned && first.text.is_empty());
        let (_, again) = chat.delete(asker(HOST), gone).unwrap();
        assert_eq!(first, again);
        assert_eq!(latest(&chat, 2, None), [1, 2]);
        assert_eq!(chat.pinned, 0);
        assert_eq!(code(chat.edit(asker(1), &edit(gone, "x"), 2)), ErrorCode::Conflict);
        assert_eq!(code(chat.pin(asker(HOST), &pin(gone, true))), ErrorCode::Conflict);
        assert!(!chat.pin(asker(HOST), &pin(gone, false)).unwrap().1.pinned);
    }

    #[test]
    fn hosts_pin_a_bounded_number_of_public_messages() {
        let mut chat = Chat::default();
        let private = send(&mut chat, HOST, Some(1), "p");
        assert_eq!(code(chat.pin(asker(HOST), &pin(private, true))), ErrorCode::InvalidRequest);
        let public: Vec<_> = (0..=MAX_PINNED).map(|_| send(&mut chat, 1, None, "m")).collect();
        assert_eq!(code(chat.pin(asker(1), &pin(public[0], true))), ErrorCode::Forbidden);
        for message_id in &public[..MAX_PINNED] {
            let (audience, pinned) = chat.pin(asker(HOST), &pin(*message_id, true)).unwrap();
            assert!(audience == Audience::Everybody && pinned.pinned);
        }
        let last = public[MAX_PINNED];
        assert_eq!(code(chat.pin(asker(HOST), &pin(last, true))), ErrorCode::CapacityExceeded);
        chat.pin(asker(HOST), &pin(public[0], true)).expect("it is pinned already");
        chat.pin(asker(HOST), &pin(public[1], false)).unwrap();
        chat.pin(asker(HOST), &pin(public[1], false)).expect("it is unpinned already");
        chat.pin(asker(HOST), &pin(last, true)).unwrap();
        let request = pb::FetchChatHistory { limit: 200, pinned_only: true, ..Default::default() };
        let history = chat.history(id(1), None, &request);
        let expected: Vec<_> = public.iter().copied().filter(|id| *id != public[1]).collect();
        assert_eq!((ids(&history), history.has_more), (expected, false));
    }

    #[test]
    fn the_oldest_unpinned_messages_go_first() {
        let mut chat = Chat::default();
        for _ in 0..MAX_MESSAGES {
            send(&mut chat, 1, None, "m");
        }
        chat.pin(asker(HOST), &pin(1, true)).unwrap();
        assert_eq!(send(&mut chat, 1, None, "m"), MAX_MESSAGES as u64 + 1);
        assert_eq!(chat.messages.len(), MAX_MESSAGES);
        let kept: Vec<u64> = chat.messages.keys().copied().take(2).collect();
        assert_eq!(kept, [1, 3]);
        assert_eq!(code(chat.delete(asker(1), 2)), ErrorCode::NotFound);

        // Long ones take the place of many short ones.
        for _ in 0..MAX_TEXT_BYTES / (MAX_TEXT_CHARS * 4) {
            send(&mut chat, 1, None, &text(MAX_TEXT_CHARS));
        }
        assert_eq!(chat.messages.len(), MAX_MESSAGES);
        while chat.messages.len() == MAX_MESSAGES {
            send(&mut chat, 1, None, &text(MAX_TEXT_CHARS));
            assert!(chat.text_bytes <= MAX_TEXT_BYTES);
        }
        assert!(chat.messages.contains_key(&1));
    }

    #[test]
    fn an_edit_does_not_drop_the_message_that_it_is_of() {
        let mut chat = Chat::default();
        let oldest = send(&mut chat, 1, None, "m");
        for _ in 0..MAX_TEXT_BYTES / (MAX_TEXT_CHARS * 4) {
            send(&mut chat, 2, None, &text(MAX_TEXT_CHARS));
        }
        chat.edit(asker(1), &edit(oldest, &text(MAX_TEXT_CHARS)), 2).unwrap();
        assert!(chat.text_bytes <= MAX_TEXT_BYTES);
        assert!(chat.messages.contains_key(&oldest) && !chat.messages.contains_key(&(oldest + 1)));
    }

    #[test]
    fn history_is_paged_through_without_gaps() {
        let mut chat = Chat::default();
        for _ in 0..250 {
            send(&mut chat, 1, None, "m");
        }
        assert_eq!(latest(&chat, 2, None), (201..=250).collect::<Vec<u64>>());
        let request = pb::FetchChatHistory { limit: 1_000, ..Default::default() };
        let history = chat.history(id(2), None, &request);
        assert_eq!((ids(&history), history.has_more), ((51..=250).collect::<Vec<u64>>(), true));
        let request = pb::FetchChatHistory { before_message_id: 51, limit: 50, ..Default::default() };
        let history = chat.history(id(2), None, &request);
        assert_eq!((ids(&history), history.has_more), ((1..=50).collect::<Vec<u64>>(), false));
        let request = pb::FetchChatHistory { before_message_id: 1, ..Default::default() };
        assert_eq!(chat.history(id(2), None, &request), pb::ChatHistory::default());
    }

    #[test]
    fn history_fits_into_a_protocol_message() {
        let mut chat = Chat::default();
        for _ in 0..7 {
            send(&mut chat, 1, None, &text(MAX_TEXT_CHARS));
        }
        let (mut before_message_id, mut pages) = (0, Vec::new());
        loop {
            let request = pb::FetchChatHistory { before_message_id, ..Default::default() };
            let history = chat.history(id(2), None, &request);
            assert!(history.encoded_len() <= MAX_HISTORY_BYTES);
            before_message_id = history.messages[0].message_id;
            pages.push(ids(&history));
            if !history.has_more {
                break;
            }
        }
        assert_eq!(pages, [vec![5, 6, 7], vec![2, 3, 4], vec![1]]);
    }

    #[test]
    fn broadcast_messages_are_bounded() {
        let request = |r#type: &str, payload: usize, recipients: usize| pb::BroadcastMessage {
            r#type: r#type.to_owned(),
            payload: vec![0_u8; payload].into(),
            to_participant_ids: vec![id(1).to_string(); recipients],
        };
        check_broadcast(&request("poll.vote", 0, 0)).unwrap();
        check_broadcast(&request(&text(64), 8 * 1024, 100)).unwrap();
        let cases = [
            (request("", 0, 0), "type"),
            (request(&text(65), 0, 0), "type"),
            (request("a\nb", 0, 0), "type"),
            (request("a", 8 * 1024 + 1, 0), "payload"),
            (request("a", 0, 101), "to_participant_ids"),
        ];
        for (wrong, field) in cases {
            let refusal = check_broadcast(&wrong).unwrap_err();
            assert_eq!((refusal.code, refusal.field), (ErrorCode::InvalidRequest, Some(field)));
        }
    }

    /// What one of three participants does. Messages are named by their distance from one that is yet to
    /// come.
    #[derive(Debug, Clone)]
    enum Step {
        Send { by: u8, to: Option<u8>, chars: usize },
        Edit { by: u8, back: u64, chars: usize },
        Delete { by: u8, back: u64 },
        Pin { by: u8, back: u64, pinned: bool },
        Read { by: u8, with: Option<u8>, back: Option<u64>, limit: u32, pinned_only: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        let chars = || prop_oneof![Just(0_usize), 1..4_usize, Just(MAX_TEXT_CHARS)];
        let other = || prop::option::of(0..3_u8);
        let back = || prop_oneof![3 => 0..10_u64, 1 => 0..90_u64];
        prop_oneof![
            4 => (0..3_u8, other(), chars()).prop_map(|(by, to, chars)| Step::Send { by, to, chars }),
            2 => (0..3_u8, back(), chars()).prop_map(|(by, back, chars)| Step::Edit { by, back, chars }),
            2 => (0..3_u8, back()).prop_map(|(by, back)| Step::Delete { by, back }),
            3 => (0..3_u8, back(), any::<bool>())
                .prop_map(|(by, back, pinned)| Step::Pin { by, back, pinned }),
            3 => (0..3_u8, other(), prop::option::of(back()), 0..12_u32, any::<bool>()).prop_map(
                |(by, with, back, limit, pinned_only)| Step::Read { by, with, back, limit, pinned_only }
            ),
        ]
    }

    /// The same chat, as a plain list.
    #[derive(Default)]
    struct Model {
        kept: Vec<pb::ChatMessage>,
        last_id: u64,
    }

    fn is_for(message: &pb::ChatMessage, reader: u8) -> bool {
        let reader = id(reader).to_string();
        message.to_participant_id.is_empty()
            || message.to_participant_id == reader
            || message.participant_id == reader
    }

    impl Model {
        fn named(&self, back: u64) -> u64 {
            (self.last_id + 2).saturating_sub(back)
        }

        fn text_bytes(&self) -> usize {
            self.kept.iter().map(|message| message.text.len()).sum()
        }

        fn pinned(&self) -> usize {
            self.kept.iter().filter(|message| message.pinned).count()
        }

        fn find(&mut self, by: u8, message_id: u64) -> Result<&mut pb::ChatMessage, ErrorCode> {
            let found = self.kept.iter_mut().find(|message| message.message_id == message_id);
            found.filter(|message| is_for(message, by)).ok_or(ErrorCode::NotFound)
        }

        fn drop_oldest(&mut self, except: u64) {
            while self.kept.len() > MAX_MESSAGES || self.text_bytes() > MAX_TEXT_BYTES {
                let may_go = |message: &pb::ChatMessage| !message.pinned && message.message_id != except;
                let oldest = self.kept.iter().position(may_go).unwrap();
                self.kept.remove(oldest);
            }
        }

        fn send(
            &mut self,
            by: u8,
            to: Option<u8>,
            text: String,
            now_us: u64,
        ) -> Result<pb::ChatMessage, ErrorCode> {
            if text.is_empty() || to == Some(by) {
                return Err(ErrorCode::InvalidRequest);
            }
            self.last_id += 1;
            let message = pb::ChatMessage {
                message_id: self.last_id,
                participant_id: id(by).to_string(),
                name: "Ada".to_owned(),
                text,
                to_participant_id: to.map(|to| id(to).to_string()).unwrap_or_default(),
                sent_at: now_us,
                ..pb::ChatMessage::default()
            };
            self.kept.push(message.clone());
            self.drop_oldest(self.last_id);
            Ok(message)
        }

        fn edit(
            &mut self,
            by: u8,
            message_id: u64,
            text: String,
            now_us: u64,
        ) -> Result<pb::ChatMessage, ErrorCode> {
            let message = self.find(by, message_id)?;
            if message.participant_id != id(by).to_string() {
                return Err(ErrorCode::Forbidden);
            } else if message.deleted {
                return Err(ErrorCode::Conflict);
            } else if text.is_empty() {
                return Err(ErrorCode::InvalidRequest);
            } else if message.text != text {
                (message.text, message.edited_at) = (text, now_us);
            }
            let edited = message.clone();
            self.drop_oldest(message_id);
            Ok(edited)
        }

        fn delete(&mut self, by: u8, message_id: u64) -> Result<pb::ChatMessage, ErrorCode> {
            let message = self.find(by, message_id)?;
            let is_own = message.participant_id == id(by).to_string();
            if !is_own && (by != HOST || !message.to_participant_id.is_empty()) {
                return Err(ErrorCode::Forbidden);
            }
            (message.text, message.pinned, message.deleted) = (String::new(), false, true);
            Ok(message.clone())
        }

        fn pin(&mut self, by: u8, message_id: u64, pinned: bool) -> Result<pb::ChatMessage, ErrorCode> {
            if by != HOST {
                return Err(ErrorCode::Forbidden);
            }
            let already = self.pinned();
            let message = self.find(by, message_id)?;
            if !message.to_participant_id.is_empty() {
                return Err(ErrorCode::InvalidRequest);
            } else if pinned && message.deleted {
                return Err(ErrorCode::Conflict);
            } else if pinned && !message.pinned && already >= MAX_PINNED {
                return Err(ErrorCode::CapacityExceeded);
            }
            message.pinned = pinned;
            Ok(message.clone())
        }

        /// Everything that a request is about, without any bound.
        fn matching(
            &self,
            by: u8,
            with: Option<u8>,
            request: &pb::FetchChatHistory,
        ) -> Vec<&pb::ChatMessage> {
            let before = if request.before_message_id == 0 { u64::MAX } else { request.before_message_id };
            let is_meant = |message: &pb::ChatMessage| match with {
                None => message.to_participant_id.is_empty(),
                // Nobody writes to itself.
                Some(with) => {
                    let is_private = !message.to_participant_id.is_empty();
                    is_private && with != by && is_for(message, by) && is_for(message, with)
                }
            };
            let pinned = self.kept.iter().filter(|message| message.pinned || !request.pinned_only);
            pinned.filter(|message| message.message_id < before && is_meant(message)).collect()
        }
    }

    /// The answer to a request is the end of everything that matches, as much of it as fits.
    fn check_history(
        chat: &Chat,
        model: &Model,
        by: u8,
        with: Option<u8>,
        request: &pb::FetchChatHistory,
    ) -> Result<pb::ChatHistory, TestCaseError> {
        let history = chat.history(id(by), with.map(id), request);
        let limit = if request.limit == 0 { DEFAULT_HISTORY } else { request.limit as usize };
        let len = history.messages.len();
        prop_assert!(len <= limit);
        prop_assert!(history.encoded_len() <= MAX_HISTORY_BYTES);
        prop_assert!(history.messages.iter().all(|message| is_for(message, by)), "others' business");
        let matching = model.matching(by, with, request);
        prop_assert!(len <= matching.len());
        let (earlier, expected) = matching.split_at(matching.len() - len);
        prop_assert!(history.messages.iter().eq(expected.iter().copied()));
        prop_assert_eq!(history.has_more, !earlier.is_empty());
        if let Some(next) = earlier.last().filter(|_| len < limit) {
            let mut longer = history.clone();
            longer.messages.push((*next).clone());
            prop_assert!(longer.encoded_len() > MAX_HISTORY_BYTES, "one more would have fitted");
        }
        Ok(history)
    }

    /// Whom a change is told is whom the message is for.
    fn without_audience(
        result: Result<(Audience, pb::ChatMessage), Refusal>,
    ) -> Result<pb::ChatMessage, ErrorCode> {
        let (audience, message) = result.map_err(|refusal| refusal.code)?;
        let told: Vec<u8> = match audience {
            Audience::Everybody => (0..3).collect(),
            Audience::Between(one, other) => (0..3).filter(|who| [one, other].contains(&id(*who))).collect(),
        };
        assert_eq!(told, (0..3).filter(|who| is_for(&message, *who)).collect::<Vec<_>>());
        Ok(message)
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_as_in_a_plain_list_and_nobody_reads_what_is_not_for_them(
            // Some begin near the bound of what is kept.
            begun in prop_oneof![Just(0_usize), 60..70_usize],
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let (mut chat, mut model) = (Chat::default(), Model::default());
            let begin = (0..begun).map(|_| Step::Send { by: 1, to: None, chars: MAX_TEXT_CHARS });
            for (step, now_us) in begin.chain(steps).zip(1_u64..) {
                let last_id = model.last_id;
                match step {
                    Step::Send { by, to, chars } => {
                        let sent = chat.send(asker(by), to.map(id), &text(chars), now_us);
                        let sent = sent.map_err(|refusal| refusal.code);
                        prop_assert!(sent.as_ref().ok().is_none_or(|message| message.message_id > last_id));
                        prop_assert_eq!(sent, model.send(by, to, text(chars), now_us));
                    }
                    Step::Edit { by, back, chars } => {
                        let message_id = model.named(back);
                        let edited = chat.edit(asker(by), &edit(message_id, &text(chars)), now_us);
                        let expected = model.edit(by, message_id, text(chars), now_us);
                        prop_assert_eq!(without_audience(edited), expected);
                    }
                    Step::Delete { by, back } => {
                        let message_id = model.named(back);
                        let deleted = chat.delete(asker(by), message_id);
                        prop_assert_eq!(without_audience(deleted), model.delete(by, message_id));
                    }
                    Step::Pin { by, back, pinned } => {
                        let message_id = model.named(back);
                        let changed = chat.pin(asker(by), &pin(message_id, pinned));
                        prop_assert_eq!(without_audience(changed), model.pin(by, message_id, pinned));
                    }
                    Step::Read { by, with, back, limit, pinned_only } => {
                        let before_message_id = back.map_or(0, |back| model.named(back));
                        let request = pb::FetchChatHistory {
                            before_message_id,
                            limit,
                            pinned_only,
                            ..Default::default()
                        };
                        check_history(&chat, &model, by, with, &request)?;
                    }
                }
                prop_assert!(chat.messages.len() <= MAX_MESSAGES);
                prop_assert!(chat.text_bytes <= MAX_TEXT_BYTES);
                prop_assert!(chat.pinned <= MAX_PINNED);
                let bounds = (chat.messages.len(), chat.text_bytes, chat.pinned);
                prop_assert_eq!(bounds, (model.kept.len(), model.text_bytes(), model.pinned()));
            }
            // In the end everybody pages through everything, and has all of it.
            for by in 0..3 {
                for with in [None, Some(0), Some(1), Some(2)] {
                    let mut request = pb::FetchChatHistory::default();
                    let everything = model.matching(by, with, &request);
                    let mut read: Vec<pb::ChatMessage> = Vec::new();
                    loop {
                        let history = check_history(&chat, &model, by, with, &request)?;
                        let first = history.messages.first();
                        request.before_message_id = first.map_or(0, |first| first.message_id);
                        read.splice(..0, history.messages);
                        if !history.has_more {
                            break;
                        }
                    }
                    prop_assert!(read.iter().eq(everything));
                }
            }
        }
    }
}
