//! Servers of other versions: what they say beyond this version is skipped, and what an old one leaves out is not missed.
//! The bytes are those of `protocol/testdata/future_messages.json`.

use darktower_client::api::JoinGrant;
use darktower_client::signaling::pb;
use darktower_client::{
    Code, Error, Event, Features, JoinOptions, Meeting, MeetingId, ParticipantId, TransportKind, Trust,
};
use darktower_protocol::message;
use pb::envelope::Message;
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use crate::mirror::{Control, Listener, Session};

/// The bytes of a row, without their length.
fn future(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/testdata/future_messages.json");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}"));
    let wire: Vec<u8> = row["wire"]
        .as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    let mut body = wire.as_slice();
    prost::decode_length_delimiter(&mut body).unwrap();
    body.to_vec()
}

/// How a server answers.
#[derive(Clone, Copy, PartialEq)]
enum Age {
    /// Of a later version of protocol 1.
    Later,
    /// As little as the first servers said.
    Early,
    /// Of a protocol that this client does not speak.
    Other,
}

/// A server for one participant, which says this and that.
struct Scripted {
    grant: JoinGrant,
    _task: AbortOnDropHandle<()>,
}

impl Scripted {
    fn start(age: Age) -> Self {
        let listener = Listener::bind();
        let Trust::PinnedSha256(certificate_hashes) = listener.trust.clone() else { unreachable!() };
        let grant = JoinGrant {
            participant_id: None,
            meeting_id: MeetingId::generate(),
            join_token: "join".to_owned(),
            meeting_controller_url: listener.url("/v1/signal"),
            expires_at: None,
            certificate_hashes,
        };
        let task = tokio::spawn(async move {
            while let Some((session, is_signaling)) = listener.accept().await {
                let media_url = listener.url("/v1/media");
                tokio::spawn(async move {
                    let control = Control::accept(&session).await.unwrap();
                    match is_signaling {
                        true => serve_signaling(control, session, age, media_url).await,
                        false => serve_media(control, age).await,
                    }
                });
            }
        });
        Self { grant, _task: AbortOnDropHandle::new(task) }
    }

    async fn join(&self) -> Result<Meeting, Error> {
        let options = JoinOptions::default().transport(TransportKind::Native);
        Meeting::join(&self.grant, options).await
    }
}

async fn serve_signaling(mut control: Control, session: Session, age: Age, media_handler_url: String) {
    let join: pb::Envelope = control.next().await.unwrap();
    let Some(Message::JoinRequest(request)) = join.message else { panic!("{join:?}") };
    assert_eq!((join.version, request.protocol_min, request.protocol_max), (1, 1, 1));
    let media_server = Some(pb::MediaServerInfo { media_handler_url, connection_token: "media".to_owned() });
    let participant_id = ParticipantId::generate().to_string();
    let response = pb::JoinResponse { participant_id, media_server, ..Default::default() };
    let version = if age == Age::Other { 2 } else { 1 };
    let message = Some(Message::JoinResponse(response));
    let answer = pb::Envelope { version, request_id: join.request_id, event_sequence: 0, message };
    let mut answer = answer.encode_to_vec();
    if age == Age::Later {
        answer.extend_from_slice(&future("future-join-response"));
    }
    control.say(&answer).await;
    let Some(request) = control.next::<pb::Envelope>().await else { return };
    if age == Age::Early {
        let ack = Some(Message::Ack(pb::Ack::default()));
        let ack =
            pb::Envelope { version: 1, request_id: request.request_id, event_sequence: 0, message: ack };
        control.say(&ack.encode_to_vec()).await;
        let _ended = control.next::<pb::Envelope>().await;
        return;
    }
    // What came of it is news, and the answer is of a kind that is not known yet.
    assert_eq!(request.request_id, 2);
    for name in [
        "future-event",
        "future-stream-published-of-new-type",
        "future-meeting-updated",
        "future-notice",
        "future-participant-left",
        "future-answer",
    ] {
        control.say(&future(name)).await;
    }
    let _ended = control.next::<pb::Envelope>().await;
    session.close(Code::NO_ERROR, "");
}

async fn serve_media(mut control: Control, age: Age) {
    let hello: pb::MediaClientMessage = control.next().await.unwrap();
    let Some(pb::media_client_message::Message::Hello(hello)) = hello.message else { panic!("{hello:?}") };
    assert_eq!((hello.protocol_min, hello.protocol_max), (1, 1));
    if age == Age::Later {
        control.say(&future("future-media-welcome")).await;
        control.say(&future("future-media-server-message")).await;
    } else {
        let welcome = pb::media_server_message::Message::Welcome(pb::MediaWelcome::default());
        let welcome = message::encode(&pb::MediaServerMessage { message: Some(welcome) });
        control.send.write_all(&welcome).await.unwrap();
    }
    while control.next::<pb::MediaClientMessage>().await.is_some() {}
}

#[tokio::test]
async fn what_a_later_server_says_beyond_this_version_is_skipped() {
    let server = Scripted::start(Age::Later);
    let meeting = server.join().await.unwrap();
    assert_eq!(meeting.features(), Features::GROUPS, "and not what is not known");
    let mut events = meeting.events();
    let [bob] = &meeting.participants()[..] else { panic!("{:?}", meeting.participants()) };
    assert_eq!((bob.name.as_str(), bob.state.video_on), ("Bob", true));
    assert_eq!(bob.streams.len(), 1, "a stream of a type that is not known is left out");
    assert_eq!(meeting.rights().preset, "video_participant");

    let answer = meeting.rename("Ada").await;
    assert!(matches!(answer, Err(Error::Refused { code: pb::ErrorCode::Unsupported, .. })), "{answer:?}");
    let spotlight = vec![bob.participant_id];
    let display_name = String::new();
    assert_eq!(events.next().await, Some(Event::MeetingUpdated { display_name, locked: true, spotlight }));
    let Some(Event::ParticipantLeft { participant_id, .. }) = events.next().await else { panic!("no leave") };
    assert_eq!(participant_id, bob.participant_id);
    assert!(meeting.participants().is_empty() && meeting.is_locked());
}

#[tokio::test]
async fn what_an_early_server_leaves_out_is_not_missed() {
    let server = Scripted::start(Age::Early);
    let meeting = server.join().await.unwrap();
    assert_eq!((meeting.features(), meeting.role()), (Features::NONE, pb::Role::Participant));
    assert!(meeting.participants().is_empty());
    meeting.raise_hand(true).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_so() {
    let server = Scripted::start(Age::Other);
    let refused = server.join().await.unwrap_err();
    assert!(matches!(&refused, Error::Protocol(what) if what.contains("version 2")), "{refused:?}");
}
