//! A participant that welcomes each newcomer in the chat:
//!
//! ```sh
//! cargo run --example announcer -- http://127.0.0.1:8080 http://127.0.0.1:8080/m/NAME
//! ```

use anyhow::bail;
use darktower_client::api::Api;
use darktower_client::{ChatMessage, Error, Event, JoinOptions, Meeting, Participant, Trust};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(meeting)) = (args.next(), args.next()) else {
        bail!("usage: announcer API_URL MEETING");
    };
    let api = Api::new(&url, Trust::System)?;
    let info = api.meeting(&meeting).await?;
    let grant = api.join_grant(info.meeting_id, "Announcer").await?;
    let waiting = |meeting: &str| println!("waiting to be let into {meeting:?}");
    let meeting = Meeting::join(&grant, JoinOptions::default().on_waiting(waiting)).await?;
    if !meeting.rights().chat_public {
        println!("this participant may not write to everybody");
    }

    let mut events = meeting.events();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => break,
        };
        match event {
            Some(Event::ParticipantJoined(newcomer)) => welcome(&meeting, &newcomer).await?,
            Some(Event::ChatMessage(message)) => show(&meeting, &message),
            Some(Event::RightsChanged(rights)) => println!("now with the preset {:?}", rights.preset),
            Some(Event::MeetingEnded { reason }) => println!("the meeting is over: {reason}"),
            Some(Event::Closed { .. }) | None => return Ok(()),
            Some(_) => {}
        }
    }
    meeting.leave().await?;
    Ok(())
}

async fn welcome(meeting: &Meeting, newcomer: &Participant) -> anyhow::Result<()> {
    let others = meeting.participants().len();
    let text = format!("Welcome, {}! There are {others} people here beside me.", newcomer.name);
    match meeting.send_chat(text).await {
        Ok(message_id) => println!("welcomed {:?} with message {message_id}", newcomer.name),
        // Without the right to write, or too fast: no reason to leave.
        Err(Error::Refused { message, .. }) => println!("cannot welcome {:?}: {message}", newcomer.name),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn show(meeting: &Meeting, message: &ChatMessage) {
    if message.participant_id != meeting.participant_id().to_string() {
        println!("{:?} wrote: {:?}", message.name, message.text);
    }
}
