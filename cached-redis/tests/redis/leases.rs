//! Leases: the right to load a value, and the right to store it.

use std::time::Duration;

use cached_core::{
    TierError,
    tier::{LeaseMode, LeaseReply, LeaseRequest, LeaseToken, Lookup, Note, Record, Stored, Tier},
};
use cached_redis::RedisTier;
use redis_harness::{RedisServer, eventually_async};

use crate::support::{
    MINUTE, builder, bytes, delete, fill, get, lease, lease_request, lookup, put, refused, tag_request, tier,
    tier_fill, token, wait_until_up,
};

/// Duration of a lease that expires within a test.
const SHORT: Duration = Duration::from_millis(20);

fn short_lease_request(key: &str, token: LeaseToken, mode: LeaseMode) -> LeaseRequest<'_> {
    LeaseRequest { key, token, lease: SHORT, mode }
}

fn assert_held_elsewhere(grant: LeaseReply) {
    assert!(
        matches!(grant, LeaseReply::HeldElsewhere(left) if left > MINUTE / 2 && left <= MINUTE),
        "{grant:?}"
    );
}

async fn revision(tier: &RedisTier, key: &str) -> u64 {
    get(tier, key).await.unwrap().unwrap().revision
}

fn pttl(server: &RedisServer, key: &str) -> i64 {
    server.cli(&["PTTL", key]).parse().unwrap()
}

#[tokio::test]
async fn one_of_two_loads_gets_the_lease() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    let (mine, theirs) = (token(), token());
    assert_eq!(lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert_held_elsewhere(lease(&other, lease_request("key", theirs, LeaseMode::IfAbsent)).await.unwrap());
    assert_held_elsewhere(
        lease(&tier, lease_request("key", theirs, LeaseMode::IfRevision(7))).await.unwrap(),
    );
    assert!(
        matches!(lookup(&other, "key").await, Ok(Record::Leased { left, .. }) if left > MINUTE / 2 && left <= MINUTE)
    );
    assert_eq!(other.exists("key").await, Ok(false));

    assert_eq!(fill(&other, tier_fill("key", theirs, vec![2], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(true));
    let stored = get(&other, "key").await.unwrap().unwrap();
    assert_eq!((stored.bytes, stored.revision), (vec![1], mine.revision()));
    assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE));
    assert_eq!(other.exists("key").await, Ok(true));
}

#[tokio::test]
async fn lease_is_granted_again_to_the_same_load() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    for _ in 0..2 {
        assert_eq!(
            lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await,
            Ok(LeaseReply::Granted)
        );
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
            lease(&tier, lease_request("key", mine, LeaseMode::Always)).await,
            Ok(LeaseReply::Granted),
            "{what}"
        );
        server.cli(command);
        eventually_async(what, async || !matches!(lookup(&tier, "key").await, Ok(Record::Leased { .. })))
            .await;
        assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(false), "{what}");
        assert_ne!(get(&tier, "key").await.unwrap().map(|stored| stored.bytes), Some(vec![1]), "{what}");
        server.cli(&["DEL", "key"]);
    }
}

#[tokio::test]
async fn deleted_lease_is_invalid_after_the_key_is_leased_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (before, after) = (token(), token());
    lease(&tier, lease_request("key", before, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(delete(&tier, "key").await, Ok(()));
    assert_eq!(lease(&tier, lease_request("key", after, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, tier_fill("key", before, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(tier.renew("key", before, MINUTE).await, Ok(false));
    assert_eq!(tier.release("key", before, false).await, Ok(false));
    assert_eq!(fill(&tier, tier_fill("key", after, vec![2], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn lease_expires() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (gone, next) = (token(), token());
    lease(&tier, short_lease_request("key", gone, LeaseMode::IfAbsent)).await.unwrap();
    eventually_async("the lease has ended", async || {
        lease(&tier, lease_request("key", next, LeaseMode::IfAbsent)).await == Ok(LeaseReply::Granted)
    })
    .await;
    assert_eq!(fill(&tier, tier_fill("key", gone, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, tier_fill("key", next, vec![2], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn value_is_served_while_it_is_replaced() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    put(&tier, "key", b"old".to_vec(), MINUTE).await.unwrap();
    let old = revision(&tier, "key").await;

    let mine = token();
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await,
        Ok(LeaseReply::ValueChanged)
    );
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(old ^ 1))).await,
        Ok(LeaseReply::ValueChanged)
    );
    assert_eq!(
        lease(&tier, lease_request("key", mine, LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
    assert_held_elsewhere(
        lease(&other, lease_request("key", token(), LeaseMode::IfRevision(old))).await.unwrap(),
    );
    assert_eq!(bytes(&other, "key").await, Some(b"old".to_vec()));
    assert_eq!(revision(&other, "key").await, old);
    assert!(pttl(&server, "key") <= 60_000, "the lease does not prolong the value");

    assert_eq!(fill(&tier, tier_fill("key", mine, b"new".to_vec(), 10 * MINUTE)).await, Ok(true));
    assert_eq!(bytes(&other, "key").await, Some(b"new".to_vec()));
    assert_eq!(revision(&other, "key").await, mine.revision());
    assert!(pttl(&server, "key") > 60_000);
}

/// A lease that expired with the value would make the fill of its load fail.
#[tokio::test]
async fn value_that_expires_before_its_lease_is_served_until_its_expiry() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    let remaining = async |longest: Duration| {
        let stored = get(&other, "key").await.unwrap().expect("it is served");
        assert!(stored.remaining.is_some_and(|left| !left.is_zero() && left <= longest), "{stored:?}");
    };
    put(&tier, "key", b"old".to_vec(), MINUTE / 2).await.unwrap();
    let (old, mine) = (revision(&tier, "key").await, token());
    assert_eq!(
        lease(&tier, lease_request("key", mine, LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
    assert_eq!(bytes(&other, "key").await, Some(b"old".to_vec()));
    remaining(MINUTE / 2).await;
    assert!(pttl(&server, "key") > 30_000, "the lease lasts longer");
    assert_eq!(tier.renew("key", mine, 2 * MINUTE).await, Ok(true));
    remaining(MINUTE / 2).await;
    assert!(pttl(&server, "key") > 60_000);

    // Releasing a lease leaves the value as it was.
    assert_eq!(tier.release("key", mine, false).await, Ok(true));
    remaining(MINUTE / 2).await;
    assert!(pttl(&server, "key") <= 30_000);
    let next = token();
    assert_eq!(lease(&tier, lease_request("key", next, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, tier_fill("key", next, b"new".to_vec(), MINUTE)).await, Ok(true));
    assert_eq!(bytes(&other, "key").await, Some(b"new".to_vec()));
}

#[tokio::test]
async fn expired_value_under_a_lease_is_absent() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    for is_failed in [false, true] {
        put(&tier, "key", b"old".to_vec(), Duration::from_millis(200)).await.unwrap();
        let mine = token();
        assert_eq!(
            lease(&tier, lease_request("key", mine, LeaseMode::Always)).await,
            Ok(LeaseReply::Granted)
        );
        eventually_async("the value has ended", async || {
            matches!(lookup(&other, "key").await, Ok(Record::Leased { .. }))
        })
        .await;
        assert_eq!(other.exists("key").await, Ok(false));
        // The server's clock may be slightly behind its clients' estimate of it.
        eventually_async("the server finds so too", async || {
            matches!(
                lease(&other, lease_request("key", token(), LeaseMode::IfAbsent)).await,
                Ok(LeaseReply::HeldElsewhere(_))
            )
        })
        .await;
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        let left = if is_failed { Record::Failed } else { Record::Absent };
        assert_eq!(lookup(&other, "key").await, Ok(left));
    }
}

/// A value of another program does not record its expiry, so the lease does.
#[tokio::test]
async fn lease_does_not_prolong_a_foreign_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    server.cli(&["SET", "key", "theirs", "PX", "30000"]);
    assert_eq!(lease(&tier, lease_request("key", token(), LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    let stored = get(&tier, "key").await.unwrap().unwrap();
    assert_eq!(stored.bytes, b"theirs");
    assert!(stored.remaining.is_some_and(|left| left <= MINUTE / 2), "{stored:?}");
}

#[tokio::test]
async fn lease_over_a_value_expires_and_leaves_the_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", b"old".to_vec(), MINUTE).await.unwrap();
    let old = revision(&tier, "key").await;
    lease(&tier, short_lease_request("key", token(), LeaseMode::IfRevision(old))).await.unwrap();
    eventually_async("the lease has ended", async || {
        lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(old))).await
            == Ok(LeaseReply::Granted)
    })
    .await;
    assert_eq!(bytes(&tier, "key").await, Some(b"old".to_vec()));
}

#[tokio::test]
async fn mode_always_takes_the_lease_over_any_record() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let (first, second, third) = (token(), token(), token());
    lease(&tier, lease_request("key", first, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(lease(&tier, lease_request("key", second, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(fill(&tier, tier_fill("key", first, vec![1], MINUTE)).await, Ok(false));
    assert_eq!(fill(&tier, tier_fill("key", second, vec![2], MINUTE)).await, Ok(true));

    assert_eq!(lease(&tier, lease_request("key", third, LeaseMode::Always)).await, Ok(LeaseReply::Granted));
    assert_eq!(bytes(&tier, "key").await, Some(vec![2]));
    assert_eq!(fill(&tier, tier_fill("key", third, vec![3], MINUTE)).await, Ok(true));
}

#[tokio::test]
async fn foreign_value_can_be_leased_and_replaced() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for foreign in ["", "{}", "a value that is longer than the trailer of a lease is"] {
        server.cli(&["SET", "key", foreign, "EX", "60"]);
        let stored = get(&tier, "key").await.unwrap();
        // An empty string counts as absent.
        let expected = (!foreign.is_empty()).then(|| (foreign.as_bytes().to_vec(), 0));
        assert_eq!(stored.map(|stored| (stored.bytes, stored.revision)), expected);
        assert_eq!(tier.exists("key").await, Ok(true));
        let mine = token();
        let take = if foreign.is_empty() { LeaseMode::IfAbsent } else { LeaseMode::IfRevision(0) };
        assert_eq!(
            lease(&tier, lease_request("key", mine, take)).await,
            Ok(LeaseReply::Granted),
            "{foreign}"
        );
        if !foreign.is_empty() {
            assert_eq!(bytes(&tier, "key").await, Some(foreign.as_bytes().to_vec()));
        }
        assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
    }
}

#[tokio::test]
async fn renewed_lease_lasts_longer() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.renew("key", mine, 10 * MINUTE).await, Ok(true));
    assert!(matches!(lookup(&tier, "key").await, Ok(Record::Leased { left, .. }) if left > 9 * MINUTE));
    let grant = lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert!(matches!(grant, LeaseReply::HeldElsewhere(left) if left > 9 * MINUTE), "{grant:?}");

    assert_eq!(tier.renew("absent", mine, MINUTE).await, Ok(false));
    assert_eq!(server.cli(&["EXISTS", "absent"]), "0");
}

#[tokio::test]
async fn renewing_a_lease_over_a_value_does_not_prolong_the_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], 11 * MINUTE).await.unwrap();
    let (old, mine) = (revision(&tier, "key").await, token());
    lease(&tier, lease_request("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
    assert_eq!(tier.renew("key", mine, 10 * MINUTE).await, Ok(true));
    assert!(pttl(&server, "key") <= 660_000);
    let grant = lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(old))).await.unwrap();
    assert!(matches!(grant, LeaseReply::HeldElsewhere(left) if left > 9 * MINUTE), "{grant:?}");
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
}

#[tokio::test]
async fn released_lease_is_free() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.release("key", mine, false).await, Ok(true));
    assert_eq!(lookup(&tier, "key").await, Ok(Record::Absent));
    assert_eq!(tier.release("key", mine, false).await, Ok(false));

    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let old = revision(&tier, "key").await;
    for is_failed in [false, true] {
        let mine = token();
        lease(&tier, lease_request("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
        assert_eq!(revision(&tier, "key").await, old);
        assert_eq!(fill(&tier, tier_fill("key", mine, vec![2], MINUTE)).await, Ok(false));
        assert!(pttl(&server, "key") > 50_000);
    }
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
}

#[tokio::test]
async fn failed_load_leaves_a_marker_for_at_most_a_second() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mine = token();
    lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(tier.release("key", mine, true).await, Ok(true));
    assert_eq!(lookup(&tier, "key").await, Ok(Record::Failed));
    assert_eq!(tier.exists("key").await, Ok(false));
    assert!((1..=1000).contains(&pttl(&server, "key")));
    assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(false));

    // Any caller may take the lease. Until a load has stored something, waiting callers can see that this is
    // the next attempt.
    let next = token();
    assert_eq!(lease(&tier, lease_request("key", next, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    assert!(matches!(lookup(&tier, "key").await, Ok(Record::Leased { is_retry: true, .. })));
    assert_eq!(tier.renew("key", next, MINUTE).await, Ok(true));
    assert!(matches!(lookup(&tier, "key").await, Ok(Record::Leased { is_retry: true, .. })));
    assert_held_elsewhere(lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await.unwrap());
    assert_eq!(fill(&tier, tier_fill("key", next, vec![1], MINUTE)).await, Ok(true));
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
    delete(&tier, "key").await.unwrap();
    lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert!(matches!(lookup(&tier, "key").await, Ok(Record::Leased { is_retry: false, .. })));
}

#[tokio::test]
async fn failure_note_is_kept_for_seconds_and_is_no_value() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    for note in [&b"no"[..], b"", &[0xff; 4096]] {
        let (mine, next) = (token(), token());
        let note = Note(note.to_vec());
        lease(&tier, lease_request("key", mine, LeaseMode::IfAbsent)).await.unwrap();
        assert_eq!(tier.fail("key", token(), &note).await, Ok(false), "another load's");
        assert_eq!(tier.fail("key", mine, &note).await, Ok(true));
        assert_eq!(lookup(&other, "key").await, Ok(Record::Error(note.clone())));
        assert_eq!(other.exists("key").await, Ok(false));
        assert!((1..=5000).contains(&pttl(&server, "key")));
        assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(false));
        assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(false));

        // The next load is like any other.
        assert_eq!(
            lease(&other, lease_request("key", next, LeaseMode::IfAbsent)).await,
            Ok(LeaseReply::Granted)
        );
        assert!(matches!(lookup(&tier, "key").await, Ok(Record::Leased { is_retry: false, .. })));
        assert_eq!(tier.fail("key", mine, &note).await, Ok(false));
        assert_eq!(fill(&other, tier_fill("key", next, vec![1], MINUTE)).await, Ok(true));
        assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
        delete(&tier, "key").await.unwrap();
    }
}

#[tokio::test]
async fn value_stays_when_its_replacing_load_fails() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let (old, mine) = (revision(&tier, "key").await, token());
    lease(&tier, lease_request("key", mine, LeaseMode::IfRevision(old))).await.unwrap();
    assert_eq!(tier.fail("key", mine, &Note(b"no".to_vec())).await, Ok(true));
    assert_eq!((bytes(&tier, "key").await, revision(&tier, "key").await), (Some(vec![1]), old));
    assert!(pttl(&server, "key") > 50_000);
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(old))).await,
        Ok(LeaseReply::Granted)
    );
}

#[tokio::test]
async fn lookup_with_known_revision_reports_whether_the_value_changed() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let known = revision(&tier, "key").await;
    let lookup_known = async |known| {
        let seen = tier.lookup(&[Lookup::if_none_match("key", known)], &[]).await.unwrap();
        seen.records.into_iter().next().unwrap()
    };
    assert!(matches!(lookup_known(known).await, Record::Unchanged));
    lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(known))).await.unwrap();
    assert!(matches!(lookup_known(known).await, Record::Unchanged), "a lease is no other value");
    assert_eq!(lookup_known(known ^ 1).await, Record::Changed);
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(lookup_known(known).await, Record::Changed);
    delete(&tier, "key").await.unwrap();
    assert_eq!(lookup_known(known).await, Record::Changed);
    lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(lookup_known(known).await, Record::Changed);
}

#[tokio::test]
async fn empty_value_is_a_value() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "key", Vec::new(), MINUTE).await.unwrap();
    let known = revision(&tier, "key").await;
    assert_eq!(tier.exists("key").await, Ok(true));
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await,
        Ok(LeaseReply::ValueChanged)
    );
    assert_eq!(
        lease(&tier, lease_request("key", token(), LeaseMode::IfRevision(known))).await,
        Ok(LeaseReply::Granted)
    );
    assert!(matches!(get(&tier, "key").await, Ok(Some(Stored { bytes, .. })) if bytes.is_empty()));
    assert_eq!(tier.exists("key").await, Ok(true));
}

#[tokio::test]
async fn late_fill_does_not_restore_a_deleted_value() {
    let server = RedisServer::start();
    let slow = builder(&server.url()).write_timeout(Duration::from_millis(50)).build().unwrap();
    let other = tier(&server.url());
    wait_until_up(&other).await;
    // After the thaw, the server may run the two commands in either order. Both orders are correct, so each
    // round uses a new lease.
    for round in 0..10_u8 {
        wait_until_up(&slow).await;
        let mine = token();
        lease(&slow, lease_request("key", mine, LeaseMode::IfAbsent)).await.unwrap();
        server.freeze();
        assert_eq!(fill(&slow, tier_fill("key", mine, vec![round], MINUTE)).await, Err(TierError::Timeout));
        let thaw = async {
            tokio::task::yield_now().await;
            server.thaw();
        };
        let (deleted, ()) = tokio::join!(delete(&other, "key"), thaw);
        assert_eq!(deleted, Ok(()));
        wait_until_up(&slow).await;
        assert_eq!(lookup(&other, "key").await, Ok(Record::Absent), "in round {round}");
    }
}

#[tokio::test]
async fn leases_of_one_request_are_granted_independently() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    put(&tier, "known", vec![1], MINUTE).await.unwrap();
    lease(&tier, lease_request("busy", token(), LeaseMode::IfAbsent)).await.unwrap();
    let (one, three, four) = (token(), token(), token());
    let requests = [
        lease_request("free", one, LeaseMode::IfAbsent),
        lease_request("busy", token(), LeaseMode::IfAbsent),
        lease_request("known", three, LeaseMode::IfAbsent),
        lease_request("forced", four, LeaseMode::Always),
    ];
    let leased = tier.lease(&requests, tag_request(&[], MINUTE)).await.unwrap();
    assert!(matches!(
        leased.replies[..],
        [LeaseReply::Granted, LeaseReply::HeldElsewhere(_), LeaseReply::ValueChanged, LeaseReply::Granted]
    ));

    let fills = vec![
        tier_fill("free", one, vec![1], MINUTE),
        tier_fill("known", three, vec![3], MINUTE),
        tier_fill("forced", four, vec![4], MINUTE),
    ];
    assert_eq!(tier.fill(fills).await.unwrap().stored, [true, false, true]);
    assert_eq!(bytes(&tier, "known").await, Some(vec![1]));
}

#[tokio::test]
async fn lease_on_a_key_of_another_type_is_refused() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    server.cli(&["RPUSH", "list", "someone else's"]);
    let mine = token();
    for take in [LeaseMode::IfAbsent, LeaseMode::IfRevision(1), LeaseMode::Always] {
        assert_eq!(lease(&tier, lease_request("list", mine, take)).await, Err(refused("WRONGTYPE")));
    }
    assert_eq!(fill(&tier, tier_fill("list", mine, vec![1], MINUTE)).await, Err(refused("WRONGTYPE")));
    assert_eq!(server.cli(&["LLEN", "list"]), "1");
}
