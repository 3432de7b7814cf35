//! Events on their way to applications.

use std::sync::Mutex;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::media::lock;
use crate::session::event::Event;

/// Events that wait for one reader.
const MAX_WAITING: usize = 1024;

/// The events of a meeting from the call of [`Meeting::events`](crate::Meeting::events) on.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    /// The last event, if it had come before this reader.
    last: Option<Event>,
}

impl Events {
    /// The next event; `None` after [`Event::Closed`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Lagged(missed)),
            Err(RecvError::Closed) => self.last.take(),
        }
    }
}

/// Gives events to all readers. Never waits.
#[derive(Debug)]
pub(crate) struct EventSender(Mutex<State>);

#[derive(Debug)]
enum State {
    Open(broadcast::Sender<Event>),
    Closed(Event),
}

impl Default for EventSender {
    fn default() -> Self {
        Self(Mutex::new(State::Open(broadcast::Sender::new(MAX_WAITING))))
    }
}

impl EventSender {
    pub(crate) fn subscribe(&self) -> Events {
        match &*lock(&self.0) {
            State::Open(sender) => Events { receiver: sender.subscribe(), last: None },
            State::Closed(last) => {
                let (_, receiver) = broadcast::channel(1);
                Events { receiver, last: Some(last.clone()) }
            }
        }
    }

    pub(crate) fn send(&self, event: Event) {
        if let State::Open(sender) = &*lock(&self.0) {
            // The only error is that nobody listens.
            let _ = sender.send(event);
        }
    }

    /// Sends the last event.
    pub(crate) fn close(&self, last: Event) {
        self.send(last.clone());
        *lock(&self.0) = State::Closed(last);
    }
}

#[cfg(test)]
mod tests {
    use darktower_protocol::Code;

    use super::*;

    fn closed() -> Event {
        Event::Closed { code: Code::NO_ERROR, message: String::new() }
    }

    #[tokio::test]
    async fn everybody_gets_the_end_and_nothing_after() {
        let sender = EventSender::default();
        let mut early = sender.subscribe();
        sender.close(closed());
        let mut late = sender.subscribe();
        sender.send(Event::Lagged(9));
        for events in [&mut early, &mut late] {
            assert_eq!(events.next().await, Some(closed()));
            assert_eq!(events.next().await, None);
        }
    }

    #[tokio::test]
    async fn slow_readers_learn_how_much_they_missed() {
        let sender = EventSender::default();
        let mut events = sender.subscribe();
        for _ in 0..MAX_WAITING + 5 {
            sender.send(closed());
        }
        assert_eq!(events.next().await, Some(Event::Lagged(5)));
        assert_eq!(events.next().await, Some(closed()));
    }
}
