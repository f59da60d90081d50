//! Generations of tags.

use std::time::Duration;

use cached_core::{JournalPosition, LeaseMode, LeaseReply, Lookup, TagRequest, Tier, TierFill};
use cached_redis::RedisTier;
use redis_harness::RedisServer;

use crate::support::{MINUTE, ask, bytes, claim, delete, fill, lease, tier, token, value, watched};

const HOUR_MS: i64 = 60 * 60 * 1000;

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("ns:%tag:{name}")).collect()
}

async fn seed(tier: &RedisTier, names: &[&str]) -> Vec<u64> {
    tier.lease(&[], ask(&tags(names), MINUTE)).await.unwrap().generations
}

async fn read(tier: &RedisTier, names: &[&str]) -> Vec<Option<u64>> {
    tier.look(&[], &tags(names)).await.unwrap().generations
}

#[tokio::test]
async fn a_generation_is_seeded_once() {
    let server = RedisServer::start();
    let (tier, other) = (tier(&server.url()), tier(&server.url()));
    assert_eq!(read(&tier, &["a"]).await, [None]);
    let first = seed(&tier, &["a"]).await;
    assert_eq!(seed(&other, &["a"]).await, first);
    assert_eq!(read(&other, &["a"]).await, [Some(first[0])]);

    let both = seed(&other, &["b", "a"]).await;
    assert_eq!(both[1], first[0]);
    assert_ne!(both[0], both[1]);
    assert_eq!(read(&tier, &["a", "none", "b"]).await, [Some(both[1]), None, Some(both[0])]);
}

#[tokio::test]
async fn an_invalidated_tag_never_has_its_generation_again() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let mut seen = Vec::new();
    for _ in 0..50 {
        let generation = seed(&tier, &["a"]).await[0];
        assert!(!seen.contains(&generation));
        seen.push(generation);
        assert_eq!(delete(&tier, "ns:%tag:a").await, Ok(()));
        assert_eq!(read(&tier, &["a"]).await, [None]);
    }
}

#[tokio::test]
async fn invalid_generation_is_replaced() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    for foreign in ["", "7", "not a generation", "0123456789abcdeg"] {
        server.cli(&["SET", "ns:%tag:a", foreign]);
        assert_eq!(read(&tier, &["a"]).await, [None], "{foreign}");
        let seeded = seed(&tier, &["a"]).await[0];
        assert_eq!(read(&tier, &["a"]).await, [Some(seeded)], "{foreign}");
    }
}

#[tokio::test]
async fn a_generation_outlives_what_was_read_with_it_and_not_by_much() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let left = || server.cli(&["PTTL", "ns:%tag:a"]).parse::<i64>().unwrap();
    for (keep, longest) in [(1, 61), (60, 120), (600, 1200), (7200, 10_800)] {
        server.cli(&["DEL", "ns:%tag:a"]);
        let seconds = Duration::from_secs(keep);
        tier.lease(&[], ask(&tags(&["a"]), seconds)).await.unwrap();
        assert!(left() > (longest - 10) * 1000 && left() <= longest * 1000, "{keep} s: {}", left());
    }

    server.cli(&["PEXPIRE", "ns:%tag:a", "70000"]);
    seed(&tier, &["a"]).await;
    assert!(left() <= 70_000, "it was long enough");
    server.cli(&["PEXPIRE", "ns:%tag:a", "50000"]);
    seed(&tier, &["a"]).await;
    assert!(left() > 110_000);
    server.cli(&["PERSIST", "ns:%tag:a"]);
    seed(&tier, &["a"]).await;
    assert_eq!(left(), -1);
}

#[tokio::test]
async fn a_fill_keeps_its_tags_for_as_long_as_its_value_and_makes_none() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let names = tags(&["short", "long", "none"]);
    let before = seed(&tier, &["short", "long"]).await;
    server.cli(&["PEXPIRE", "ns:%tag:short", "50000"]);
    server.cli(&["PEXPIRE", "ns:%tag:long", "9000000"]);
    // The scripts are flushed, so this also covers a server that does not know them.
    for key in ["one", "other"] {
        let token = token();
        lease(&tier, claim(key, token, LeaseMode::IfAbsent)).await.unwrap();
        server.cli(&["SCRIPT", "FLUSH"]);
        let value = TierFill { tags: names.clone(), ..value(key, token, vec![1], MINUTE * 60) };
        assert!(fill(&tier, value).await.unwrap());
        assert_eq!(bytes(&tier, key).await.unwrap(), [1]);
    }
    let left = |tag: &str| server.cli(&["PTTL", tag]).parse::<i64>().unwrap();
    assert!((HOUR_MS..=2 * HOUR_MS).contains(&left("ns:%tag:short")), "{}", left("ns:%tag:short"));
    assert!(left("ns:%tag:long") > 2 * HOUR_MS);
    assert_eq!(read(&tier, &["short", "long", "none"]).await, [Some(before[0]), Some(before[1]), None]);
}

#[tokio::test]
async fn leases_and_tags_go_together() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    let claims = [claim("key", token(), LeaseMode::IfAbsent)];
    let leased = tier.lease(&claims, ask(&tags(&["a", "b"]), MINUTE)).await.unwrap();
    assert_eq!(leased.grants, [LeaseReply::Granted]);
    let seen = tier.look(&[Lookup::new("key")], &tags(&["a", "b"])).await.unwrap();
    assert_eq!(seen.generations, leased.generations.into_iter().map(Some).collect::<Vec<_>>());
}

async fn moment(tier: &RedisTier) -> JournalPosition {
    let wanted = TagRequest { more: true, ..ask(&[], MINUTE) };
    tier.lease(&[claim("any", token(), LeaseMode::Always)], wanted).await.unwrap().moment.unwrap()
}

async fn adopt(tier: &RedisTier, names: &[&str], since: JournalPosition) -> Option<Vec<u64>> {
    tier.adopt(&tags(names), MINUTE, since).await.unwrap().generations
}

#[tokio::test]
async fn value_tag_is_claimed_only_if_not_invalidated_since() {
    let server = RedisServer::start();
    let ((here, _), (there, _)) = (watched(&server.url()).await, watched(&server.url()).await);
    let seeded = seed(&here, &["b"]).await;
    let since = moment(&here).await;
    there.delete(&[], &tags(&["a", "c"])).await.unwrap();
    assert_eq!(adopt(&here, &["b"], since).await, Some(seeded));
    assert_eq!(adopt(&here, &["b", "a"], since).await, None);
    assert_eq!(adopt(&here, &["c"], since).await, None);
    let since = moment(&here).await;
    let adopted = adopt(&here, &["a", "never seen"], since).await.unwrap();
    assert_eq!(seed(&there, &["a", "never seen"]).await, adopted);
    // Invalidations by the process itself count as well.
    here.delete(&[], &tags(&["a"])).await.unwrap();
    assert_eq!(adopt(&here, &["a"], since).await, None);
}

#[tokio::test]
async fn journal_change_is_pushed_to_a_process_with_a_load() {
    let server = RedisServer::start();
    let ((here, recorder), (there, _)) = (watched(&server.url()).await, watched(&server.url()).await);
    moment(&here).await;
    recorder.take();
    there.delete(&[], &tags(&["a"])).await.unwrap();
    recorder.hears("ns:%tags").await;
}

#[tokio::test]
async fn a_journal_that_was_lost_is_not_taken_for_the_next_one() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    for lose in [&["DEL", "ns:%tags"][..], &["FLUSHALL"], &["SET", "ns:%tags", "another program's"]] {
        let since = moment(&tier).await;
        server.cli(lose);
        assert_eq!(adopt(&tier, &["a"], since).await, None, "{lose:?}");
        let other = moment(&tier).await;
        assert_eq!(adopt(&tier, &["a"], since).await, None, "{lose:?}");
        assert!(adopt(&tier, &["a"], other).await.is_some(), "{lose:?}");
    }
    assert!(server.cli(&["PTTL", "ns:%tags"]).parse::<i64>().unwrap() > HOUR_MS);
}

#[tokio::test]
async fn a_full_server_acknowledges_the_invalidation_of_a_tag() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    seed(&tier, &["a"]).await;
    let since = moment(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    tier.delete(&[], &tags(&["a"])).await.unwrap();
    assert_eq!(read(&tier, &["a"]).await, [None]);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(adopt(&tier, &["a"], since).await, None);
    assert_eq!(adopt(&tier, &["b"], since).await, None, "nobody knows any more");
}

/// Adds many tags to the journal, as if each had been invalidated `ago` microseconds ago.
fn note_many(server: &RedisServer, count: u32, ago: u64) {
    let script = "local time = redis.call('TIME') \
                  for i = 1, ARGV[1] do \
                    local number = time[1] * 1000000 + time[2] - ARGV[2] + i \
                    redis.call('ZADD', KEYS[1], string.format('%.0f', number), 'ns:%tag:many' .. i) \
                  end";
    server.cli(&["EVAL", script, "1", "ns:%tags", &count.to_string(), &ago.to_string()]);
}

fn noted(server: &RedisServer) -> usize {
    server.cli(&["ZCARD", "ns:%tags"]).parse::<usize>().unwrap() - 1
}

#[tokio::test]
async fn journal_keeps_the_latest_250000_invalidations() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let since = moment(&tier).await;
    note_many(&server, 249_999, 249_999);
    tier.delete(&[], &tags(&["one more"])).await.unwrap();
    assert_eq!(noted(&server), 250_000);
    assert!(adopt(&tier, &["other"], since).await.is_some());
    assert_eq!(adopt(&tier, &["many1"], since).await, None);
    assert_eq!(adopt(&tier, &["one more"], since).await, None);
    let later = moment(&tier).await;
    tier.delete(&[], &tags(&["two more"])).await.unwrap();
    assert_eq!(noted(&server), 250_000);
    assert_eq!(adopt(&tier, &["other"], since).await, None, "it may have been the one that was forgotten");
    assert!(adopt(&tier, &["other"], later).await.is_some());
    assert_eq!(adopt(&tier, &["two more"], later).await, None);
}

/// Each invalidation removes some of them, so that none takes long.
#[tokio::test]
async fn tags_that_were_invalidated_long_ago_are_forgotten_by_and_by() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let since = moment(&tier).await;
    note_many(&server, 300, 601_000_000);
    let later = moment(&tier).await;
    assert!(adopt(&tier, &["other"], since).await.is_some(), "none is forgotten yet");
    tier.delete(&[], &tags(&["new 1"])).await.unwrap();
    assert!((1..300).contains(&noted(&server)), "{}", noted(&server));
    assert_eq!(adopt(&tier, &["other"], since).await, None);
    for number in 2..5 {
        tier.delete(&[], &tags(&[&format!("new {number}")])).await.unwrap();
    }
    assert_eq!(noted(&server), 4);
    assert!(adopt(&tier, &["other", "many300"], later).await.is_some());
    assert_eq!(adopt(&tier, &["other"], JournalPosition { number: later.number - 1, ..later }).await, None);
    assert_eq!(adopt(&tier, &["new 2"], later).await, None);
}

/// The server's clock may be set back.
#[tokio::test]
async fn numbers_grow_whatever_the_clock_of_the_server_shows() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    moment(&tier).await;
    server.cli(&["ZADD", "ns:%tags", "4102444800000000", "ns:%tag:of 2100"]);
    let since = moment(&tier).await;
    assert_eq!(since.number, 4_102_444_800_000_000);
    tier.delete(&[], &tags(&["a", "b"])).await.unwrap();
    assert_eq!(moment(&tier).await.number, since.number + 2);
    assert_eq!(adopt(&tier, &["a"], since).await, None);
    assert!(adopt(&tier, &["of 2100"], since).await.is_some());
}

/// A value could otherwise claim the tag between the two steps, and the journal entry would come too late.
#[tokio::test]
async fn a_tag_is_noted_before_it_is_removed_even_if_the_server_forgot_the_script() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let since = moment(&tier).await;
    seed(&tier, &["a"]).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    let before = server.cli(&["INFO", "commandstats"]).matches("cmdstat_del:calls=").count();
    assert_eq!(before, 0);
    tier.delete(&[], &tags(&["a"])).await.unwrap();
    let stats = server.cli(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_del:calls=2"), "it is removed again after it was noted: {stats}");
    assert_eq!(adopt(&tier, &["a"], since).await, None);
}
