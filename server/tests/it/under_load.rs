//! A server that carries a broadcast while others misbehave, do not read, or are turned away: whoever behaves gets every
//! unit, byte for byte, or is told what was left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use darktower_client::transport::TransportKind;
use darktower_protocol::signaling::pb;
use darktower_protocol::{Code, Features, MeetingId};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use pb::envelope::Message;

use crate::bad_input::{CASES, Stage};
use crate::support::{
    Balance, Broadcast, Listener, Mode, PATIENCE, PeakMemory, RawMedia, RawSignaling, Script, TestServer,
    every_mode, metric, soon,
};

/// Audio units that datagrams may lose on a busy machine, as the load tester's `--check` allows: one in so many.
const LOST_AUDIO: u64 = 50;

/// By how much memory of server and clients may grow for each hostile client.
const MEMORY_PER_CASE: usize = 8 << 20;

/// A broadcast of audio and video, and those who listen.
struct Audience {
    broadcast: Broadcast,
    listeners: Vec<Listener>,
}

impl Audience {
    /// Everybody is there when this returns, and receives.
    async fn start(server: &TestServer, meeting: MeetingId, size: usize) -> Self {
        let scripts = [Script::video(), Script::audio()];
        let broadcast = Broadcast::start(server, meeting, &scripts).await;
        let modes = every_mode();
        let joining = (0..size).map(|number| {
            let mode = modes[number % modes.len()];
            Listener::join(server, meeting, "Bystander", mode, &scripts)
        });
        // As fast as they come without pushing each other away.
        let listeners: Vec<_> = stream::iter(joining).buffered(4).collect().await;
        let audience = Self { broadcast, listeners };
        audience.receives(10).await;
        audience
    }

    /// Waits until everybody has got so many units of each stream more.
    async fn receives(&self, more: usize) {
        for script in &self.broadcast.scripts {
            join_all(self.listeners.iter().map(|listener| listener.received_more(script, more))).await;
        }
    }

    /// Ends the broadcast and asserts that nobody's session was closed and nothing is missing without a word.
    async fn account(self) -> Balance {
        let sent = self.broadcast.finish().await;
        let balances = join_all(self.listeners.iter().map(|listener| listener.balance(&sent))).await;
        let mut sum = Balance::default();
        for (listener, balance) in self.listeners.iter().zip(balances) {
            assert!(listener.connection.close_reason().is_none(), "{:?} was cut off", listener.mode());
            assert_eq!(balance.untold, 0, "{:?}: {balance}", listener.mode());
            sum += balance;
        }
        println!("{} listeners: {sum}", self.listeners.len());
        assert!(sum.audio <= sum.expected / LOST_AUDIO, "{sum}");
        // Else the rest says little.
        assert!(sum.received >= sum.expected / 10 * 9, "{sum}");
        sum
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hostile_clients_and_slow_readers_at_once_cost_a_broadcast_nothing() {
    let server = TestServer::start_with(|config| {
        config.limits.slow_subscriber_seconds = 3;
        config.limits.max_participants = 500;
    });
    let server = Arc::new(server.await);
    let meeting = server.meeting().await;
    let audience = Audience::start(&server, meeting, 20).await;
    let memory = PeakMemory::watch();

    let began = Instant::now();
    // Those that take longest lie at the end of the table.
    let running = CASES.iter().rev().map(|case| {
        let server = Arc::clone(&server);
        async move {
            // Megabytes of news for fifty participants would be a test of signaling.
            let meeting = if case.is_loud { server.meeting().await } else { meeting };
            let result = tokio::spawn((case.run)(Stage { server, meeting })).await;
            println!("{:>6.2} s {case:?}", began.elapsed().as_secs_f64());
            result.err().map(|error| format!("{case:?}: {error}"))
        }
    });
    let failed: Vec<_> =
        stream::iter(running).buffer_unordered(8).filter_map(std::future::ready).collect().await;
    assert!(failed.is_empty(), "{failed:#?}");

    // Whatever was left out meanwhile: it goes on.
    audience.receives(30).await;
    let grown = memory.grown();
    println!("memory grew by {} MiB", grown >> 20);
    assert!(grown < CASES.len() * MEMORY_PER_CASE, "memory grew by {grown} bytes");
    audience.account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_stops_reading_loses_groups_then_its_session_and_nobody_else_notices() {
    // One pump for all.
    let server = TestServer::start_with(|config| {
        config.media.shards = 1;
        config.limits.slow_subscriber_seconds = 3;
    });
    let server = server.await;
    let meeting = server.meeting().await;
    let audience = Audience::start(&server, meeting, 8).await;
    let heavy = Script::heavy_video();
    let flood = Broadcast::start(&server, meeting, &[heavy]).await;
    let memory = PeakMemory::watch();
    let [pauses, sleeps] = [Mode::native(), Mode::webtransport()]
        .map(|mode| Listener::join(&server, meeting, "Slow", mode, std::slice::from_ref(&heavy)));
    let (pauses, sleeps) = tokio::join!(pauses, sleeps);
    tokio::join!(pauses.received_more(&heavy, 10), sleeps.received_more(&heavy, 10));

    // First groups are left out. Whoever reads on in time is told, and stays.
    while pauses.told(&heavy) == 0 {
        let dropped = metric("media_groups_dropped_total");
        pauses.stop_reading();
        soon("dropped groups", async {
            while metric("media_groups_dropped_total") == dropped {
                // The media of the others is the clock.
                audience.receives(1).await;
            }
        })
        .await;
        pauses.read_on();
        pauses.received_more(&heavy, 30).await;
    }

    // Whoever does not is disconnected.
    let dropped = metric("media_groups_dropped_total");
    sleeps.stop_reading();
    let closed = soon("close", sleeps.connection.closed()).await;
    assert_eq!(closed.code(), Some(Code::TOO_SLOW), "{closed}");
    assert!(metric("media_groups_dropped_total") > dropped, "groups are left out first");

    pauses.received_more(&heavy, 30).await;
    let grown = memory.grown();
    println!("memory grew by {} MiB", grown >> 20);
    assert!(grown < 96 << 20, "memory grew by {grown} bytes");
    assert!(pauses.connection.close_reason().is_none(), "it was disconnected although it read on");
    let sent = flood.finish().await;
    let balance = pauses.balance(&sent).await;
    println!("the one that paused: {balance}");
    assert!(balance.told > 0 && balance.untold == 0, "{balance}");
    audience.account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_at_its_limit_turns_newcomers_away_and_keeps_those_it_has() {
    if std::fs::read_to_string("/proc/thread-self/schedstat").is_err() {
        println!("this system does not say how busy a thread is: nobody is turned away");
        return;
    }
    // A few dozen joins and listeners are more than that.
    let server = TestServer::start_with(|config| {
        config.media.shards = 1;
        config.media.max_load_percent = 5;
        // So many may come before the load of their first second is known.
        config.limits.max_participants = 1_000;
    });
    let server = server.await;
    let meeting = server.meeting().await;
    let mut audience = Audience::start(&server, meeting, 2).await;
    let scripts = audience.broadcast.scripts.clone();
    let began = Instant::now();
    let (refused, told, code) = loop {
        assert!(began.elapsed() < PATIENCE, "{} listeners and nobody was refused", audience.listeners.len());
        let mode = every_mode()[audience.listeners.len() % 4];
        let signaling = RawSignaling::join(&server, meeting, "Newcomer", mode.transport).await;
        match RawMedia::try_open(&server, &signaling.media, mode.transport, mode.features).await {
            Ok(media) => {
                audience.listeners.push(Listener::subscribe(signaling, media, mode, &scripts).await);
            }
            Err((told, code)) => break (signaling, told, code),
        }
    };
    println!("{} listeners, then a refusal", audience.listeners.len());
    assert_eq!(code, Some(Code::CAPACITY_EXCEEDED));
    let told = told.expect("browsers do not see the code");
    assert_eq!(told.code(), pb::ErrorCode::CapacityExceeded);
    assert_eq!(told.details.get("close_code").map(String::as_str), Some("CAPACITY_EXCEEDED"));
    audience.receives(30).await;
    audience.account().await;

    // Signaling went on, and when the others have left there is room again.
    let admitted = async {
        loop {
            let refresh = Message::RefreshConnectionToken(pb::RefreshConnectionToken {});
            let fresh = refused.client.request(refresh).await.expect("signaling goes on");
            let Message::ConnectionTokenRefreshed(fresh) = fresh else { panic!("{fresh:?}") };
            let media = fresh.media_server.expect("a media server");
            let opened = RawMedia::try_open(&server, &media, TransportKind::Native, Features::GROUPS).await;
            if opened.is_ok() {
                break;
            }
            // Time itself is under test: the load is that of the last second, and asking without a pause would be one.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    soon("room", admitted).await;
}
