//! `darktower-client host`: one control of a host, then gone.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use darktower_client::{Meeting, NetworkGrade, Participant, ParticipantId, Role, StreamType};
use serde_json::{Value, json};

use crate::connection::{self, Target, WithoutMeeting};
use crate::stop::Stop;
use crate::table::{Align, Screen, Table, printable};

const EXAMPLES: &str = "\
Examples:
  darktower-client host list --meeting ADDRESS
      who is here, and who waits to be let in
  darktower-client host mute Ada --kind camera --meeting ADDRESS
      turns the camera of Ada off
  darktower-client host admit --all --meeting ADDRESS
      lets everybody in who waits
  darktower-client host stage invite Ada --meeting ADDRESS
      asks Ada to come on the stage
  darktower-client host say \"Five minutes left\" --meeting ADDRESS
      writes to the chat

A participant is given by its id, or by its name if nobody else has that name.
The API must allow a host's token (see --api-token), or --token must be one.";

/// How long the server may take to say who waits.
const WAITING_ROOM_LIMIT: Duration = Duration::from_millis(700);
/// Candidates that an error names.
const MAX_CANDIDATES: usize = 20;
/// Characters of a name in messages.
const MAX_NAME: usize = 40;

/// Run one control of a host: remove, mute, admit, lock, end and more
///
/// Joins the meeting as a host, carries out the one thing it was asked for, says what it did, and leaves.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    control: Control,
}

#[derive(Debug, clap::Subcommand)]
enum Control {
    /// Remove somebody, whose tokens are void from then on, or everybody but hosts
    Kick(On<Whom>),
    /// Turn somebody's microphone, camera or screen off, or everybody's but hosts'
    Mute(On<Mute>),
    /// Let nobody but hosts in from now on
    Lock(connection::Args),
    /// Let others than hosts in again
    Unlock(connection::Args),
    /// End the meeting for everybody
    End(connection::Args),
    /// Let somebody in who waits
    Admit(On<Whom>),
    /// Turn somebody away who waits
    Reject(On<Whom>),
    /// Give somebody another preset, and with it other rights
    Preset(On<Preset>),
    /// Give somebody another name
    Rename(On<Rename>),
    /// Show somebody large to everybody
    Spotlight(On<Spotlight>),
    /// Decide who is on the stage
    Stage(On<Stage>),
    /// Lower somebody's raised hand
    LowerHand(On<Whom>),
    /// Write to the chat
    Say(On<Say>),
    /// Print who is here, and who waits to be let in
    List(On<List>),
}

// What to do, and in which meeting.
#[derive(Debug, clap::Args)]
struct On<C: clap::Args> {
    #[command(flatten)]
    what: C,
    #[command(flatten)]
    connection: connection::Args,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Id or name
    #[arg(value_name = "PARTICIPANT")]
    participant: Option<String>,
    /// Everybody
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Mute {
    #[command(flatten)]
    whom: Whom,
    /// What to turn off
    #[arg(long, value_enum, default_value_t = Kind::Audio)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Audio,
    Camera,
    Screen,
}

impl Kind {
    fn stream_type(self) -> StreamType {
        match self {
            Self::Audio => StreamType::Audio,
            Self::Camera => StreamType::VideoCamera,
            Self::Screen => StreamType::VideoScreen,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Camera => "camera",
            Self::Screen => "screen",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Preset {
    /// Id or name
    participant: String,
    /// Name of the preset
    preset: String,
}

#[derive(Debug, clap::Args)]
struct Rename {
    /// Id or name
    participant: String,
    /// Name from now on
    #[arg(value_name = "NAME")]
    new_name: String,
}

#[derive(Debug, clap::Args)]
struct Spotlight {
    /// Id or name
    participant: String,
    /// Show it like the others again
    #[arg(long)]
    off: bool,
}

#[derive(Debug, clap::Args)]
struct Stage {
    /// What to decide
    #[arg(value_enum)]
    action: StageAction,
    /// Id or name
    participant: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StageAction {
    /// Let somebody who asks come
    Approve,
    /// Do not let somebody who asks come
    Deny,
    /// Ask somebody to come
    Invite,
    /// Take somebody off
    Remove,
}

#[derive(Debug, clap::Args)]
struct Say {
    /// What to write
    text: String,
    /// Only to this participant: id or name
    #[arg(long, value_name = "PARTICIPANT")]
    to: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print a JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// What to do in the meeting.
#[derive(Debug)]
enum Action {
    Kick(Whom),
    Mute(Mute),
    Lock(bool),
    End,
    Admit(Whom),
    Reject(Whom),
    Preset(Preset),
    Rename(Rename),
    Spotlight(Spotlight),
    Stage(Stage),
    LowerHand(Whom),
    Say(Say),
    List(List),
}

impl Control {
    /// What to do, and in which meeting.
    fn split(self) -> (Action, connection::Args) {
        match self {
            Self::Kick(on) => (Action::Kick(on.what), on.connection),
            Self::Mute(on) => (Action::Mute(on.what), on.connection),
            Self::Lock(connection) => (Action::Lock(true), connection),
            Self::Unlock(connection) => (Action::Lock(false), connection),
            Self::End(connection) => (Action::End, connection),
            Self::Admit(on) => (Action::Admit(on.what), on.connection),
            Self::Reject(on) => (Action::Reject(on.what), on.connection),
            Self::Preset(on) => (Action::Preset(on.what), on.connection),
            Self::Rename(on) => (Action::Rename(on.what), on.connection),
            Self::Spotlight(on) => (Action::Spotlight(on.what), on.connection),
            Self::Stage(on) => (Action::Stage(on.what), on.connection),
            Self::LowerHand(on) => (Action::LowerHand(on.what), on.connection),
            Self::Say(on) => (Action::Say(on.what), on.connection),
            Self::List(on) => (Action::List(on.what), on.connection),
        }
    }
}

/// Somebody who is here, or who waits to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Person {
    id: ParticipantId,
    name: String,
}

impl Person {
    /// For people.
    fn shown(&self) -> String {
        match printable(&self.name, MAX_NAME) {
            name if name.is_empty() => self.id.to_string(),
            name => name,
        }
    }
}

pub(crate) async fn run(args: Args, stop: Stop) -> Result<()> {
    let (action, connection) = args.control.split();
    let target = Target::find(connection, WithoutMeeting::Refuse).await?;
    let meeting = target.join_as_host("host").await?;
    let outcome = tokio::select! {
        outcome = carry_out(&meeting, action) => outcome,
        () = stop.requested() => Ok(Vec::new()),
    };
    connection::leave(meeting).await;
    let mut screen = Screen::new();
    for line in outcome? {
        screen.print(&line)?;
    }
    Ok(())
}

/// Does it, and says what was done.
async fn carry_out(meeting: &Meeting, action: Action) -> Result<Vec<String>> {
    let done = match action {
        Action::List(list) => return who_is_here(meeting, list.json).await,
        Action::Kick(whom) => kick(meeting, &whom).await?,
        Action::Mute(mute) => turn_off(meeting, &mute).await?,
        Action::Lock(locked) => {
            let done = if locked { "locked" } else { "unlocked" };
            meeting.lock(locked).await.with_context(|| format!("the meeting cannot be {done}"))?;
            format!("{done} the meeting")
        }
        Action::End => {
            meeting.end_for_all().await.context("cannot end the meeting")?;
            "ended the meeting for everybody".to_owned()
        }
        Action::Admit(whom) => decide(meeting, &whom, true).await?,
        Action::Reject(whom) => decide(meeting, &whom, false).await?,
        Action::Preset(Preset { participant, preset }) => {
            let person = find_here(meeting, &participant)?;
            let who = person.shown();
            let set = meeting.set_preset(person.id, preset.as_str()).await;
            set.with_context(|| format!("cannot give {who} the preset {preset:?}"))?;
            format!("{who} has the preset {preset:?} now")
        }
        Action::Rename(Rename { participant, new_name }) => {
            let person = find_here(meeting, &participant)?;
            let who = person.shown();
            let renamed = meeting.rename_participant(person.id, new_name.as_str()).await;
            renamed.with_context(|| format!("cannot rename {who}"))?;
            format!("{who} is called {new_name:?} now")
        }
        Action::Spotlight(Spotlight { participant, off }) => {
            let person = find_here(meeting, &participant)?;
            let who = person.shown();
            let shown = meeting.spotlight_participant(person.id, !off).await;
            shown.with_context(|| format!("cannot change the spotlight of {who}"))?;
            match off {
                false => format!("everybody sees {who} large now"),
                true => format!("{who} is shown like the others now"),
            }
        }
        Action::Stage(stage) => set_stage(meeting, &stage).await?,
        Action::LowerHand(whom) => {
            let person = person_of(&whom, &people_here(meeting), "here")?;
            let whose = person.as_ref().map_or_else(|| "everybody".to_owned(), Person::shown);
            let lowered = meeting.lower_hand(person.map(|person| person.id)).await;
            lowered.with_context(|| format!("cannot lower the hand of {whose}"))?;
            format!("lowered the hand of {whose}")
        }
        Action::Say(say) => write(meeting, say).await?,
    };
    Ok(vec![done])
}

async fn kick(meeting: &Meeting, whom: &Whom) -> Result<String> {
    let Some(person) = person_of(whom, &people_here(meeting), "here")? else {
        meeting.kick_everybody().await.context("cannot remove everybody")?;
        return Ok("removed everybody but hosts".to_owned());
    };
    let who = person.shown();
    meeting.kick(person.id).await.with_context(|| format!("cannot remove {who}"))?;
    Ok(format!("removed {who}"))
}

async fn turn_off(meeting: &Meeting, mute: &Mute) -> Result<String> {
    let (kind, what) = (mute.kind.stream_type(), mute.kind.name());
    let Some(person) = person_of(&mute.whom, &people_here(meeting), "here")? else {
        let muted = meeting.mute_everybody(kind).await;
        muted.with_context(|| format!("cannot turn off the {what} of everybody"))?;
        return Ok(format!("turned off the {what} of everybody but hosts"));
    };
    let who = person.shown();
    let muted = meeting.mute(person.id, kind).await;
    muted.with_context(|| format!("cannot turn off the {what} of {who}"))?;
    Ok(format!("turned off the {what} of {who}"))
}

async fn decide(meeting: &Meeting, whom: &Whom, admit: bool) -> Result<String> {
    if !whom.all {
        wait_for_waiting_room(meeting).await;
    }
    let waiting = people_waiting(meeting);
    let person = match whom.participant.as_deref().map(str::parse) {
        // The server knows best who waits.
        Some(Ok(id)) => Some(with_id(id, &waiting)),
        _ => person_of(whom, &waiting, "waiting to be let in")?,
    };
    let who = person.as_ref().map_or_else(|| "everybody who waits".to_owned(), Person::shown);
    let id = person.map(|person| person.id);
    if admit {
        meeting.admit(id).await.with_context(|| format!("cannot let {who} in"))?;
        Ok(format!("let {who} in"))
    } else {
        meeting.reject(id).await.with_context(|| format!("cannot turn {who} away"))?;
        Ok(format!("turned {who} away"))
    }
}

async fn set_stage(meeting: &Meeting, stage: &Stage) -> Result<String> {
    let person = find_here(meeting, &stage.participant)?;
    let who = person.shown();
    let (decided, done) = match stage.action {
        StageAction::Approve => (meeting.approve_stage(person.id).await, "may come on the stage now"),
        StageAction::Deny => (meeting.deny_stage(person.id).await, "may not come on the stage"),
        StageAction::Invite => (meeting.invite_to_stage(person.id).await, "is invited to the stage"),
        StageAction::Remove => (meeting.remove_from_stage(person.id).await, "is off the stage now"),
    };
    decided.with_context(|| format!("the stage of {who} cannot be changed"))?;
    Ok(format!("{who} {done}"))
}

async fn write(meeting: &Meeting, say: Say) -> Result<String> {
    let (sent, whom) = match &say.to {
        None => (meeting.send_chat(say.text).await, "everybody".to_owned()),
        Some(to) => {
            let person = find_here(meeting, to)?;
            (meeting.send_private_chat(person.id, say.text).await, person.shown())
        }
    };
    let message_id = sent.with_context(|| format!("cannot write to {whom}"))?;
    Ok(format!("wrote message {message_id} to {whom}"))
}

async fn who_is_here(meeting: &Meeting, json: bool) -> Result<Vec<String>> {
    if meeting.rights().admit {
        wait_for_waiting_room(meeting).await;
    }
    let participants = meeting.participants();
    let waiting = people_waiting(meeting);
    if json {
        return Ok(vec![figures(meeting, &participants, &waiting).to_string()]);
    }
    let spotlight = meeting.spotlight();
    let mut table = Table::new([
        ("ID", Align::Left),
        ("NAME", Align::Left),
        ("ROLE", Align::Left),
        ("STATE", Align::Left),
    ]);
    for participant in &participants {
        let is_large = spotlight.contains(&participant.participant_id);
        table.row([
            participant.participant_id.to_string(),
            printable(&participant.name, MAX_NAME),
            role(participant.role).to_owned(),
            state(participant, is_large).join(", "),
        ]);
    }
    for person in &waiting {
        table.row([
            person.id.to_string(),
            printable(&person.name, MAX_NAME),
            "-".to_owned(),
            "waits to be let in".to_owned(),
        ]);
    }
    Ok(if table.is_empty() { vec!["nobody else is here".to_owned()] } else { table.lines() })
}

fn figures(meeting: &Meeting, participants: &[Participant], waiting: &[Person]) -> Value {
    let spotlight = meeting.spotlight();
    let participant = |participant: &Participant| {
        json!({
            "participant_id": participant.participant_id.to_string(),
            "name": participant.name,
            "user_id": participant.user_id,
            "role": role(participant.role),
            "streams": participant.streams.len(),
            "audio_muted": participant.state.audio_muted,
            "video_on": participant.state.video_on,
            "screen_sharing": participant.state.screen_sharing,
            "hand_raised": participant.state.hand_raised,
            "on_stage": participant.on_stage,
            "reconnecting": participant.reconnecting,
            "network": network(participant.network_grade),
            "spotlight": spotlight.contains(&participant.participant_id),
        })
    };
    let person = |person: &Person| json!({"participant_id": person.id.to_string(), "name": person.name});
    json!({
        "meeting": meeting.display_name(),
        "meeting_id": meeting.meeting_id().to_string(),
        "locked": meeting.is_locked(),
        "participants": participants.iter().map(participant).collect::<Vec<_>>(),
        "waiting": waiting.iter().map(person).collect::<Vec<_>>(),
    })
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::Participant => "participant",
    }
}

fn network(grade: NetworkGrade) -> Option<&'static str> {
    match grade {
        NetworkGrade::NotMeasured => None,
        NetworkGrade::Excellent => Some("excellent"),
        NetworkGrade::Good => Some("good"),
        NetworkGrade::Fair => Some("fair"),
        NetworkGrade::Poor => Some("poor"),
    }
}

/// What there is to say of a participant, in words.
fn state(participant: &Participant, is_large: bool) -> Vec<&'static str> {
    let says = participant.state;
    let words = [
        (says.audio_muted, "muted"),
        (says.video_on, "camera on"),
        (says.screen_sharing, "shares its screen"),
        (says.hand_raised, "hand raised"),
        (participant.on_stage, "on the stage"),
        (is_large, "in the spotlight"),
        (participant.reconnecting, "reconnecting"),
        (participant.network_grade == NetworkGrade::Fair, "fair network"),
        (participant.network_grade == NetworkGrade::Poor, "poor network"),
    ];
    words.into_iter().filter(|(applies, _)| *applies).map(|(_, word)| word).collect()
}

fn people_here(meeting: &Meeting) -> Vec<Person> {
    let person = |participant: Participant| Person { id: participant.participant_id, name: participant.name };
    meeting.participants().into_iter().map(person).collect()
}

fn people_waiting(meeting: &Meeting) -> Vec<Person> {
    meeting
        .waiting_room()
        .into_iter()
        .filter_map(|waiting| Some(Person { id: waiting.participant_id.parse().ok()?, name: waiting.name }))
        .collect()
}

/// Waits until the server has said who waits, if it does so soon.
async fn wait_for_waiting_room(meeting: &Meeting) {
    let mut events = meeting.events();
    let told = async { while meeting.waiting_room().is_empty() && events.next().await.is_some() {} };
    // Perhaps nobody waits.
    let _ = tokio::time::timeout(WAITING_ROOM_LIMIT, told).await;
}

/// Whom the user means; `None` = everybody.
fn person_of(whom: &Whom, people: &[Person], where_they_are: &str) -> Result<Option<Person>> {
    whom.participant.as_deref().map(|who| find(people, who, where_they_are)).transpose()
}

/// The one of `people` with this id, or somebody of whom nothing else is known.
fn with_id(id: ParticipantId, people: &[Person]) -> Person {
    let known = people.iter().find(|person| person.id == id);
    known.cloned().unwrap_or_else(|| Person { id, name: String::new() })
}

fn find_here(meeting: &Meeting, who: &str) -> Result<Person> {
    find(&people_here(meeting), who, "here")
}

/// The one of `people` that `who` is the id or the name of.
fn find(people: &[Person], who: &str, where_they_are: &str) -> Result<Person> {
    let id = who.parse::<ParticipantId>().ok();
    let is_meant = |person: &&Person| id.map_or(person.name == who, |id| person.id == id);
    let found: Vec<&Person> = people.iter().filter(is_meant).collect();
    match found.as_slice() {
        [person] => Ok((*person).clone()),
        [] if people.is_empty() => bail!("{who:?} is not {where_they_are}: nobody is"),
        [] => {
            let all: Vec<&Person> = people.iter().collect();
            bail!("{who:?} is not {where_they_are}. Others are:{}", candidates(&all))
        }
        several => bail!(
            "{} participants are called {who:?}. Give the id of one of them:{}",
            several.len(),
            candidates(several)
        ),
    }
}

/// A line for each.
fn candidates(people: &[&Person]) -> String {
    let line = |person: &&Person| format!("\n  {}  {}", person.id, printable(&person.name, MAX_NAME));
    let mut lines: String = people.iter().take(MAX_CANDIDATES).map(line).collect();
    if people.len() > MAX_CANDIDATES {
        lines.push_str(&format!("\n  ... and {} more", people.len() - MAX_CANDIDATES));
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Command};

    fn people(names: &[&str]) -> Vec<Person> {
        let person = |(n, name): (u8, &&str)| Person {
            id: ParticipantId::from_bytes([n; 16]),
            name: (*name).to_owned(),
        };
        (1..).zip(names).map(person).collect()
    }

    #[test]
    fn participants_are_found_by_id_or_by_a_name_that_is_unique() {
        let people = people(&["Ada", "Bob", "Bob"]);
        assert_eq!(find(&people, "Ada", "here").expect("found"), people[0]);
        let id = people[2].id.to_string();
        assert_eq!(find(&people, &id, "here").expect("found"), people[2]);
        assert_eq!(find(&people, &id.to_uppercase(), "here").expect("found"), people[2]);
    }

    #[test]
    fn who_is_let_in_by_id_is_named_if_the_name_is_known() {
        let people = people(&["Ada", "Bob"]);
        assert_eq!(with_id(people[1].id, &people).shown(), "Bob");
        let stranger = ParticipantId::from_bytes([9; 16]);
        assert_eq!(with_id(stranger, &people).shown(), stranger.to_string());
    }

    #[test]
    fn an_ambiguous_name_names_the_candidates() {
        let people = people(&["Ada", "Bob", "Bob"]);
        let error = find(&people, "Bob", "here").expect_err("two of them").to_string();
        assert!(error.starts_with("2 participants are called \"Bob\""), "{error}");
        assert!(!error.contains(&people[0].id.to_string()), "{error}");
        for person in &people[1..] {
            assert!(error.contains(&person.id.to_string()), "{error}");
        }
    }

    #[test]
    fn an_unknown_participant_names_those_who_are_there() {
        let there = people(&["Ada"]);
        let stranger = ParticipantId::from_bytes([9; 16]).to_string();
        for who in ["Zoe", "ada", "", stranger.as_str()] {
            let error = find(&there, who, "here").expect_err("nobody").to_string();
            assert!(error.contains("Ada") && error.contains("is not here"), "{error}");
        }
        let error = find(&[], "Ada", "waiting to be let in").expect_err("nobody").to_string();
        assert_eq!(error, "\"Ada\" is not waiting to be let in: nobody is");
        let names: Vec<String> = (0..99).map(|n| format!("p{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = find(&people(&names), "Ada", "here").expect_err("nobody").to_string();
        assert!(error.ends_with("... and 79 more"), "{error}");
    }

    fn action(line: &str) -> Option<Action> {
        let words = ["darktower-client", "host"].into_iter().chain(line.split(' '));
        let cli = Cli::try_parse_from(words.chain(["--meeting", "x"])).ok()?;
        match cli.command {
            Command::Host(args) => Some(args.control.split().0),
            _ => None,
        }
    }

    #[test]
    fn controls_are_told_apart() {
        assert!(matches!(action("kick Ada"), Some(Action::Kick(Whom { participant: Some(_), all: false }))));
        assert!(matches!(action("kick --all"), Some(Action::Kick(Whom { participant: None, all: true }))));
        let muted = action("mute Ada --kind screen");
        assert!(matches!(muted, Some(Action::Mute(Mute { kind: Kind::Screen, .. }))), "{muted:?}");
        assert!(matches!(action("unlock"), Some(Action::Lock(false))));
        let stage = action("stage invite Ada");
        assert!(matches!(stage, Some(Action::Stage(Stage { action: StageAction::Invite, .. }))), "{stage:?}");
        assert!(matches!(action("list --json"), Some(Action::List(List { json: true }))));
        for wrong in ["kick", "kick Ada --all", "mute", "preset Ada", "stage Ada", "say", "dance"] {
            assert!(action(wrong).is_none(), "{wrong}");
        }
    }
}
