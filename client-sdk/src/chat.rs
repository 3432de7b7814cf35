//! Chat, and messages between applications.

use bytes::Bytes;
use darktower_protocol::ParticipantId;
use darktower_protocol::signaling::pb;
use pb::envelope::Message;

use crate::error::Error;
use crate::meeting::Meeting;

/// Which messages of the chat to fetch. Default: the latest to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChatQuery {
    /// Messages before the one of this id; `None` = the latest.
    pub before: Option<u64>,
    /// At most this many; 0 = 50. The server gives at most 200.
    pub limit: u32,
    /// `None` = messages to everybody, else those between this participant and oneself.
    pub with: Option<ParticipantId>,
    /// Only messages that are pinned.
    pub pinned_only: bool,
}

/// Chat. New messages come as [`Event::ChatMessage`](crate::Event::ChatMessage), changed ones as
/// [`Event::ChatMessageUpdated`](crate::Event::ChatMessageUpdated). Text is text: whoever shows it
/// must not trust markup in it.
impl Meeting {
    /// Writes to everybody, at most 4,000 characters. Returns the id of the message.
    ///
    /// ```no_run
    /// # async fn example(meeting: darktower_client::Meeting) -> Result<(), darktower_client::Error> {
    /// use darktower_client::ChatQuery;
    ///
    /// let id = meeting.send_chat("Lunch is here.").await?;
    /// meeting.pin_chat(id, true).await?;
    /// for message in meeting.chat_history(ChatQuery::default()).await?.messages {
    ///     println!("{}: {}", message.name, message.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn send_chat(&self, text: impl Into<String>) -> Result<u64, Error> {
        self.write_chat(text.into(), String::new()).await
    }

    /// Writes to one participant alone, at most 4,000 characters. Returns the id of the message.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn send_private_chat(&self, to: ParticipantId, text: impl Into<String>) -> Result<u64, Error> {
        self.write_chat(text.into(), to.to_string()).await
    }

    async fn write_chat(&self, text: String, to_participant_id: String) -> Result<u64, Error> {
        let request = Message::SendChatMessage(pb::SendChatMessage { text, to_participant_id });
        Ok(self.session().reach().command(request).await?.message_id)
    }

    /// Changes the text of a message of one's own.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn edit_chat(&self, message_id: u64, text: impl Into<String>) -> Result<(), Error> {
        let request = pb::EditChatMessage { message_id, text: text.into() };
        self.control(Message::EditChatMessage(request)).await
    }

    /// Deletes a message: one's own, or as a host anybody's.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn delete_chat(&self, message_id: u64) -> Result<(), Error> {
        self.control(Message::DeleteChatMessage(pb::DeleteChatMessage { message_id })).await
    }

    /// Pins a message to everybody, as a host, or unpins it.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn pin_chat(&self, message_id: u64, pinned: bool) -> Result<(), Error> {
        self.control(Message::PinChatMessage(pb::PinChatMessage { message_id, pinned })).await
    }

    /// Fetches what was written, also before this session joined. For still earlier messages ask
    /// again with [`before`](ChatQuery::before) set to the id of the first.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn chat_history(&self, query: ChatQuery) -> Result<pb::ChatHistory, Error> {
        let request = Message::FetchChatHistory(pb::FetchChatHistory {
            before_message_id: query.before.unwrap_or_default(),
            limit: query.limit,
            with_participant_id: query.with.map_or_else(String::new, |id| id.to_string()),
            pinned_only: query.pinned_only,
        });
        match self.session().reach().request(request).await? {
            Message::ChatHistory(history) => Ok(history),
            _ => Err(Error::Protocol("the answer to FetchChatHistory is no ChatHistory".to_owned())),
        }
    }
}

/// Messages between applications, which the server does not look into. They come as
/// [`Event::Broadcast`](crate::Event::Broadcast) and are not kept.
impl Meeting {
    /// Sends a message to some participants; to nobody in particular = to everybody else.
    ///
    /// `message_type` is 1 to 64 printable characters, such as `reaction` or `poll.vote`; `payload`
    /// has at most 8 KiB.
    ///
    /// # Errors
    /// [`Error::Refused`] by the server, else what ended the session.
    pub async fn broadcast(
        &self,
        message_type: impl Into<String>,
        payload: impl Into<Bytes>,
        to: &[ParticipantId],
    ) -> Result<(), Error> {
        let request = pb::BroadcastMessage {
            r#type: message_type.into(),
            payload: payload.into(),
            to_participant_ids: to.iter().map(ToString::to_string).collect(),
        };
        self.control(Message::BroadcastMessage(request)).await
    }
}
