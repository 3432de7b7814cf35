//! What a store has acknowledged is there after a crash, and what it has not acknowledged has damaged nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use darktower_core::access::ParticipantRole;
use darktower_core::meeting::lifecycle::{MeetingStatus, MeetingType, Scheduling};
use darktower_protocol::{MeetingId, MeetingSessionId, OrganizationId, ParticipantId};
use darktower_server::storage::model::{
    Arrival, IssuedParticipant, Meeting, MeetingSettings, Organization, OrganizationSettings, Page,
};
use darktower_server::storage::store::Maintenance as _;
use darktower_server::storage::{PostgresStore, SqliteStore, Store, StoreError};
use time::OffsetDateTime;

use crate::support::{PATIENCE, postgres};

/// Tells the child where its database is.
const DATABASE: &str = "DARKTOWER_TEST_DATABASE";
/// Begins what the child says about a write that was acknowledged. The rest of its output is the test program's.
const STORED: &str = "STORED ";
/// How many write at the same time: enough to share transactions.
const WRITERS: usize = 8;
const SQLITE_CRASHES: u64 = 50;
const POSTGRES_CRASHES: u64 = 5;

/// Writes that were acknowledged.
#[derive(Default)]
struct Acknowledged {
    organizations: Vec<OrganizationId>,
    meetings: Vec<MeetingId>,
    participants: Vec<ParticipantId>,
    joins: Vec<(MeetingId, MeetingSessionId)>,
}

impl Acknowledged {
    /// Notes what [`write`] said.
    fn note(&mut self, fact: &str) {
        let words: Vec<&str> = fact.split(' ').collect();
        match words[..] {
            ["organization", id] => self.organizations.push(id.parse().expect("an id")),
            ["meeting", id] => self.meetings.push(id.parse().expect("an id")),
            ["participant", id] => self.participants.push(id.parse().expect("an id")),
            ["join", meeting, session] => {
                self.joins.push((meeting.parse().expect("an id"), session.parse().expect("an id")));
            }
            _ => panic!("not a fact: {fact:?}"),
        }
    }
}

#[tokio::test]
async fn a_killed_server_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = Random(20_261_121);
    let mut all = Vec::new();
    for round in 0..SQLITE_CRASHES {
        // Now and then a new file, killed while its tables are made.
        let is_new = round % 5 == 4;
        let path = folder.path().join(if is_new { format!("{round}.db") } else { "a.db".to_owned() });
        let acknowledged = write_until_killed(&path, is_new, &mut random);
        let store = SqliteStore::open(&path).await.expect("opens after the crash");
        assert_eq!(store.integrity_check().await.expect("checked"), [""; 0], "round {round}");
        check(&store, &acknowledged, round).await;
        if !is_new {
            all.push(acknowledged);
        }
        store.close().await;
    }
    let store = SqliteStore::open(&folder.path().join("a.db")).await.expect("opens");
    for (round, acknowledged) in (0..).zip(&all) {
        check(&store, acknowledged, round).await;
    }
    let meetings: usize = all.iter().map(|acknowledged| acknowledged.meetings.len()).sum();
    assert!(meetings > 100, "only {meetings} meetings were stored: the test shows little");
}

/// Starts a process that writes to the database, kills it at some moment, and says what it had acknowledged by then.
fn write_until_killed(path: &Path, at_once: bool, random: &mut Random) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["crash::writes_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DATABASE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("can be run again");
    let lines = lines_of(&mut child);
    let mut said = Vec::new();
    if !at_once {
        said.push(lines.recv_timeout(PATIENCE).expect("the child begins to write"));
    }
    let moment = Instant::now() + Duration::from_micros(random.below(60_000));
    while let Ok(line) = lines.recv_timeout(moment.saturating_duration_since(Instant::now())) {
        said.push(line);
    }
    // SIGKILL.
    child.kill().expect("ours");
    let status = child.wait().expect("ends");
    assert!(status.code().is_none(), "it ended by itself: {status}");
    // What was in the pipe.
    said.extend(lines);
    let mut acknowledged = Acknowledged::default();
    for fact in &said {
        acknowledged.note(fact);
    }
    acknowledged
}

/// What the child says it stored, whole lines only.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let mut output = BufReader::new(child.stdout.take().expect("is piped"));
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some((_, stored)) = line.split_once(STORED)
                && let Some(stored) = stored.strip_suffix('\n')
            {
                sender.send(stored.to_owned()).ok();
            }
            line.clear();
        }
    });
    lines
}

/// Not a test: what the test above runs in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a process that another test starts and kills"]
async fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let store = SqliteStore::open(Path::new(&path)).await.expect("opens");
    write(&store, |fact| {
        // One write for a line: who reads never sees half of one.
        std::io::stdout().write_all(format!("{STORED}{fact}\n").as_bytes()).expect("somebody reads");
    })
    .await
    .expect("the database works until the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_loses_nothing_it_acknowledged() {
    // As it is in production: every commit waits for the disk.
    let mut server = postgres::TestServer::start_with(&[]);
    server.database("crash");
    let mut random = Random(42);
    let mut all = Vec::new();
    for round in 0..POSTGRES_CRASHES {
        let store = PostgresStore::open(&server.url("crash")).await.expect("opens");
        let said = Arc::new(Mutex::new(Acknowledged::default()));
        let writing = tokio::spawn({
            let said = Arc::clone(&said);
            async move { write(&store, |fact| said.lock().expect("no panic").note(fact)).await }
        });
        // Some moment.
        tokio::time::sleep(Duration::from_micros(100_000 + random.below(400_000))).await;
        server.kill();
        writing.await.expect("no panic").expect_err("the database is gone");
        server.resume();
        let store = PostgresStore::open(&server.url("crash")).await.expect("opens after the crash");
        let acknowledged = std::mem::take(&mut *said.lock().expect("no panic"));
        check(&store, &acknowledged, round).await;
        all.push(acknowledged);
    }
    let store = PostgresStore::open(&server.url("crash")).await.expect("opens");
    for (round, acknowledged) in (0..).zip(&all) {
        check(&store, acknowledged, round).await;
    }
    let joins: usize = all.iter().map(|acknowledged| acknowledged.joins.len()).sum();
    assert!(joins > 50, "only {joins} joins were stored: the test shows little");
}

/// Stores meetings with participants who join, several at the same time, until the database fails. Says each write after
/// it was acknowledged.
async fn write(store: &dyn Store, acknowledged: impl Fn(&str)) -> Result<(), StoreError> {
    let organization = Organization {
        id: OrganizationId::generate(),
        name: "Example".to_owned(),
        slug: OrganizationId::generate().to_string(),
        settings: OrganizationSettings::default(),
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
    };
    store.create_organization(&organization, &[], None).await?;
    acknowledged(&format!("organization {}", organization.id));
    let writers = (0..WRITERS).map(async |_| {
        loop {
            let (meeting, host) = meeting(organization.id);
            store.create_meeting(&meeting, &host).await?;
            acknowledged(&format!("meeting {}", meeting.id));
            acknowledged(&format!("participant {}", host.id));
            for _ in 0..3 {
                let guest = participant(meeting.id);
                store.issue_participant(&guest).await?;
                acknowledged(&format!("participant {}", guest.id));
                let arrival = Arrival {
                    meeting_id: meeting.id,
                    new_session_id: MeetingSessionId::generate(),
                    participant_id: guest.id,
                    name: guest.name,
                    at: OffsetDateTime::UNIX_EPOCH,
                };
                let session = store.arrive(&arrival).await?.expect("the meeting is there");
                acknowledged(&format!("join {} {}", meeting.id, session.id));
            }
        }
    });
    futures_util::future::try_join_all(writers).await.map(|_: Vec<()>| ())
}

/// Looks up every acknowledged write, and that what was written together is there together.
async fn check(store: &dyn Store, acknowledged: &Acknowledged, round: u64) {
    for id in &acknowledged.organizations {
        assert!(
            store.organization(*id).await.expect("read").is_some(),
            "round {round}: organization {id} is lost"
        );
    }
    for id in &acknowledged.meetings {
        assert!(store.meeting(*id).await.expect("read").is_some(), "round {round}: meeting {id} is lost");
    }
    for id in &acknowledged.participants {
        assert!(
            store.participant(*id).await.expect("read").is_some(),
            "round {round}: participant {id} is lost"
        );
    }
    for (meeting, id) in &acknowledged.joins {
        let session = store.active_session(*meeting).await.expect("read");
        let session = session.unwrap_or_else(|| panic!("round {round}: the session of {meeting} is lost"));
        assert_eq!(session.id, *id, "round {round}");
        let joins = acknowledged.joins.iter().filter(|(joined, _)| joined == meeting).count();
        assert!(
            u64::from(session.live_count) >= u64::try_from(joins).expect("few"),
            "round {round}: a join is lost"
        );
        let stays = store.attendances(*id, Page { limit: 9, offset: 0 }).await.expect("read");
        assert_eq!(u64::from(session.live_count), stays.total, "round {round}: half a join is there");
    }
}

fn meeting(organization: OrganizationId) -> (Meeting, IssuedParticipant) {
    let id = MeetingId::generate();
    let meeting = Meeting {
        id,
        organization_id: organization,
        slug: id.to_string(),
        display_name: "Standup".to_owned(),
        description: None,
        meeting_type: MeetingType::Video,
        scheduling: Scheduling::Instant,
        status: MeetingStatus::Active,
        access_policy: None,
        max_participants: 9,
        max_guests: None,
        keep_alive_seconds: 60,
        settings: MeetingSettings::default(),
        created_by: None,
        scheduled_start: None,
        scheduled_end: None,
        started_at: None,
        ended_at: None,
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
        version: 0,
    };
    (meeting, participant(id))
}

fn participant(meeting: MeetingId) -> IssuedParticipant {
    IssuedParticipant {
        id: ParticipantId::generate(),
        meeting_id: meeting,
        name: "Zoë".to_owned(),
        role: ParticipantRole::Participant,
        preset: "video_participant".to_owned(),
        user_id: None,
        is_guest: false,
        issued_by: None,
        created_at: OffsetDateTime::UNIX_EPOCH,
        expires_at: OffsetDateTime::UNIX_EPOCH,
        revoked_at: None,
    }
}

/// SplitMix64: the same moments in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }
}
