//! Generations of tags.

use std::time::Duration;

use cached_core::tier::{JournalPosition, LeaseMode, LeaseReply, Lookup, TagRequest, Tier, TierFill};
use cached_redis::RedisTier;
use redis_harness::RedisServer;

use crate::support::{
    MINUTE, attached_tier, bytes, delete, fill, lease, lease_request, tag_request, tier, tier_fill, token,
};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("ns:%tag:{name}")).collect()
}

async fn seed_generations(tier: &RedisTier, names: &[&str]) -> Vec<u64> {
    tier.lease(&[], tag_request(&tags(names), MINUTE)).await.unwrap().generations
}

async fn read_generations(tier: &RedisTier, names: &[&str]) -> Vec<Option<u64>> {
    tier.lookup(&[], &tags(names)).await.unwrap().generations
}

#[tokio::test]
async fn generation_is_seeded_once() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    assert_eq!(read_generations(&tier, &["a"]).await, [None]);
    let first = seed_generations(&tier, &["a"]).await;
    assert_eq!(seed_generations(&other, &["a"]).await, first);
    assert_eq!(read_generations(&other, &["a"]).await, [Some(first[0])]);

    let both = seed_generations(&other, &["b", "a"]).await;
    assert_eq!(both[1], first[0]);
    assert_ne!(both[0], both[1]);
    assert_eq!(read_generations(&tier, &["a", "none", "b"]).await, [Some(both[1]), None, Some(both[0])]);
}

#[tokio::test]
async fn invalidated_tag_never_reuses_its_generation() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mut seen = Vec::new();
    for _ in 0..50 {
        let generation = seed_generations(&tier, &["a"]).await[0];
        assert!(!seen.contains(&generation));
        seen.push(generation);
        assert_eq!(delete(&tier, "ns:%tag:a").await, Ok(()));
        assert_eq!(read_generations(&tier, &["a"]).await, [None]);
    }
}

#[tokio::test]
async fn invalid_generation_is_replaced() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for foreign in ["", "7", "not a generation", "0123456789abcdeg"] {
        server.cli(&["SET", "ns:%tag:a", foreign]);
        assert_eq!(read_generations(&tier, &["a"]).await, [None], "{foreign}");
        let seeded = seed_generations(&tier, &["a"]).await[0];
        assert_eq!(read_generations(&tier, &["a"]).await, [Some(seeded)], "{foreign}");
    }
}

#[tokio::test]
async fn generation_outlives_its_values_by_a_bounded_time() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let left = || server.cli(&["PTTL", "ns:%tag:a"]).parse::<i64>().unwrap();
    for (keep, longest) in [(1, 61), (60, 120), (600, 1200), (7200, 10_800)] {
        server.cli(&["DEL", "ns:%tag:a"]);
        let seconds = Duration::from_secs(keep);
        tier.lease(&[], tag_request(&tags(&["a"]), seconds)).await.unwrap();
        assert!(left() > (longest - 10) * 1000 && left() <= longest * 1000, "{keep} s: {}", left());
    }

    server.cli(&["PEXPIRE", "ns:%tag:a", "70000"]);
    seed_generations(&tier, &["a"]).await;
    assert!(left() <= 70_000, "it was long enough");
    server.cli(&["PEXPIRE", "ns:%tag:a", "50000"]);
    seed_generations(&tier, &["a"]).await;
    assert!(left() > 110_000);
    server.cli(&["PERSIST", "ns:%tag:a"]);
    seed_generations(&tier, &["a"]).await;
    assert_eq!(left(), -1);
}

#[tokio::test]
async fn fill_prolongs_its_tags_and_creates_none() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let names = tags(&["short", "long", "none"]);
    let before = seed_generations(&tier, &["short", "long"]).await;
    server.cli(&["PEXPIRE", "ns:%tag:short", "50000"]);
    server.cli(&["PEXPIRE", "ns:%tag:long", "9000000"]);
    // The scripts are flushed, so this also covers a server that does not know them.
    for key in ["one", "other"] {
        let token = token();
        lease(&tier, lease_request(key, token, LeaseMode::IfAbsent)).await.unwrap();
        server.cli(&["SCRIPT", "FLUSH"]);
        let value = TierFill { tags: names.clone(), ..tier_fill(key, token, vec![1], MINUTE * 60) };
        assert!(fill(&tier, value).await.unwrap());
        assert_eq!(bytes(&tier, key).await.unwrap(), [1]);
    }
    let left = |tag: &str| server.cli(&["PTTL", tag]).parse::<i64>().unwrap();
    assert!((HOUR_MS..=2 * HOUR_MS).contains(&left("ns:%tag:short")), "{}", left("ns:%tag:short"));
    assert!(left("ns:%tag:long") > 2 * HOUR_MS);
    assert_eq!(
        read_generations(&tier, &["short", "long", "none"]).await,
        [Some(before[0]), Some(before[1]), None]
    );
}

#[tokio::test]
async fn lease_returns_the_generations_of_its_tags() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let requests = [lease_request("key", token(), LeaseMode::IfAbsent)];
    let leased = tier.lease(&requests, tag_request(&tags(&["a", "b"]), MINUTE)).await.unwrap();
    assert_eq!(leased.replies, [LeaseReply::Granted]);
    let seen = tier.lookup(&[Lookup::new("key")], &tags(&["a", "b"])).await.unwrap();
    assert_eq!(seen.generations, leased.generations.into_iter().map(Some).collect::<Vec<_>>());
}

async fn journal_position(tier: &RedisTier) -> JournalPosition {
    let wanted = TagRequest { needs_position: true, ..tag_request(&[], MINUTE) };
    tier.lease(&[lease_request("any", token(), LeaseMode::Always)], wanted).await.unwrap().position.unwrap()
}

async fn claim_tags(tier: &RedisTier, names: &[&str], since: JournalPosition) -> Option<Vec<u64>> {
    tier.claim_tags(&tags(names), MINUTE, since).await.unwrap().generations
}

#[tokio::test]
async fn value_tag_is_claimed_only_if_not_invalidated_since() {
    let server = RedisServer::start();
    let ((here, _), (there, _)) = (attached_tier(&server.url()).await, attached_tier(&server.url()).await);
    let seeded = seed_generations(&here, &["b"]).await;
    let since = journal_position(&here).await;
    there.delete(&[], &tags(&["a", "c"])).await.unwrap();
    assert_eq!(claim_tags(&here, &["b"], since).await, Some(seeded));
    assert_eq!(claim_tags(&here, &["b", "a"], since).await, None);
    assert_eq!(claim_tags(&here, &["c"], since).await, None);
    let since = journal_position(&here).await;
    let claimed = claim_tags(&here, &["a", "never seen"], since).await.unwrap();
    assert_eq!(seed_generations(&there, &["a", "never seen"]).await, claimed);
    // Invalidations by the process itself count as well.
    here.delete(&[], &tags(&["a"])).await.unwrap();
    assert_eq!(claim_tags(&here, &["a"], since).await, None);
}

#[tokio::test]
async fn journal_change_is_pushed_to_a_process_with_a_load() {
    let server = RedisServer::start();
    let ((here, recorder), (there, _)) =
        (attached_tier(&server.url()).await, attached_tier(&server.url()).await);
    journal_position(&here).await;
    recorder.take();
    there.delete(&[], &tags(&["a"])).await.unwrap();
    recorder.wait_for_change("ns:%tags").await;
}

#[tokio::test]
async fn lost_journal_is_distinguished_from_its_successor() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    for lose in [&["DEL", "ns:%tags"][..], &["FLUSHALL"], &["SET", "ns:%tags", "another program's"]] {
        let since = journal_position(&tier).await;
        server.cli(lose);
        assert_eq!(claim_tags(&tier, &["a"], since).await, None, "{lose:?}");
        let other = journal_position(&tier).await;
        assert_eq!(claim_tags(&tier, &["a"], since).await, None, "{lose:?}");
        assert!(claim_tags(&tier, &["a"], other).await.is_some(), "{lose:?}");
    }
    assert!(server.cli(&["PTTL", "ns:%tags"]).parse::<i64>().unwrap() > HOUR_MS);
}

#[tokio::test]
async fn full_server_invalidates_a_tag() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    seed_generations(&tier, &["a"]).await;
    let since = journal_position(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    tier.delete(&[], &tags(&["a"])).await.unwrap();
    assert_eq!(read_generations(&tier, &["a"]).await, [None]);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(claim_tags(&tier, &["a"], since).await, None);
    assert_eq!(claim_tags(&tier, &["b"], since).await, None, "the journal reaches back no longer");
}

/// Adds many tags to the journal, as if each had been invalidated `ago` microseconds ago.
fn add_to_journal(server: &RedisServer, count: u32, ago: u64) {
    let script = "local time = redis.call('TIME') \
                  for i = 1, ARGV[1] do \
                    local number = time[1] * 1000000 + time[2] - ARGV[2] + i \
                    redis.call('ZADD', KEYS[1], string.format('%.0f', number), 'ns:%tag:many' .. i) \
                  end";
    server.cli(&["EVAL", script, "1", "ns:%tags", &count.to_string(), &ago.to_string()]);
}

fn journal_len(server: &RedisServer) -> usize {
    server.cli(&["ZCARD", "ns:%tags"]).parse::<usize>().unwrap() - 1
}

#[tokio::test]
async fn journal_keeps_the_latest_250000_invalidations() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let since = journal_position(&tier).await;
    add_to_journal(&server, 249_999, 249_999);
    tier.delete(&[], &tags(&["one more"])).await.unwrap();
    assert_eq!(journal_len(&server), 250_000);
    assert!(claim_tags(&tier, &["other"], since).await.is_some());
    assert_eq!(claim_tags(&tier, &["many1"], since).await, None);
    assert_eq!(claim_tags(&tier, &["one more"], since).await, None);
    let later = journal_position(&tier).await;
    tier.delete(&[], &tags(&["two more"])).await.unwrap();
    assert_eq!(journal_len(&server), 250_000);
    assert_eq!(
        claim_tags(&tier, &["other"], since).await,
        None,
        "it may have been the one that was forgotten"
    );
    assert!(claim_tags(&tier, &["other"], later).await.is_some());
    assert_eq!(claim_tags(&tier, &["two more"], later).await, None);
}

/// Each invalidation removes some of them, so that none takes long.
#[tokio::test]
async fn journal_gradually_forgets_old_invalidations() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let since = journal_position(&tier).await;
    add_to_journal(&server, 300, 601_000_000);
    let later = journal_position(&tier).await;
    assert!(claim_tags(&tier, &["other"], since).await.is_some(), "none is forgotten yet");
    tier.delete(&[], &tags(&["new 1"])).await.unwrap();
    assert!((1..300).contains(&journal_len(&server)), "{}", journal_len(&server));
    assert_eq!(claim_tags(&tier, &["other"], since).await, None);
    for number in 2..5 {
        tier.delete(&[], &tags(&[&format!("new {number}")])).await.unwrap();
    }
    assert_eq!(journal_len(&server), 4);
    assert!(claim_tags(&tier, &["other", "many300"], later).await.is_some());
    assert_eq!(
        claim_tags(&tier, &["other"], JournalPosition { offset: later.offset - 1, ..later }).await,
        None
    );
    assert_eq!(claim_tags(&tier, &["new 2"], later).await, None);
}

/// The server's clock may be set back.
#[tokio::test]
async fn journal_numbers_grow_when_the_server_clock_is_set_back() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    journal_position(&tier).await;
    server.cli(&["ZADD", "ns:%tags", "4102444800000000", "ns:%tag:of 2100"]);
    let since = journal_position(&tier).await;
    assert_eq!(since.offset, 4_102_444_800_000_000);
    tier.delete(&[], &tags(&["a", "b"])).await.unwrap();
    assert_eq!(journal_position(&tier).await.offset, since.offset + 2);
    assert_eq!(claim_tags(&tier, &["a"], since).await, None);
    assert!(claim_tags(&tier, &["of 2100"], since).await.is_some());
}

/// A value could otherwise claim the tag between the two steps, and the journal entry would come too late.
#[tokio::test]
async fn tag_enters_the_journal_before_its_removal_when_the_script_is_unknown() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let since = journal_position(&tier).await;
    seed_generations(&tier, &["a"]).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    let before = server.cli(&["INFO", "commandstats"]).matches("cmdstat_del:calls=").count();
    assert_eq!(before, 0);
    tier.delete(&[], &tags(&["a"])).await.unwrap();
    let stats = server.cli(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_del:calls=2"), "it is removed again after it was noted: {stats}");
    assert_eq!(claim_tags(&tier, &["a"], since).await, None);
}
