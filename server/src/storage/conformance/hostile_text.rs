//! Text that is not what anybody expects: it is kept as it is, means nothing, and breaks nothing.

use darktower_core::access::OrganizationRole::Member;

use super::examples::{ALL, arrival, client, meeting, organization, preset, stored_organization, user};
use crate::storage::conformance::audit::{entry, filter};
use crate::storage::model::{MeetingFilter, UserFilter};
use crate::storage::store::Store;

const TEXTS: [&str; 8] = [
    "'; DROP TABLE participants; --",
    "\" OR \"\"=\"",
    "\\'; SELECT 1; \\",
    "$1 ?1 :a @a {} %s %_",
    "👩‍👩‍👧‍👦 ﷽ \u{202e}evil\u{202c}",
    "a\r\nb\tc\u{7f}\u{1b}[2J",
    "\u{feff}\u{fffd}\u{10ffff}",
    "",
];

pub(super) async fn run(store: &dyn Store) {
    for text in TEXTS {
        is_kept_as_it_is(store, text).await;
    }
    is_kept_as_it_is(store, &"long 会 ".repeat(20_000)).await;
    nul_breaks_nothing(store).await;
}

async fn is_kept_as_it_is(store: &dyn Store, text: &str) {
    let mut organization = organization();
    text.clone_into(&mut organization.name);
    let id = organization.id;
    let mut preset = preset(text);
    preset.preset.ui.design_tokens.logo = text.to_owned();
    // What is unique gets something to make it so; indexed text must not be too long.
    let short: String = text.chars().take(100).collect();
    preset.preset.name = short.clone();
    organization.slug = format!("{short}{id}");
    store.create_organization(&organization, &[preset.clone()], None).await.expect("stored");
    assert_eq!(
        store.organization_by_slug(&organization.slug).await.expect("read").as_ref(),
        Some(&organization)
    );
    assert_eq!(store.preset(id, &short).await.expect("read").as_ref(), Some(&preset));

    let mut person = user(id, "x", Member);
    (person.name, person.email) = (text.to_owned(), format!("{short}@x"));
    store.create_user(&person, None).await.expect("stored");
    assert_eq!(store.user_by_email(id, &person.email).await.expect("read").as_ref(), Some(&person));
    let search = Some(text.to_owned());
    let users = UserFilter { organization_id: id, role: None, search: search.clone(), page: ALL };
    assert_eq!(store.users(&users).await.expect("listed").items, [person]);

    let machine = client(id, &format!("{short}{id}"));
    store.create_client(&machine).await.expect("stored");
    assert_eq!(store.client(&machine.id).await.expect("read").as_ref(), Some(&machine));

    let (mut written, mut host) = meeting(id);
    (written.display_name, written.description) = (text.to_owned(), Some(text.to_owned()));
    (written.slug, written.created_by) = (format!("{short}{id}"), Some(short.clone()));
    (host.name, host.user_id) = (text.to_owned(), Some(short.clone()));
    store.create_meeting(&written, &host).await.expect("stored");
    assert_eq!(store.meeting_by_slug(&written.slug).await.expect("read").as_ref(), Some(&written));
    assert_eq!(store.participant(host.id).await.expect("read").as_ref(), Some(&host));
    let meetings = MeetingFilter {
        organization_id: id,
        active: None,
        status: None,
        user_id: Some(short),
        visible_to: None,
        search,
        from: None,
        to: None,
        page: ALL,
    };
    assert_eq!(store.meetings(&meetings).await.expect("listed").items, [written]);

    let session = store.arrive(&arrival(&host, 1)).await.expect("stored").expect("joined");
    assert!(store.depart(session.id, host.id, super::at(2), text).await.expect("left"));
    let stays = store.attendances(session.id, ALL).await.expect("listed").items;
    assert_eq!((stays[0].name.as_str(), stays[0].leave_reason.as_deref()), (text, Some(text)));

    let mut logged = entry(Some(id), text, 0);
    (logged.target_id, logged.details) = (Some(text.to_owned()), serde_json::json!({ text: text }));
    store.append_audit(&logged).await.expect("stored");
    assert_eq!(store.audit_log(&filter(id)).await.expect("listed").items, [logged]);
}

/// PostgreSQL cannot keep a NUL: it becomes the replacement character, in writing and in searching.
async fn nul_breaks_nothing(store: &dyn Store) {
    let organization = stored_organization(store).await.id;
    assert_eq!(store.organization_by_slug("a\0").await.expect("read"), None);
    assert_eq!(store.user_by_email(organization, "\0").await.expect("read"), None);
    assert_eq!(store.client("\0").await.expect("read"), None);
    assert_eq!(store.preset(organization, "\0").await.expect("read"), None);
    assert_eq!(store.meeting_by_slug("\0").await.expect("read"), None);
    let mut person = user(organization, "x", Member);
    person.name = "a\0b".to_owned();
    store.create_user(&person, None).await.expect("stored");
    let read = store.user(person.id).await.expect("read").expect("is there");
    assert_eq!(read.name, "a\u{fffd}b");
    let search = Some("A\0B".to_owned());
    let users = UserFilter { organization_id: organization, role: None, search, page: ALL };
    assert_eq!(store.users(&users).await.expect("listed").total, 1);
}
