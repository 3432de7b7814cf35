//! The two sessions of a participant as they are at the moment: each can be lost and be begun again.

use std::sync::Arc;

use darktower_protocol::signaling::pb;
use pb::envelope::Message;
use tokio::sync::watch;

use crate::error::Error;
use crate::media::MediaSession;
use crate::signaling::{ANSWER_TIMEOUT, SignalingClient};

/// A session, or the last one that there was.
#[derive(Debug, Clone)]
pub(crate) struct Way<T> {
    pub(crate) session: T,
    /// Another whenever the session, or the path to it, is another.
    pub(crate) number: u64,
    pub(crate) state: State,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Open,
    /// Nothing is heard of it; a new one is being made.
    Broken,
    Over(Error),
}

impl<T> Way<T> {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }
}

/// See the [module documentation](self). The task that follows the meeting changes it.
#[derive(Debug)]
pub(crate) struct Reach {
    signaling: watch::Sender<Way<SignalingClient>>,
    media: watch::Sender<Way<Arc<MediaSession>>>,
}

impl Reach {
    pub(crate) fn new(signaling: SignalingClient, media: Arc<MediaSession>) -> Self {
        Self {
            signaling: watch::Sender::new(Way { session: signaling, number: 1, state: State::Open }),
            media: watch::Sender::new(Way { session: media, number: 1, state: State::Open }),
        }
    }

    pub(crate) fn signaling(&self) -> Way<SignalingClient> {
        self.signaling.borrow().clone()
    }

    pub(crate) fn media(&self) -> Way<Arc<MediaSession>> {
        self.media.borrow().clone()
    }

    /// Ends when the media session is not this one any more, or is broken or over.
    pub(crate) async fn media_changes(&self, number: u64) {
        let mut media = self.media.subscribe();
        // The sender lives as long as this.
        let _ = media.wait_for(|way| way.number != number || !way.is_open()).await;
    }

    /// Sends a request as soon as the signaling session is open, and waits for its answer.
    ///
    /// # Errors
    /// As [`SignalingClient::request`], and [`Error::Interrupted`] if the session was lost meanwhile and goes on with another.
    pub(crate) async fn request(&self, request: Message) -> Result<Message, Error> {
        let mut ways = self.signaling.subscribe();
        let opens = ways.wait_for(|way| !matches!(way.state, State::Broken));
        let late = || Error::Timeout("the connection to the server is lost");
        let way = match tokio::time::timeout(ANSWER_TIMEOUT, opens).await {
            Ok(Ok(way)) => way.clone(),
            _ => return Err(late()),
        };
        if let State::Over(error) = way.state {
            return Err(error);
        }
        let answer = way.session.request(request).await;
        match answer {
            Err(error) if way.session.close_reason().is_some() => {
                // It is decided now whether there will be another.
                let decided = ways.wait_for(|now| now.number != way.number || !now.is_open());
                match tokio::time::timeout(ANSWER_TIMEOUT, decided).await {
                    Ok(Ok(now)) if !matches!(now.state, State::Over(_)) => Err(Error::Interrupted),
                    _ => Err(error),
                }
            }
            answer => answer,
        }
    }

    /// As [`request`](Self::request), for requests that are answered by an [`pb::Ack`].
    pub(crate) async fn command(&self, request: Message) -> Result<pb::Ack, Error> {
        match self.request(request).await? {
            Message::Ack(ack) => Ok(ack),
            _ => Err(Error::Protocol("the answer to a request is no Ack".to_owned())),
        }
    }

    pub(crate) fn signaling_opened(&self, session: Option<SignalingClient>) {
        self.signaling.send_modify(|way| open(way, session));
    }

    pub(crate) fn signaling_broken(&self) {
        self.signaling.send_modify(|way| way.state = State::Broken);
    }

    pub(crate) fn media_opened(&self, session: Option<Arc<MediaSession>>) {
        self.media.send_modify(|way| open(way, session));
    }

    pub(crate) fn media_broken(&self) {
        self.media.send_modify(|way| way.state = State::Broken);
    }

    /// Nothing follows.
    pub(crate) fn over(&self, error: &Error) {
        self.signaling.send_modify(|way| way.state = State::Over(error.clone()));
        self.media.send_modify(|way| way.state = State::Over(error.clone()));
    }
}

/// With another session, or again with the one that was broken.
fn open<T>(way: &mut Way<T>, session: Option<T>) {
    if let Some(session) = session {
        way.session = session;
    }
    way.number += 1;
    way.state = State::Open;
}
