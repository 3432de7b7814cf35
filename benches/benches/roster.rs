//! What the meeting itself costs when somebody comes and goes: everything but the sessions and their connections.
#![expect(clippy::unwrap_used, reason = "a bench: the input is well formed")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use darktower_core::meeting::{Identity, Meeting, MeetingLimits, Output, Rights};
use darktower_core::preset::shipped;
use darktower_protocol::signaling::pb;
use darktower_protocol::{MeetingId, ParticipantId, StreamId};

/// People in the meeting.
const SIZES: [u64; 3] = [10, 100, 1000];

fn identity(rights: &Rights) -> Identity {
    Identity {
        participant_id: ParticipantId::generate(),
        name: "Zoë of the long corridor".to_owned(),
        role: pb::Role::Participant,
        rights: rights.clone(),
        is_guest: false,
        user_id: "user-0123456789".to_owned(),
    }
}

/// Joins, is told who is there, and leaves; everybody's events are taken, each encoded as a session does.
fn come_and_go(meeting: &mut Meeting, rights: &Rights) -> usize {
    let identity = identity(rights);
    let id = identity.participant_id;
    let joined = meeting.join(identity, &pb::ParticipantCapabilities::default(), 1).unwrap();
    let epoch = joined.epoch;
    black_box(joined);
    meeting.leave(id, epoch, pb::LeaveReason::Voluntary);
    let mut bytes = 0;
    while let Some(output) = meeting.poll_output() {
        if let Output::Event { event, .. } = output {
            bytes += event.encoded().len();
        }
    }
    bytes
}

fn coming_and_going(c: &mut Criterion) {
    let preset = shipped().into_iter().next().unwrap();
    let rights = Rights::new(&preset, false);
    let mut group = c.benchmark_group("come and go");
    for size in SIZES {
        let limits = MeetingLimits { max_participants: 2000, ..MeetingLimits::default() };
        let mut meeting = Meeting::new(MeetingId::generate(), limits);
        for _ in 0..size {
            meeting.join(identity(&rights), &pb::ParticipantCapabilities::default(), 1).unwrap();
            while meeting.poll_output().is_some() {}
        }
        // Events: one of the join and one of the leave for each.
        group.throughput(Throughput::Elements(size * 2));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| come_and_go(&mut meeting, &rights));
        });
    }
    group.finish();
}

/// Joins, publishes audio, gets everybody's, and leaves again; everything that follows is taken.
fn talk_and_go(meeting: &mut Meeting, rights: &Rights) -> usize {
    let identity = identity(rights);
    let id = identity.participant_id;
    let epoch = meeting.join(identity, &pb::ParticipantCapabilities::default(), 1).unwrap().epoch;
    let mut outputs = std::iter::from_fn(|| meeting.poll_output()).count();
    talk(meeting, id);
    outputs += std::iter::from_fn(|| meeting.poll_output()).count();
    meeting.leave(id, epoch, pb::LeaveReason::Voluntary);
    outputs + std::iter::from_fn(|| meeting.poll_output()).count()
}

/// Publishes audio, and gets everybody's.
fn talk(meeting: &mut Meeting, id: ParticipantId) {
    let audio = pb::PublishStream {
        stream_id: StreamId::generate().to_string(),
        stream_type: pb::StreamType::Audio.into(),
        metadata: Some(pb::StreamMetadata { codec: "Opus".to_owned(), ..pb::StreamMetadata::default() }),
    };
    meeting.publish(id, audio).unwrap();
    let auto = pb::SubscribeAuto { on: true, ..pb::SubscribeAuto::default() };
    meeting.subscribe_auto(id, &auto, 1).unwrap();
}

fn talking(c: &mut Criterion) {
    let preset = shipped().into_iter().next().unwrap();
    let rights = Rights::new(&preset, false);
    let mut group = c.benchmark_group("talk and go, everybody on auto");
    group.sample_size(10);
    for size in [100, 1000] {
        let limits = MeetingLimits { max_participants: 2000, ..MeetingLimits::default() };
        let mut meeting = Meeting::new(MeetingId::generate(), limits);
        for _ in 0..size {
            let identity = identity(&rights);
            let id = identity.participant_id;
            meeting.join(identity, &pb::ParticipantCapabilities::default(), 1).unwrap();
            talk(&mut meeting, id);
            while meeting.poll_output().is_some() {}
        }
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| talk_and_go(&mut meeting, &rights));
        });
    }
    group.finish();
}

criterion_group!(benches, coming_and_going, talking);
criterion_main!(benches);
