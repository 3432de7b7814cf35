use darktower_core::access::{Actor, OrganizationRole};
use darktower_protocol::{OrganizationId, UserId};

use super::*;

fn limits(change: impl FnOnce(&mut config::RateLimits)) -> RateLimits {
    let mut config = config::RateLimits::OFF;
    change(&mut config);
    RateLimits::new(&config)
}

fn address(text: &str) -> ClientAddress {
    ClientAddress(text.parse().expect("an address"))
}

/// What a client would be told after `work`.
async fn told(work: impl FnOnce()) -> Option<Standing> {
    let watched = async {
        work();
        TIGHTEST.with(Cell::take)
    };
    TIGHTEST.scope(Cell::new(None), watched).await
}

#[test]
fn the_limit_is_exact_and_keys_are_apart() {
    let limits = limits(|config| config.register = 3);
    for _ in 0..3 {
        assert!(limits.check(Class::Register, "a").is_ok());
    }
    assert!(limits.check(Class::Register, "a").is_err());
    assert!(limits.check(Class::Register, "b").is_ok());
    for _ in 0..1000 {
        assert!(limits.check(Class::Login, "a").is_ok(), "0 is off");
    }
}

#[test]
fn every_class_has_its_own_limiter() {
    let all = [
        Class::General,
        Class::Login,
        Class::Register,
        Class::MeetingCreate,
        Class::MeetingJoin,
        Class::GuestJoin,
        Class::GuestJoinPerAddress,
        Class::FailedAuth,
    ];
    let limits = RateLimits::new(&config::RateLimits {
        general: 1,
        login: 2,
        register: 3,
        meeting_create: 4,
        meeting_join: 5,
        guest_join: 6,
        guest_join_per_address: 7,
        failed_auth: 8,
    });
    for (index, class) in all.into_iter().enumerate() {
        let allowed = (0..20).take_while(|_| limits.check(class, "key").is_ok()).count();
        assert_eq!(allowed, index + 1, "{class:?}");
    }
}

#[tokio::test]
async fn clients_are_told_of_the_tightest_class() {
    let limits = limits(|config| (config.general, config.meeting_create, config.register) = (100, 10, 1));
    let standing = told(|| {
        assert!(limits.check(Class::General, "x").is_ok());
        assert!(limits.check(Class::MeetingCreate, "x").is_ok());
    });
    let standing = standing.await.expect("limited");
    assert_eq!((standing.limit, standing.remaining, standing.retry_after), (10, 9, None));
    assert_eq!(standing.full_after, Duration::from_secs(6));

    let standing = told(|| {
        assert!(limits.check(Class::Register, "x").is_ok());
        assert!(limits.check(Class::Register, "x").is_err());
        assert!(limits.check(Class::General, "x").is_ok());
    });
    let standing = standing.await.expect("limited");
    assert_eq!((standing.limit, standing.remaining), (1, 0));
    let wait = standing.retry_after.expect("refused");
    assert!(Duration::from_secs(3590) < wait && wait <= Duration::from_secs(3600), "{wait:?}");
    assert_eq!(told(|| {}).await, None);
}

#[test]
fn whoever_guesses_too_often_has_to_wait_and_others_do_not() {
    let limits = limits(|config| config.failed_auth = 2);
    let (guesser, other) = (address("203.0.113.9"), address("203.0.113.10"));
    for _ in 0..2 {
        limits.guessed_wrong(guesser);
        assert!(limits.may_guess(guesser).is_ok());
    }
    limits.guessed_wrong(guesser);
    assert!(limits.may_guess(guesser).is_err());
    assert!(limits.may_guess(other).is_ok());
    limits.forget_idle();
    assert!(limits.may_guess(guesser).is_err(), "30 s are not over");
}

#[test]
fn machine_clients_make_meetings_on_their_own_account() {
    let limits = limits(|config| config.meeting_create = 1);
    let organization = OrganizationId::generate();
    let caller = |identity| Caller {
        actor: Actor::User(OrganizationRole::Owner),
        organization,
        identity,
        login: None,
        request_id: None,
    };
    let client = |id: &str| caller(Identity::Client(id.to_owned()));
    let user = || caller(Identity::User(UserId::generate()));
    assert!(limits.new_meeting(&client("a")).is_ok());
    assert!(limits.new_meeting(&client("a")).is_err());
    assert!(limits.new_meeting(&client("b")).is_ok());
    assert!(limits.new_meeting(&user()).is_ok());
    assert!(limits.new_meeting(&user()).is_err(), "users share that of their organization");
}

#[test]
fn ipv6_clients_are_their_network() {
    let limits = limits(|config| config.general = 1);
    assert!(limits.general(None, address("2001:db8:0:1::1")).is_ok());
    assert!(limits.general(None, address("2001:db8:0:1:ffff::2")).is_err());
    assert!(limits.general(None, address("2001:db8:0:2::1")).is_ok());
    assert!(limits.general(None, address("203.0.113.9")).is_ok());
    assert!(limits.general(None, address("::ffff:203.0.113.9")).is_err());
    assert!(limits.general(Some("client"), address("203.0.113.9")).is_ok());
}

#[test]
fn memory_is_bounded_and_given_back() {
    let limits = limits(|config| config.general = 1_000_000);
    let limiter = limits.limiter(Class::General).expect("on");
    for client in 0..MAX_KEYS + 5 {
        assert!(limits.check(Class::General, client).is_ok());
    }
    assert_eq!(limiter.inner.len(), MAX_KEYS);
    // One use is back after 60 µs.
    let start = Instant::now();
    while !limiter.inner.is_empty() {
        limits.forget_idle();
        assert!(start.elapsed() < Duration::from_secs(20), "{} keys are kept", limiter.inner.len());
    }
}

#[test]
fn newcomers_past_the_bound_share_one_limit_and_the_known_keep_theirs() {
    let limits = limits(|config| config.register = 2);
    for client in 0..MAX_KEYS {
        assert!(limits.check(Class::Register, client).is_ok());
    }
    let newcomer = |name| limits.check(Class::Register, name).is_ok();
    assert_eq!([newcomer("a"), newcomer("b"), newcomer("c")], [true, true, false]);
    assert!(limits.check(Class::Register, 7usize).is_ok());
    assert!(limits.check(Class::Register, 7usize).is_err());
}

#[test]
fn waits_are_whole_seconds_rounded_up() {
    let table = [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (12_000, 12)];
    for (milliseconds, expected) in table {
        assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), expected);
    }
}
