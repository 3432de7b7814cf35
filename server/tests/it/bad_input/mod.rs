//! Broken and hostile clients, each in a meeting with others who must not lose a frame.
//!
//! The cases are a table: here each has a server of its own and a [`Witness`] in its meeting; `under_load.rs` sets all
//! of them on one server while it carries a broadcast.

mod floods;
mod forged;
mod giants;
mod sessions;
mod slow;
mod streams;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use darktower_client::transport::TransportKind;
use darktower_protocol::group::{GroupKind, GroupPreamble};
use darktower_protocol::{Features, MeetingId, StreamId};
use darktower_server::config::Config;
use futures_util::future::BoxFuture;

use crate::support::{PeakMemory, RawMedia, RawSignaling, TestServer, Witness, video_metadata};

const BOTH: [TransportKind; 2] = [TransportKind::Native, TransportKind::WebTransport];

/// Where a hostile client appears.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) server: Arc<TestServer>,
    pub(crate) meeting: MeetingId,
}

impl Stage {
    fn parts(&self) -> (&TestServer, MeetingId) {
        (&self.server, self.meeting)
    }
}

/// One way to misbehave. It fails by panicking: if the server does not answer as documented.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Stage) -> BoxFuture<'static, ()>,
    /// What a server of its own needs.
    configure: fn(&mut Config),
    /// MiB by which memory of server and clients may grow meanwhile.
    growth_mib: usize,
    /// It makes the server tell everybody in its meeting megabytes of news.
    pub(crate) is_loud: bool,
}

impl Case {
    const fn new(name: &'static str, run: fn(Stage) -> BoxFuture<'static, ()>) -> Self {
        Self { name, run, configure: |_| {}, growth_mib: 64, is_loud: false }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Makes the table, and a test of each of its rows.
macro_rules! cases {
    ($($module:ident::$name:ident $({ $($field:ident: $value:expr),+ })?;)+) => {
        /// Every hostile or broken client that is known.
        pub(crate) const CASES: &[Case] = &[$(Case {
            $($($field: $value,)+)?
            ..Case::new(stringify!($name), |stage| Box::pin(async move { $module::$name(&stage).await }))
        }),+];

        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            alone(stringify!($name)).await;
        })+
    };
}

cases! {
    streams::unknown_unit_version_is_refused;
    streams::truncated_header_is_refused;
    streams::payload_over_the_bound_is_refused_at_its_header;
    streams::unit_of_another_stream_is_refused;
    streams::audio_on_a_video_stream_is_refused;
    streams::unregistered_stream_is_held_for_a_second_then_refused;
    streams::media_that_overtakes_its_registration_is_kept;
    streams::unknown_unit_types_are_skipped;
    streams::streams_that_are_opened_and_never_written_are_timed_out { growth_mib: 16 };
    streams::an_attach_without_subscription_is_refused;
    streams::an_attach_with_a_payload_is_refused;
    streams::a_stream_id_of_another_meeting_does_no_harm_there;
    streams::unfinished_units_on_many_streams_are_bounded;
    streams::malformed_datagrams_are_left_out;
    sessions::duplicate_stream_id_is_a_conflict;
    sessions::bad_join_tokens_are_unauthorized;
    sessions::a_join_token_used_again_replaces_the_first_session_only;
    sessions::bad_connection_tokens_are_unauthorized;
    sessions::protocol_versions_that_are_not_spoken_are_refused;
    sessions::message_over_64_kib_closes_the_session;
    sessions::garbage_on_a_control_stream_closes_the_session;
    sessions::a_client_that_says_nothing_is_timed_out;
    sessions::a_first_message_out_of_place_is_refused;
    sessions::too_many_messages_are_rate_limited {
        configure: |config| config.limits.messages_per_minute = 20,
        is_loud: true
    };
    sessions::requests_that_are_not_offered_say_so;
    sessions::webtransport_requests_to_other_paths_are_refused;
    slow::a_subscriber_that_never_reads_costs_a_bounded_amount_and_is_closed {
        configure: |config| config.limits.slow_subscriber_seconds = 2,
        growth_mib: 96
    };
    slow::signaling_clients_that_never_read_are_closed { growth_mib: 96, is_loud: true };
    forged::forged_participant_ids_reach_nobody { is_loud: true };
    forged::foreign_stream_ids_are_not_found;
    forged::forged_and_replayed_resume_tickets_open_nothing;
    giants::strange_messages_are_refused_or_ignored;
    giants::text_stays_text { is_loud: true };
    giants::a_giant_roster_is_told_in_messages_that_fit { is_loud: true };
    floods::a_flood_of_chat_is_held_back { is_loud: true };
    floods::a_flood_of_broadcasts_is_held_back { is_loud: true };
    floods::a_flood_of_hands_is_held_back { is_loud: true };
    floods::a_flood_of_streams_is_held_back { is_loud: true };
    floods::a_flood_of_stage_requests_is_held_back { is_loud: true };
    floods::a_flood_of_a_hosts_controls_is_held_back { is_loud: true };
    floods::who_joins_again_and_again_is_held_back { is_loud: true };
    floods::knocks_and_messages_of_who_waits_are_held_back { is_loud: true };
    floods::more_than_a_hundred_do_not_wait { is_loud: true };
    floods::a_flood_that_goes_on_ends_the_session { is_loud: true };
}

async fn alone(name: &str) {
    let case = CASES.iter().find(|case| case.name == name).expect("a row of the table");
    let server = Arc::new(TestServer::start_with(case.configure).await);
    let meeting = server.meeting().await;
    let witness = Witness::start(&server, meeting).await;
    let memory = PeakMemory::watch();
    // The server stops when nobody refers to it any more: not before the witness has left.
    (case.run)(Stage { server: Arc::clone(&server), meeting }).await;
    let grown = memory.grown();
    println!("memory grew by {} MiB", grown >> 20);
    assert!(grown < case.growth_mib << 20, "memory grew by {grown} bytes");
    witness.check().await;
    drop(server);
}

/// A client that has joined, publishes one video stream, and has a media session.
pub(super) struct Publisher {
    pub(super) signaling: RawSignaling,
    pub(super) media: RawMedia,
    pub(super) stream_id: StreamId,
}

impl Publisher {
    pub(super) async fn start(
        server: &TestServer,
        meeting: MeetingId,
        kind: TransportKind,
        features: Features,
    ) -> Self {
        let signaling = RawSignaling::join(server, meeting, "Mallory", kind).await;
        let stream_id = StreamId::generate();
        signaling.publish(stream_id, video_metadata()).await.expect("publish");
        let media = RawMedia::open(server, &signaling.media, kind, features).await;
        Self { signaling, media, stream_id }
    }

    pub(super) fn preamble(&self) -> Bytes {
        preamble(self.stream_id)
    }
}

pub(super) fn preamble(stream_id: StreamId) -> Bytes {
    let preamble = GroupPreamble {
        kind: GroupKind::Video,
        continuation: false,
        discontinuity: false,
        stream_id,
        group: 0,
        first_sequence: 0,
    };
    preamble.encode()
}
