//! Leases: the right to load a value, and the right to store it.

use std::time::Duration;

use cached_core::{
    LeaseMode, LeaseReply, LeaseRequest, LeaseToken, Lookup, Note, Record, Stored, Tier, TierError,
};
use cached_redis::RedisTier;
use redis_harness::{RedisServer, eventually_async};

use crate::support::{
    MINUTE, ask, builder, bytes, claim, delete, fill, get, lease, look, put, refused, tier, token, up, value,
};

/// Duration of a lease that expires within a test.
const SHORT: Duration = Duration::from_millis(20);

fn short(key: &str, token: LeaseToken, take: LeaseMode) -> LeaseRequest<'_> {
    LeaseRequest { key, token, lease: SHORT, take }
}

fn assert_busy(grant: LeaseReply) {
    assert!(
        matches!(grant, LeaseReply::HeldElsewhere(left) if left > MINUTE / 2 && left <= MINUTE),
        "{grant:?}"
    );
}

async fn stamp(tier: &RedisTier, key: &str) -> u64 {
    get(tier, key).await.unwrap().unwrap().stamp
}

fn left(server: &RedisServer, key: &str) -> i64 {
    server.cli(&["PTTL", key]).parse().unwrap()
}

#[tokio::test]
async fn one_of_two_loads_gets_the_lease() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    let (mine, theirs) = (token(), token());
    assert_eq!(lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert_busy(lease(&other, claim("key", theirs, LeaseMode::IfAbsent)).await.unwrap());
    assert_busy(lease(&tier, claim("key", theirs, LeaseMode::IfRevision(7))).await.unwrap());
    assert!(
        matches!(look(&other, "key").await, Ok(Record::Leased { left, .. }) if left > MINUTE / 2 && left <= MINUTE)
    );
    assert_eq!(other.exists("key").await, Ok(false));

    assert_eq!(fill(&other, value("key", theirs, vec![2], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(true));
    let stored = get(&other, "key").await.unwrap().unwrap();
    assert_eq!((stored.bytes, stored.stamp), (vec![1], mine.stamp()));
    assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE));
    assert_eq!(other.exists("key").await, Ok(true));
}

#[tokio::test]
async fn the_same_load_may_ask_twice() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    for _ in 0..2 {
        assert_eq!(lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    }
}

#[tokio::test]
async fn every_removal_of_the_key_rejects_the_fill() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let removals: [(&str, &[&str]); 4] = [
        ("a delete", &["DEL", "key"]),
        ("a flush", &["FLUSHALL"]),
        ("an expiry", &["PEXPIRE", "key", "1"]),
        ("a foreign value", &["SET", "key", "foreign"]),
    ];
    for (what, command) in removals {
        let mine = token();
        assert_eq!(
            lease(&tier, claim("key", mine, LeaseMode::Always)).await,
            Ok(LeaseReply::Granted),
            "{what}"
        );
        server.cli(command);
        eventually_async(what, async || !matches!(look(&tier, "key").await, Ok(Record::Leased { .. }))).await;
        assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(false), "{what}");
        assert_ne!(get(&tier, "key").await.unwrap().map(|stored| stored.bytes), Some(vec![1]), "{what}");
        server.cli(&["DEL", "key"]);
    }
}

#[tokio::test]
async fn a_lease_that_was_deleted_and_taken_again_is_another_one() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (before, after) = (token(), token());
    lease(&tier, claim("key", before, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(delete(&tier, "key").await, Ok(()));
    assert_eq!(lease(&tier, claim("key", after, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, value("key", before, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(tier.renew("key", before, MINUTE).await, Ok(false));
    assert_eq!(tier.release("key", before, false).await, Ok(false));
    assert_eq!(fill(&tier, value("key", after, vec![2], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (gone, next) = (token(), token());
    lease(&tier, short("key", gone, LeaseMode::IfAbsent)).await.unwrap();
    eventually_async("the lease has ended", async || {
        lease(&tier, claim("key", next, LeaseMode::IfAbsent)).await == Ok(LeaseReply::Granted)
    })
    .await;
    assert_eq!(fill(&tier, value("key", gone, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, value("key", next, vec![2], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn a_value_is_served_while_it_is_replaced() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    put(&tier, "key", b"old".to_vec(), MINUTE).await.unwrap();
    let old = stamp(&tier, "key").await;

    let mine = token();
    assert_eq!(lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await, Ok(LeaseReply::ValueChanged));
    assert_eq!(
        lease(&tier, claim("key", token(), LeaseMode::IfRevision(old ^ 1))).await,
        Ok(LeaseReply::ValueChanged)
    );
    assert_eq!(lease(&tier, claim("key", mine, LeaseMode::IfRevision(old))).await, Ok(LeaseReply::Granted));
    assert_busy(lease(&other, claim("key", token(), LeaseMode::IfRevision(old))).await.unwrap());
    assert_eq!(bytes(&other, "key").await, Some(b"old".to_vec()));
    assert_eq!(stamp(&other, "key").await, old);
    assert!(left(&server, "key") <= 60_000, "the lease does not prolong the value");

    assert_eq!(fill(&tier, value("key", mine, b"new".to_vec(), 10 * MINUTE)).await, Ok(true));
    assert_eq!(bytes(&other, "key").await, Some(b"new".to_vec()));
    assert_eq!(stamp(&other, "key").await, mine.stamp());
    assert!(left(&server, "key") > 60_000);
}

/// A lease that expired with the value would make the fill of its load fail.
#[tokio::test]
async fn a_value_that_ends_before_its_lease_is_served_until_then() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    let remaining = async |longest: Duration| {
        let stored = get(&other, "key").await.unwrap().expect("it is served");
        assert!(stored.remaining.is_some_and(|left| !left.is_zero() && left <= longest), "{stored:?}");
    };
    put(&tier, "key", b"old".to_vec(), MINUTE / 2).await.unwrap();
    let (old, mine) = (stamp(&tier, "key").await, token());
    assert_eq!(lease(&tier, claim("key", mine, LeaseMode::IfRevision(old))).await, Ok(LeaseReply::Granted));
    assert_eq!(bytes(&other, "key").await, Some(b"old".to_vec()));
    remaining(MINUTE / 2).await;
    assert!(left(&server, "key") > 30_000, "the lease lasts longer");
    assert_eq!(tier.renew("key", mine, 2 * MINUTE).await, Ok(true));
    remaining(MINUTE / 2).await;
    assert!(left(&server, "key") > 60_000);

    // Releasing a lease leaves the value as it was.
    assert_eq!(tier.release("key", mine, false).await, Ok(true));
    remaining(MINUTE / 2).await;
    assert!(left(&server, "key") <= 30_000);
    let next = token();
    assert_eq!(lease(&tier, claim("key", next, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, value("key", next, b"new".to_vec(), MINUTE)).await, Ok(true));
    assert_eq!(bytes(&other, "key").await, Some(b"new".to_vec()));
}

#[tokio::test]
async fn a_value_that_has_ended_under_a_lease_is_none() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    for is_failed in [false, true] {
        put(&tier, "key", b"old".to_vec(), Duration::from_millis(200)).await.unwrap();
        let mine = token();
        assert_eq!(lease(&tier, claim("key", mine, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
        eventually_async("the value has ended", async || {
            matches!(look(&other, "key").await, Ok(Record::Leased { .. }))
        })
        .await;
        assert_eq!(other.exists("key").await, Ok(false));
        // The server's clock may be slightly behind its clients' estimate of it.
        eventually_async("the server finds so too", async || {
            matches!(
                lease(&other, claim("key", token(), LeaseMode::IfAbsent)).await,
                Ok(LeaseReply::HeldElsewhere(_))
            )
        })
        .await;
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        let left = if is_failed { Record::Failed } else { Record::Absent };
        assert_eq!(look(&other, "key").await, Ok(left));
    }
}

/// A value of another program does not record its expiry, so the lease does.
#[tokio::test]
async fn a_foreign_value_under_a_lease_lasts_no_longer() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    server.cli(&["SET", "key", "theirs", "PX", "30000"]);
    assert_eq!(lease(&tier, claim("key", token(), LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    let stored = get(&tier, "key").await.unwrap().unwrap();
    assert_eq!(stored.bytes, b"theirs");
    assert!(stored.remaining.is_some_and(|left| left <= MINUTE / 2), "{stored:?}");
}

#[tokio::test]
async fn a_lease_over_a_value_ends_by_itself_and_leaves_the_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", b"old".to_vec(), MINUTE).await.unwrap();
    let old = stamp(&tier, "key").await;
    lease(&tier, short("key", token(), LeaseMode::IfRevision(old))).await.unwrap();
    eventually_async("the lease has ended", async || {
        lease(&tier, claim("key", token(), LeaseMode::IfRevision(old))).await == Ok(LeaseReply::Granted)
    })
    .await;
    assert_eq!(bytes(&tier, "key").await, Some(b"old".to_vec()));
}

#[tokio::test]
async fn force_takes_whatever_there_is() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (first, second, third) = (token(), token(), token());
    lease(&tier, claim("key", first, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(lease(&tier, claim("key", second, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, value("key", first, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, value("key", second, vec![2], MINUTE)).await, Ok(true));

    assert_eq!(lease(&tier, claim("key", third, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(bytes(&tier, "key").await, Some(vec![2]));
    assert_eq!(fill(&tier, value("key", third, vec![3], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn another_programs_value_can_be_leased_and_replaced() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for foreign in ["", "{}", "a value that is longer than the trailer of a lease is"] {
        server.cli(&["SET", "key", foreign, "EX", "60"]);
        let stored = get(&tier, "key").await.unwrap();
        // An empty string counts as absent.
        let expected = (!foreign.is_empty()).then(|| (foreign.as_bytes().to_vec(), 0));
        assert_eq!(stored.map(|stored| (stored.bytes, stored.stamp)), expected);
        assert_eq!(tier.exists("key").await, Ok(true));
        let mine = token();
        let take = if foreign.is_empty() { LeaseMode::IfAbsent } else { LeaseMode::IfRevision(0) };
        assert_eq!(lease(&tier, claim("key", mine, take)).await, Ok(LeaseReply::Granted), "{foreign}");
        if !foreign.is_empty() {
            assert_eq!(bytes(&tier, "key").await, Some(foreign.as_bytes().to_vec()));
        }
        assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
    }
}

#[tokio::test]
async fn a_renewed_lease_lasts_longer() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.renew("key", mine, 10 * MINUTE).await, Ok(true));
    assert!(matches!(look(&tier, "key").await, Ok(Record::Leased { left, .. }) if left > 9 * MINUTE));
    let grant = lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert!(matches!(grant, LeaseReply::HeldElsewhere(left) if left > 9 * MINUTE), "{grant:?}");

    assert_eq!(tier.renew("absent", mine, MINUTE).await, Ok(false));
    assert_eq!(server.cli(&["EXISTS", "absent"]), "0");
}

#[tokio::test]
async fn renewing_a_lease_over_a_value_does_not_prolong_the_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], 11 * MINUTE).await.unwrap();
    let (old, mine) = (stamp(&tier, "key").await, token());
    lease(&tier, claim("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
    assert_eq!(tier.renew("key", mine, 10 * MINUTE).await, Ok(true));
    assert!(left(&server, "key") <= 660_000);
    let grant = lease(&tier, claim("key", token(), LeaseMode::IfRevision(old))).await.unwrap();
    assert!(matches!(grant, LeaseReply::HeldElsewhere(left) if left > 9 * MINUTE), "{grant:?}");
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_free() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.release("key", mine, false).await, Ok(true));
    assert_eq!(look(&tier, "key").await, Ok(Record::Absent));
    assert_eq!(tier.release("key", mine, false).await, Ok(false));

    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let old = stamp(&tier, "key").await;
    for is_failed in [false, true] {
        let mine = token();
        lease(&tier, claim("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
        assert_eq!(stamp(&tier, "key").await, old);
        assert_eq!(fill(&tier, value("key", mine, vec![2], MINUTE)).await, Ok(false));
        assert!(left(&server, "key") > 50_000);
    }
    assert_eq!(
        lease(&tier, claim("key", token(), LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
}

#[tokio::test]
async fn failed_load_leaves_a_marker_for_at_most_a_second() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.release("key", mine, true).await, Ok(true));
    assert_eq!(look(&tier, "key").await, Ok(Record::Failed));
    assert_eq!(tier.exists("key").await, Ok(false));
    assert!((1..=1000).contains(&left(&server, "key")));
    assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(false));

    // Any caller may take the lease. Until a load has stored something, waiting callers can see that this is
    // the next attempt.
    let next = token();
    assert_eq!(lease(&tier, claim("key", next, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert!(matches!(look(&tier, "key").await, Ok(Record::Leased { is_retry: true, .. })));
    assert_eq!(tier.renew("key", next, MINUTE).await, Ok(true));
    assert!(matches!(look(&tier, "key").await, Ok(Record::Leased { is_retry: true, .. })));
    assert_busy(lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await.unwrap());
    assert_eq!(fill(&tier, value("key", next, vec![1], MINUTE)).await, Ok(true));
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
    delete(&tier, "key").await.unwrap();
    lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert!(matches!(look(&tier, "key").await, Ok(Record::Leased { is_retry: false, .. })));
}

#[tokio::test]
async fn failure_note_is_kept_for_seconds_and_is_no_value() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    for note in [&b"no"[..], b"", &[0xff; 4096]] {
        let (mine, next) = (token(), token());
        let note = Note(note.to_vec());
        lease(&tier, claim("key", mine, LeaseMode::IfAbsent)).await.unwrap();
        assert_eq!(tier.fail("key", token(), &note).await, Ok(false), "another load's");
        assert_eq!(tier.fail("key", mine, &note).await, Ok(true));
        assert_eq!(look(&other, "key").await, Ok(Record::Error(note.clone())));
        assert_eq!(other.exists("key").await, Ok(false));
        assert!((1..=5000).contains(&left(&server, "key")));
        assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(false));
        assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(false));

        // The next load is like any other.
        assert_eq!(lease(&other, claim("key", next, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
        assert!(matches!(look(&tier, "key").await, Ok(Record::Leased { is_retry: false, .. })));
        assert_eq!(tier.fail("key", mine, &note).await, Ok(false));
        assert_eq!(fill(&other, value("key", next, vec![1], MINUTE)).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
        delete(&tier, "key").await.unwrap();
    }
}

#[tokio::test]
async fn a_value_stays_when_the_load_that_was_to_replace_it_fails() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let (old, mine) = (stamp(&tier, "key").await, token());
    lease(&tier, claim("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
    assert_eq!(tier.fail("key", mine, &Note(b"no".to_vec())).await, Ok(true));
    assert_eq!((bytes(&tier, "key").await, stamp(&tier, "key").await), (Some(vec![1]), old));
    assert!(left(&server, "key") > 50_000);
    assert_eq!(
        lease(&tier, claim("key", token(), LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
}

#[tokio::test]
async fn only_what_changed_is_asked_for_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let known = stamp(&tier, "key").await;
    let ask = async |known| {
        let seen = tier.look(&[Lookup::known("key", known)], &[]).await.unwrap();
        seen.records.into_iter().next().unwrap()
    };
    assert!(matches!(ask(known).await, Record::Unchanged));
    lease(&tier, claim("key", token(), LeaseMode::IfRevision(known))).await.unwrap();
    assert!(matches!(ask(known).await, Record::Unchanged), "a lease is no other value");
    assert_eq!(ask(known ^ 1).await, Record::Changed);
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(ask(known).await, Record::Changed);
    delete(&tier, "key").await.unwrap();
    assert_eq!(ask(known).await, Record::Changed);
    lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(ask(known).await, Record::Changed);
}

#[tokio::test]
async fn a_value_of_no_bytes_is_a_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", Vec::new(), MINUTE).await.unwrap();
    let known = stamp(&tier, "key").await;
    assert_eq!(tier.exists("key").await, Ok(true));
    assert_eq!(lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await, Ok(LeaseReply::ValueChanged));
    assert_eq!(
        lease(&tier, claim("key", token(), LeaseMode::IfRevision(known))).await,
        Ok(LeaseReply::Granted)
    );
    assert!(matches!(get(&tier, "key").await, Ok(Some(Stored { bytes, .. })) if bytes.is_empty()));
    assert_eq!(tier.exists("key").await, Ok(true));
}

#[tokio::test]
async fn a_fill_that_comes_late_does_not_bring_back_what_was_deleted() {
    let server = RedisServer::start();
    let slow = builder(&server.url()).write_timeout(Duration::from_millis(50)).build().unwrap();
    let other = tier(&server.url());
    up(&other).await;
    // After the thaw, the server may run the two commands in either order. Both orders are correct, so each
    // round uses a new lease.
    for round in 0..10_u8 {
        up(&slow).await;
        let mine = token();
        lease(&slow, claim("key", mine, LeaseMode::IfAbsent)).await.unwrap();
        server.freeze();
        assert_eq!(fill(&slow, value("key", mine, vec![round], MINUTE)).await, Err(TierError::Timeout));
        let thaw = async {
            tokio::task::yield_now().await;
            server.thaw();
        };
        let (deleted, ()) = tokio::join!(delete(&other, "key"), thaw);
        assert_eq!(deleted, Ok(()));
        up(&slow).await;
        assert_eq!(look(&other, "key").await, Ok(Record::Absent), "in round {round}");
    }
}

#[tokio::test]
async fn many_leases_are_granted_one_by_one() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "known", vec![1], MINUTE).await.unwrap();
    lease(&tier, claim("busy", token(), LeaseMode::IfAbsent)).await.unwrap();
    let (one, three, four) = (token(), token(), token());
    let claims = [
        claim("free", one, LeaseMode::IfAbsent),
        claim("busy", token(), LeaseMode::IfAbsent),
        claim("known", three, LeaseMode::IfAbsent),
        claim("forced", four, LeaseMode::Always),
    ];
    let leased = tier.lease(&claims, ask(&[], MINUTE)).await.unwrap();
    assert!(matches!(
        leased.grants[..],
        [LeaseReply::Granted, LeaseReply::HeldElsewhere(_), LeaseReply::ValueChanged, LeaseReply::Granted]
    ));

    let fills = vec![
        value("free", one, vec![1], MINUTE),
        value("known", three, vec![3], MINUTE),
        value("forced", four, vec![4], MINUTE),
    ];
    assert_eq!(tier.fill(fills).await.unwrap().stored, [true, false, true]);
    assert_eq!(bytes(&tier, "known").await, Some(vec![1]));
}

#[tokio::test]
async fn a_key_of_another_type_is_refused() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    server.cli(&["RPUSH", "list", "someone else's"]);
    let mine = token();
    for take in [LeaseMode::IfAbsent, LeaseMode::IfRevision(1), LeaseMode::Always] {
        assert_eq!(lease(&tier, claim("list", mine, take)).await, Err(refused("WRONGTYPE")));
    }
    assert_eq!(fill(&tier, value("list", mine, vec![1], MINUTE)).await, Err(refused("WRONGTYPE")));
    assert_eq!(server.cli(&["LLEN", "list"]), "1");
}
