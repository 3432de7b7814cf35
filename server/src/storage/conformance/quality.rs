//! How media got through.

use std::time::Duration;

use darktower_core::meeting::quality::{Ingress, QualityRecord};
use darktower_protocol::MeetingSessionId;

use super::examples::{
    ALL, arrival, at, quality_sample, stored_meeting, stored_organization, stored_participant,
};
use crate::storage::model::{Page, QualitySample};
use crate::storage::store::{Store, StoreError, Unique};

pub(super) async fn run(store: &dyn Store) {
    samples_come_back_as_they_were(store).await;
    totals_are_of_all_samples(store).await;
    go_with_what_they_are_about(store).await;
}

async fn samples_come_back_as_they_were(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (_, host) = stored_meeting(store, organization, |_| ()).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined").id;
    assert_eq!(store.quality_samples(session, host.id, ALL).await.expect("read").total, 0);
    let first = quality_sample(session, host.id, 11);
    let mut second = quality_sample(session, host.id, 21);
    (second.record.available_bps, second.record.reported_loss) = (None, None);
    for sample in [&second, &first] {
        store.add_quality_sample(sample).await.expect("stored");
    }
    let listed = store.quality_samples(session, host.id, ALL).await.expect("read");
    assert_eq!((listed.items.as_slice(), listed.total), (&[first.clone(), second.clone()][..], 2));
    let page = Page { limit: 1, offset: 1 };
    let listed = store.quality_samples(session, host.id, page).await.expect("read");
    assert_eq!((listed.items.as_slice(), listed.total), (&[second][..], 2));

    let again = store.add_quality_sample(&first).await;
    assert!(matches!(again, Err(StoreError::Taken(Unique::Id))), "{again:?}");
    let nowhere = quality_sample(MeetingSessionId::generate(), host.id, 11);
    let refused = store.add_quality_sample(&nowhere).await;
    assert!(matches!(refused, Err(StoreError::NoSuchReference)), "{refused:?}");
    let totals = store.quality_totals(session, ALL).await.expect("read").items;
    assert_eq!(totals[0].record.duration, first.record.duration * 2, "what was refused does not count");
}

async fn totals_are_of_all_samples(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
    let other = stored_participant(store, meeting.id, |_| ()).await;
    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined").id;
    let sample = |second, seconds, score, rtt| {
        let sample = quality_sample(session, host.id, second);
        let (duration, rtt) = (Duration::from_secs(seconds), Duration::from_millis(rtt));
        let record = QualityRecord {
            duration,
            score,
            lowest_score: score - 0.5,
            rtt,
            max_rtt: rtt * 2,
            jitter: rtt / 4,
            ..sample.record
        };
        QualitySample { record, ..sample }
    };
    // Each grade once, and the mean is not that of the samples but that of their seconds.
    for sample in
        [sample(1, 10, 4.25, 20), sample(2, 10, 3.75, 20), sample(3, 10, 3.25, 20), sample(4, 30, 1.5, 80)]
    {
        store.add_quality_sample(&sample).await.expect("stored");
    }
    let alone = quality_sample(session, other.id, 5);
    store.add_quality_sample(&alone).await.expect("stored");

    let listed = store.quality_totals(session, ALL).await.expect("read");
    assert_eq!(listed.total, 2);
    let of = |participant| {
        let found = listed.items.iter().find(|total| total.record.participant == participant);
        found.expect("is listed").clone()
    };
    let total = of(host.id);
    let sums = alone.record;
    let expected = QualityRecord {
        participant: host.id,
        duration: Duration::from_secs(60),
        score: 2.625,
        lowest_score: 1.0,
        rtt: Duration::from_millis(50),
        max_rtt: Duration::from_millis(160),
        jitter: Duration::from_millis(20),
        audio: times(sums.audio, 4),
        video: times(sums.video, 4),
        sent_bytes: sums.sent_bytes * 4,
        dropped: sums.dropped * 4,
        sent_packets: sums.sent_packets * 4,
        lost_packets: sums.lost_packets * 4,
        available_bps: None,
        reported_loss: None,
    };
    assert_eq!(total.record, expected);
    let grades = [total.excellent, total.good, total.fair, total.poor];
    assert_eq!(grades.map(|duration| duration.as_secs()), [10, 10, 10, 30]);
    let total = of(other.id);
    assert_eq!(
        total.record,
        QualityRecord { available_bps: None, reported_loss: None, ..sums },
        "of one sample it is that sample"
    );
    let page = Page { limit: 1, offset: 1 };
    let listed_last = store.quality_totals(session, page).await.expect("read");
    assert_eq!((&listed_last.items[0], listed_last.total), (&listed.items[1], 2));
}

fn times(ingress: Ingress, factor: u64) -> Ingress {
    let Ingress { units, bytes, missing } = ingress;
    Ingress { units: units * factor, bytes: bytes * factor, missing: missing * factor }
}

async fn go_with_what_they_are_about(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    for with_organization in [false, true] {
        let (meeting, host) = stored_meeting(store, organization, |_| ()).await;
        let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined").id;
        store.add_quality_sample(&quality_sample(session, host.id, 11)).await.expect("stored");
        assert!(store.end_session(session, at(12)).await.expect("ended"));
        if with_organization {
            assert!(store.delete_organization(organization).await.expect("deleted"));
        } else {
            let removal = super::examples::removal(meeting.id, None, 13);
            assert!(store.delete_meeting(meeting.id, &removal).await.expect("deleted"));
        }
        assert_eq!(store.quality_samples(session, host.id, ALL).await.expect("read").total, 0);
        assert_eq!(store.quality_totals(session, ALL).await.expect("read").total, 0);
    }
}
