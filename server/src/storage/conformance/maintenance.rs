//! Cleaning. Works on the whole database, in the far future of the other tests.

use darktower_core::access::OrganizationRole::Member;
use darktower_core::meeting::lifecycle::{MeetingStatus, Scheduling};
use time::Duration;

use super::examples::{
    ALL, arrival, at, quality_sample, refresh_token, removal, setup_secret, stored_meeting,
    stored_organization, stored_participant, stored_user,
};
use crate::storage::conformance::audit::{entry, filter};
use crate::storage::model::{Cleaned, KeepSince};
use crate::storage::store::Store;

/// Days, in seconds.
const DAY: i64 = 86_400;

pub(super) async fn run(store: &dyn Store) {
    // What others have left behind.
    clean(store, 1000 * DAY, 1000 * DAY).await;
    removes_what_has_ended(store).await;
    removes_in_portions(store).await;
}

/// Cleans until nothing is left to clean.
async fn clean(store: &dyn Store, now: i64, keep_since: i64) -> Cleaned {
    let keep = KeepSince { records: at(keep_since), quality_samples: at(keep_since) };
    let mut all = Cleaned::default();
    loop {
        let once = store.clean(at(now), keep).await.expect("cleaned");
        if once == Cleaned::default() {
            return all;
        }
        all.secrets += once.secrets;
        all.removals += once.removals;
        all.meetings += once.meetings;
        all.participants += once.participants;
        all.sessions += once.sessions;
        all.audit_entries += once.audit_entries;
        all.quality_samples += once.quality_samples;
    }
}

async fn removes_what_has_ended(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let user = stored_user(store, organization, "Zoë", Member).await;
    let start = 2000 * DAY;
    let mut tokens = Vec::new();
    for end in [start, start + 1] {
        let mut token = refresh_token(user.id);
        token.expires_at = at(end);
        assert!(store.begin_login(&token, None).await.expect("begun"));
        tokens.push(token);
    }
    let mut ended = setup_secret(organization, Some(user.id));
    ended.expires_at = Some(at(start));
    store.put_setup_secret(&ended, true).await.expect("stored");
    let mut endless = setup_secret(organization, None);
    endless.expires_at = None;
    store.put_setup_secret(&endless, true).await.expect("stored");

    let (old, recent) =
        (removal(ended_meeting(), None, start - DAY), removal(ended_meeting(), None, start - 60));
    for removal in [&old, &recent] {
        store.remove_all(removal).await.expect("stored");
    }
    for (second, action) in [(start - 10, "old"), (start - 9, "recent")] {
        store.append_audit(&entry(Some(organization), action, second)).await.expect("stored");
    }
    let (over, host) = stored_meeting(store, organization, |_| ()).await;
    let session = store.arrive(&arrival(&host, start - 30)).await.expect("stored").expect("joined");
    assert!(store.end_session(session.id, at(start - 20)).await.expect("ended"));
    let (recent_one, _) = stored_meeting(store, organization, |meeting| {
        meeting.status = MeetingStatus::Cancelled;
        meeting.ended_at = Some(at(start - 5));
    })
    .await;
    let (running, running_host) =
        stored_meeting(store, organization, |meeting| meeting.scheduling = Scheduling::Permanent).await;
    let past = store.arrive(&arrival(&running_host, start - 30)).await.expect("stored").expect("joined");
    assert!(store.end_session(past.id, at(start - 20)).await.expect("ended"));
    let present = store.arrive(&arrival(&running_host, start - 19)).await.expect("stored").expect("joined");
    for (session, second) in [(past.id, start - 21), (present.id, start - 10), (present.id, start - 9)] {
        store.add_quality_sample(&quality_sample(session, running_host.id, second)).await.expect("stored");
    }
    // Over, but its server has not noticed yet.
    let (mut unnoticed, its_host) = stored_meeting(store, organization, |_| ()).await;
    let its_session = store.arrive(&arrival(&its_host, start - 30)).await.expect("stored").expect("joined");
    (unnoticed.status, unnoticed.ended_at, unnoticed.version) =
        (MeetingStatus::Ended, Some(at(start - 25)), 1);
    assert!(store.update_meeting(&unnoticed, None).await.expect("written"));
    let expires =
        async |second| stored_participant(store, running.id, |issued| issued.expires_at = at(second)).await;
    let (expired, valid) = (expires(start - 10).await, expires(start - 9).await);

    let cleaned = clean(store, start, start - 9).await;
    // Hosts of the three meetings that stay, and one more.
    let expected = Cleaned {
        secrets: 2,
        removals: 1,
        meetings: 1,
        participants: 4,
        sessions: 2,
        audit_entries: 1,
        // Another went with its session.
        quality_samples: 1,
    };
    assert_eq!(cleaned, expected);
    assert_eq!(
        store.refresh_token(&tokens[1].hash, at(start)).await.expect("read").as_ref(),
        Some(&tokens[1])
    );
    assert!(store.setup_secret(&endless.hash, at(start)).await.expect("read").is_some());
    assert_eq!(store.removals(at(start - 2 * DAY)).await.expect("read"), [recent]);
    assert_eq!(store.audit_log(&filter(organization)).await.expect("read").items[0].action, "recent");
    assert_eq!(store.meeting(over.id).await.expect("read"), None);
    assert_eq!(store.participant(host.id).await.expect("read"), None);
    assert!(store.meeting(recent_one.id).await.expect("read").is_some());
    assert!(store.meeting(running.id).await.expect("read").is_some());
    assert!(store.meeting(unnoticed.id).await.expect("read").is_some());
    assert_eq!(store.participant(expired.id).await.expect("read"), None);
    assert_eq!(store.participant(valid.id).await.expect("read"), Some(valid));
    assert_eq!(store.attendances(present.id, ALL).await.expect("read").total, 1, "still says who it was");
    let samples = store.quality_samples(present.id, running_host.id, ALL).await.expect("read").items;
    assert_eq!(samples, [quality_sample(present.id, running_host.id, start - 9)]);
    let totals = store.quality_totals(present.id, ALL).await.expect("read").items;
    assert_eq!(totals[0].record.duration, samples[0].record.duration * 2, "the one before still counts");
    assert_eq!(store.quality_totals(past.id, ALL).await.expect("read").total, 0);
    assert_eq!(store.session(past.id).await.expect("read"), None);
    assert!(store.session(present.id).await.expect("read").is_some());
    assert!(store.session(its_session.id).await.expect("read").is_some());
}

async fn removes_in_portions(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    let start = 3000 * DAY;
    for index in 0..120 {
        let (meeting, _) = stored_meeting(store, organization, |meeting| {
            meeting.status = MeetingStatus::Ended;
            meeting.ended_at = Some(at(start) + Duration::microseconds(index));
        })
        .await;
        stored_participant(store, meeting.id, |_| ()).await;
    }
    let keep = KeepSince { records: at(start + DAY), quality_samples: at(start) };
    let once = store.clean(at(start + DAY), keep).await.expect("cleaned");
    assert!(once.meetings > 0 && once.meetings < 120, "{once:?}");
    let listed = store.invitees(ended_meeting(), ALL).await.expect("answers in between");
    assert_eq!(listed.total, 0);
    let rest = clean(store, start + DAY, start + DAY).await;
    assert_eq!(once.meetings + rest.meetings, 120 + 1, "and the one that was recent before");
}

/// The id of a meeting that is not there any more.
fn ended_meeting() -> darktower_protocol::MeetingId {
    darktower_protocol::MeetingId::generate()
}
