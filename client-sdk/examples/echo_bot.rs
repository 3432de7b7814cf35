//! A participant that says back what the first microphone says:
//!
//! ```sh
//! cargo run --example echo_bot -- http://127.0.0.1:8080 http://127.0.0.1:8080/m/NAME
//! ```
//!
//! Frames are sent on as they came: nothing is decoded or encoded.

use std::collections::HashSet;

use anyhow::bail;
use darktower_client::api::Api;
use darktower_client::{
    JoinOptions, Meeting, OutgoingFrame, PublishOptions, StreamDescription, StreamType, SubscribeOptions,
    Trust,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(meeting)) = (args.next(), args.next()) else {
        bail!("usage: echo_bot API_URL MEETING");
    };
    let api = Api::new(&url, Trust::System)?;
    let info = api.meeting(&meeting).await?;
    let grant = api.join_grant(info.meeting_id, "Echo").await?;
    let meeting = Meeting::join(&grant, JoinOptions::default()).await?;
    let outcome = tokio::select! {
        outcome = echo(&meeting) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    // Fails if the session has ended already.
    let _ = meeting.leave().await;
    outcome
}

/// One microphone after the other, until the session ends.
async fn echo(meeting: &Meeting) -> anyhow::Result<()> {
    // First the events, then the participants: nobody is missed in between.
    let mut events = meeting.events();
    let mut echoed = HashSet::new();
    loop {
        let mut streams = meeting.participants().into_iter().flat_map(|participant| participant.streams);
        let next = streams.find(|stream| stream.is_audio() && echoed.insert(stream.stream_id));
        if let Some(stream) = next {
            echo_stream(meeting, &stream).await?;
        } else if events.next().await.is_none() {
            return Ok(());
        }
    }
}

/// Until the stream ends.
async fn echo_stream(meeting: &Meeting, stream: &StreamDescription) -> anyhow::Result<()> {
    println!("listening to {}", stream.stream_id);
    let mut subscriber = meeting.subscribe(stream.stream_id, SubscribeOptions::default()).await?;
    let options =
        PublishOptions { stream_id: None, stream_type: StreamType::Audio, metadata: stream.metadata.clone() };
    let mut publisher = meeting.publish(options).await?;
    while let Some(frame) = subscriber.next_frame().await? {
        let frame = OutgoingFrame {
            frame_type: frame.frame_type,
            timestamp_us: frame.timestamp_us,
            discardable: frame.discardable,
            payload: frame.payload,
        };
        publisher.send(frame).await?;
    }
    publisher.finish().await?;
    Ok(())
}
