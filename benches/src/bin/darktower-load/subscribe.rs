//! The receiving tasks of one subscriber.

use std::sync::Arc;

use darktower_client::Code;
use darktower_protocol::group::GroupPreamble;
use tokio::task::AbortHandle;

use crate::media::{Media, ReadEnd, Receiving};
use crate::receive::{Damaged, Receiver, UnitReader};
use crate::tally::lock;

/// Starts to read everything that comes on `connection`, on the current runtime. The tasks end with the connection.
pub(crate) fn start(connection: &Media, receiver: &Arc<Receiver>, group_streams: bool) -> [AbortHandle; 2] {
    let (streams, datagrams) = (connection.clone(), connection.clone());
    let (of_streams, of_datagrams) = (Arc::clone(receiver), Arc::clone(receiver));
    let streams = tokio::spawn(async move {
        while let Ok(recv) = streams.accept_uni().await {
            tokio::spawn(read_stream(recv, Arc::clone(&of_streams), group_streams));
        }
    });
    let datagrams = tokio::spawn(async move {
        let mut reader = UnitReader::of_datagrams();
        while let Ok(datagram) = datagrams.read_datagram().await {
            if reader.push(&datagram, &of_datagrams) == Err(Damaged) {
                reader = UnitReader::of_datagrams();
            }
            reader.end(&of_datagrams);
        }
    });
    [streams.abort_handle(), datagrams.abort_handle()]
}

async fn read_stream(mut recv: Receiving, receiver: Arc<Receiver>, group_stream: bool) {
    let mut reader = UnitReader::of_stream();
    let mut group = None;
    let mut head = Vec::new();
    loop {
        let chunk = match recv.read_chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return reader.end(&receiver),
            Err(ReadEnd::Reset(Code::DROPPED_GROUP)) => {
                if let Some(preamble) = &group {
                    dropped(preamble, &reader, &receiver);
                }
                return;
            }
            // Another reset, or the connection's end: what is missing is missing.
            Err(_) => return,
        };
        let mut units: &[u8] = &chunk;
        if group_stream && group.is_none() {
            let had = head.len();
            head.extend_from_slice(&chunk);
            match GroupPreamble::decode(&head) {
                Ok(None) => continue,
                Ok(Some((preamble, len))) => {
                    units = &chunk[len - had..];
                    let Some(stream) = receiver.streams.get(&preamble.stream_id) else {
                        recv.stop(Code::NOT_SUBSCRIBED);
                        return receiver.mismatch();
                    };
                    lock(&stream.arrivals).group_opened(preamble.first_sequence, preamble.discontinuity);
                    group = Some(preamble);
                    head = Vec::new();
                }
                Err(error) => {
                    recv.stop(error.code());
                    return receiver.mismatch();
                }
            }
        }
        if reader.push(units, &receiver) == Err(Damaged) {
            return recv.stop(Code::MALFORMED_UNIT);
        }
    }
}

/// The server gave up on the rest of a group.
fn dropped(group: &GroupPreamble, reader: &UnitReader, receiver: &Receiver) {
    let Some(stream) = receiver.streams.get(&group.stream_id) else { return };
    let next = reader.next_sequence().max(group.first_sequence);
    // The group's key frame is the unit before `next` or earlier, or `next` itself.
    let end = stream.ledger.next_key_frame(next);
    lock(&stream.arrivals).group_dropped(next..end);
}
