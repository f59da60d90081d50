//! Redis Cluster: several servers that share the keys.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use cached_core::{
    TierError,
    tier::{LeaseMode, LeaseReply, Lookup, Record, TagRequest, Tier},
};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Proxy, RedisCluster, RedisServer, eventually, eventually_async};
use tokio::time::sleep;

use crate::{
    barriers::server_time_ms,
    settings::{assert_error_hides_credentials, config_error as refused_url},
    support::{
        AT_ONCE, MINUTE, Recorder, attach, builder, bytes, debug_field, delete, fill, get, lease,
        lease_request, lookup, now, put, tag_request, tier, tier_fill, token, watermark,
    },
};

/// Returns a tier that is attached to a recorder and connected to all servers.
async fn attached_tier(cluster: &RedisCluster) -> (RedisTier, Arc<Recorder>) {
    let (tier, recorder) = (tier(&cluster.url()), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    (tier, recorder)
}

async fn wait_until_up(tier: &RedisTier) {
    eventually_async("the tier reaches all servers", async || {
        let _ = tier.exists("any").await;
        tier.state() == RedisState::Up
    })
    .await;
}

fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn keys_are_spread_over_all_servers() {
    let cluster = RedisCluster::start();
    let tier = tier(&cluster.url());
    let keys = keys("ns:key", 60);
    for key in &keys {
        put(&tier, key, key.clone().into_bytes(), MINUTE).await.unwrap();
    }
    for server in &cluster.servers {
        assert!(server.cli(&["DBSIZE"]).parse::<usize>().unwrap() > 5);
    }
    let lookups: Vec<_> = keys.iter().map(|key| Lookup::new(key)).collect();
    let seen = tier.lookup(&lookups, &[]).await.unwrap();
    for (key, record) in keys.iter().zip(seen.records) {
        assert!(matches!(record, Record::Value(stored) if stored.bytes == key.as_bytes()));
    }
    tier.delete(&keys[..30], &[]).await.unwrap();
    assert_eq!(bytes(&tier, &keys[29]).await, None);
    assert_eq!(bytes(&tier, &keys[30]).await, Some(text(&keys[30])));
    assert_eq!(tier.incr("ns:counter", 2, None).await, Ok(2));
    assert_eq!(tier.delete_matching("ns:key*").await, Ok(30));
    assert!(tier.exists("ns:counter").await.unwrap() && !tier.exists(&keys[59]).await.unwrap());
}

#[tokio::test]
async fn every_server_pushes_changes() {
    let cluster = RedisCluster::start();
    let (tier, recorder) = attached_tier(&cluster).await;
    for primary in 0..3 {
        let key = cluster.key_on(primary, "ns:key");
        bytes(&tier, &key).await;
        cluster.servers[primary].cli(&["SET", &key, "x"]);
        recorder.wait_for_change(&key).await;
    }
}

#[tokio::test]
async fn value_and_tags_on_different_servers_share_a_feed() {
    let cluster = RedisCluster::start();
    let (tier, recorder) = attached_tier(&cluster).await;
    let (other, _) = attached_tier(&cluster).await;
    let key = cluster.key_on(0, "ns:key");
    let tags = vec![cluster.key_on(1, "ns:%tag:a"), cluster.key_on(2, "ns:%tag:b")];
    let load = token();
    let leased = tier
        .lease(&[lease_request(&key, load, LeaseMode::IfAbsent)], tag_request(&tags, MINUTE))
        .await
        .unwrap();
    assert_eq!(leased.replies, [LeaseReply::Granted]);
    assert!(fill(&tier, tier_fill(&key, load, b"value".to_vec(), MINUTE)).await.unwrap());
    let seen = tier.lookup(&[Lookup::new(&key)], &tags).await.unwrap();
    let generations: Vec<_> = leased.generations.iter().copied().map(Some).collect();
    assert_eq!(seen.generations, generations);
    assert!(seen.feed.is_same(&leased.feed));
    for name in [&key, &tags[0], &tags[1]] {
        let feed = tier.lookup(&[], std::slice::from_ref(name)).await.unwrap().feed;
        assert!(seen.feed.covers(&feed) && !feed.is_same(&seen.feed));
    }

    other.delete(&[], &tags[1..]).await.unwrap();
    recorder.wait_for_change(&tags[1]).await;
    let seen = tier.lookup(&[], &tags).await.unwrap();
    assert_eq!((seen.generations[0], seen.generations[1]), (Some(leased.generations[0]), None));
}

/// Tags are fenced even if key, tag and journal are on three servers.
///
/// The journal entry of a tag is written before the tag is deleted. The journal is read after the generation
/// of the tag was read.
#[tokio::test]
async fn tags_of_a_value_are_fenced() {
    let cluster = RedisCluster::start();
    let (tier, _) = attached_tier(&cluster).await;
    let (other, _) = attached_tier(&cluster).await;
    let key = cluster.key_on(0, "ns:key");
    let begin_load = |load| {
        let (tier, key) = (&tier, &key);
        async move {
            let request = TagRequest { keys: &[], keep: MINUTE, needs_position: true };
            tier.lease(&[lease_request(key, load, LeaseMode::Always)], request)
                .await
                .unwrap()
                .position
                .unwrap()
        }
    };
    for primary in 0..3 {
        let tags = vec![cluster.key_on(primary, "ns:%tag:t")];
        let since = begin_load(token()).await;
        assert!(tier.claim_tags(&tags, MINUTE, since).await.unwrap().generations.is_some());
        let since = begin_load(token()).await;
        other.delete(&[], &tags).await.unwrap();
        assert_eq!(tier.claim_tags(&tags, MINUTE, since).await.unwrap().generations, None);
    }
}

#[tokio::test]
async fn confirm_waits_for_all_members_on_every_server() {
    let cluster = RedisCluster::start();
    let (tier, _) = attached_tier(&cluster).await;
    let (other, recorder) = attached_tier(&cluster).await;
    // Each process is registered with each server.
    let registered = |server: &RedisServer| {
        let keys = server.cli(&["KEYS", "ns:%members*"]);
        keys.lines().map(|key| server.cli(&["HLEN", key]).parse::<usize>().unwrap()).sum::<usize>()
    };
    assert_eq!(cluster.servers.iter().map(registered).collect::<Vec<_>>(), [2, 2, 2]);
    let keys: Vec<_> = (0..3).map(|primary| cluster.key_on(primary, "ns:key")).collect();
    for key in &keys {
        bytes(&other, key).await;
    }
    tier.delete(&keys, &[]).await.unwrap();
    for key in &keys {
        put(&tier, key, vec![1], MINUTE).await.unwrap();
    }
    tier.confirm().await.unwrap();
    let changed_keys: HashSet<_> = recorder.take().into_iter().collect();
    assert!(keys.iter().all(|key| changed_keys.contains(key)), "{changed_keys:?}");
    // A vanished member is waited for as long as it might serve, at each server with its registration.
    for server in &cluster.servers {
        let members_key = server.cli(&["KEYS", "ns:%members*"]);
        let until = server_time_ms(server) + 700;
        server.cli(&["HSET", &members_key, "gone", &format!("{until}:0")]);
        tier.confirm().await.unwrap();
        assert!(server_time_ms(server) >= until);
    }
}

#[tokio::test]
async fn unreachable_server_fails_confirm() {
    let cluster = RedisCluster::start();
    let tier = builder(&cluster.url()).write_timeout(Duration::from_millis(200)).build().unwrap();
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    cluster.servers[2].freeze();
    assert_eq!(tier.confirm().await, Err(TierError::Timeout));
    cluster.servers[2].thaw();
    eventually_async("it can be confirmed again", async || tier.confirm().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_succeed_while_slots_move() {
    let cluster = RedisCluster::start();
    let (tier, _) = attached_tier(&cluster).await;
    let (other, recorder) = attached_tier(&cluster).await;
    let cluster = Arc::new(cluster);
    let rounds = Arc::new(AtomicUsize::new(0));
    let moving = {
        let (cluster, rounds) = (cluster.clone(), rounds.clone());
        tokio::task::spawn_blocking(move || {
            let slot = cluster.slot("{slot}");
            for _ in 0..6 {
                let before = rounds.load(Ordering::SeqCst);
                cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % 3);
                eventually("the load goes on", || rounds.load(Ordering::SeqCst) > before + 2);
            }
        })
    };
    let keys = keys("ns:{slot}", 5);
    while !moving.is_finished() {
        let round = rounds.fetch_add(1, Ordering::SeqCst);
        for key in &keys {
            let bytes = format!("{key} {round}").into_bytes();
            put(&tier, key, bytes.clone(), MINUTE).await.unwrap();
            assert_eq!(value_bytes(&other, key).await, Some(bytes));
            delete(&tier, key).await.unwrap();
            recorder.wait_for_change(key).await;
            assert_eq!(value_bytes(&other, key).await, None);
            put(&tier, key, b"left".to_vec(), MINUTE).await.unwrap();
        }
    }
    moving.await.unwrap();
    assert_eq!(cluster.moves(), 6);
    assert_eq!(tier.health().reconnects, 0, "no connection was lost");
}

async fn value_bytes(tier: &RedisTier, key: &str) -> Option<Vec<u8>> {
    match lookup(tier, key).await.unwrap() {
        Record::Value(stored) => Some(stored.bytes),
        _ => None,
    }
}

/// While a slot migrates, a key is on the old server, or on the new one if the old one lacks it.
#[tokio::test]
async fn migrating_slot_is_read_from_source_and_target() {
    let cluster = RedisCluster::start();
    let (tier, recorder) = attached_tier(&cluster).await;
    let keys = keys("ns:{way}", 4);
    for key in &keys[..3] {
        put(&tier, key, key.clone().into_bytes(), MINUTE).await.unwrap();
    }
    let slot = cluster.slot(&keys[0]);
    let (from, to) = (cluster.owner_of(slot), (cluster.owner_of(slot) + 1) % 3);
    cluster.begin_move(slot, to);
    // The new server knows no scripts.
    cluster.servers[to].cli(&["SCRIPT", "FLUSH"]);
    assert!(cluster.move_keys(slot, to, 1));
    for key in &keys[..3] {
        assert_eq!(bytes(&tier, key).await, Some(key.clone().into_bytes()));
    }
    // The slot may move back, and no push would report that for a value read during the move.
    let there = keys
        .iter()
        .find(|key| cluster.servers[to].cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "9"]) == **key);
    let feed = tier.lookup(&[Lookup::new(there.unwrap())], &[]).await.unwrap().feed;
    assert_eq!(debug_field(&feed, "is_tracked"), "false");
    // A new key is leased and stored on the new server.
    put(&tier, &keys[3], b"new".to_vec(), MINUTE).await.unwrap();
    assert_eq!(cluster.servers[to].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]), "2");
    // Each key is deleted on the server that holds it.
    recorder.take();
    tier.delete(&keys, &[]).await.unwrap();
    for server in [from, to] {
        assert_eq!(cluster.servers[server].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]), "0");
    }
    cluster.end_move(slot, to);
    put(&tier, &keys[0], b"after".to_vec(), MINUTE).await.unwrap();
    assert_eq!(bytes(&tier, &keys[0]).await, Some(text("after")));
}

/// A lease remains valid when it moves together with its key.
#[tokio::test]
async fn lease_stays_valid_while_its_slot_moves() {
    let cluster = RedisCluster::start();
    let (tier, _) = attached_tier(&cluster).await;
    let load = token();
    assert_eq!(lease(&tier, lease_request("ns:k", load, LeaseMode::IfAbsent)).await, Ok(LeaseReply::Granted));
    let slot = cluster.slot("ns:k");
    cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % 3);
    assert!(matches!(
        lease(&tier, lease_request("ns:k", token(), LeaseMode::IfAbsent)).await,
        Ok(LeaseReply::HeldElsewhere(_))
    ));
    assert_eq!(tier.renew("ns:k", load, MINUTE).await, Ok(true));
    assert!(fill(&tier, tier_fill("ns:k", load, b"v".to_vec(), MINUTE)).await.unwrap());
    assert_eq!(bytes(&tier, "ns:k").await, Some(text("v")));
}

/// A server that loses a slot without migrating its keys sends no pushes for them.
#[tokio::test]
async fn slot_lost_without_migration_ends_its_change_feed() {
    let cluster = RedisCluster::start();
    let (tier, recorder) = attached_tier(&cluster).await;
    put(&tier, "ns:k", b"old".to_vec(), MINUTE).await.unwrap();
    let feed = tier.lookup(&[Lookup::new("ns:k")], &[]).await.unwrap().feed;
    let slot = cluster.slot("ns:k");
    let to = (cluster.owner_of(slot) + 1) % 3;
    recorder.take();
    let from = cluster.servers[cluster.owner_of(slot)].cli(&["CLUSTER", "MYID"]);
    cluster.servers[to].cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "IMPORTING", &from]);
    let own = cluster.servers[to].cli(&["CLUSTER", "MYID"]);
    cluster.servers[to].cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &own]);
    eventually_async("the feed has ended", async || debug_field(&feed, "is_ended") == "true").await;
    let frozen = watermark(&feed);
    // Redis 8 deletes the keys of a slot that it loses, and pushes that. Earlier versions push nothing.
    let changed_keys = recorder.take();
    assert!(changed_keys.is_empty() || changed_keys == ["ns:k"], "{changed_keys:?}");
    eventually_async("the key is asked for at its new server", async || bytes(&tier, "ns:k").await.is_none())
        .await;
    let new_feed = tier.lookup(&[Lookup::new("ns:k")], &[]).await.unwrap().feed;
    eventually_async("the watermark of the new feed advances", async || watermark(&new_feed) > frozen).await;
    assert_eq!(watermark(&feed), frozen);
    assert_eq!(tier.health().reconnects, 0, "the connection stays");
}

#[tokio::test]
async fn other_servers_answer_while_one_is_down() {
    let mut cluster = RedisCluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let (tier, recorder) = attached_tier(&cluster).await;
    let keys: Vec<_> = (0..3).map(|primary| cluster.key_on(primary, "ns:key")).collect();
    for key in &keys {
        put(&tier, key, b"v".to_vec(), MINUTE).await.unwrap();
    }
    cluster.servers[1].kill();
    eventually_async("it is noticed", async || tier.state() == RedisState::Degraded).await;
    assert!(tier.ready());
    let begin = Instant::now();
    assert_eq!(lookup(&tier, &keys[1]).await, Err(TierError::Unavailable));
    assert_eq!(delete(&tier, &keys[1]).await, Err(TierError::Unavailable));
    assert_eq!(bytes(&tier, &keys[0]).await, Some(text("v")));
    delete(&tier, &keys[2]).await.unwrap();
    // A lookup of many keys returns the records that are available.
    let lookups: Vec<_> = keys.iter().map(|key| Lookup::new(key)).collect();
    let records = tier.lookup(&lookups, &[]).await.unwrap().records;
    assert!(matches!(&records[..], [Record::Value(_), Record::Absent, Record::Absent]), "{records:?}");
    assert!(begin.elapsed() < AT_ONCE);
    let restored = recorder.restored.load(Ordering::SeqCst);
    cluster.servers[1].restart();
    eventually_async("it is there again", async || put(&tier, &keys[1], b"w".to_vec(), MINUTE).await.is_ok())
        .await;
    eventually_async("that is told", async || recorder.restored.load(Ordering::SeqCst) > restored).await;
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn tier_follows_a_failover_to_a_replica() {
    let mut cluster = RedisCluster::start_with_replicas();
    let (tier, _) = attached_tier(&cluster).await;
    let key = cluster.key_on(0, "ns:key");
    put(&tier, &key, b"old".to_vec(), MINUTE).await.unwrap();
    eventually_async("the replica has it", async || {
        cluster.servers[3].cli(&["CLUSTER", "COUNTKEYSINSLOT", &cluster.slot(&key).to_string()]) == "1"
    })
    .await;
    let feed = tier.lookup(&[Lookup::new(&key)], &[]).await.unwrap().feed;
    let begin = Instant::now();
    cluster.servers[0].kill();
    eventually_async(
        "the replica is asked",
        async || matches!(lookup(&tier, &key).await, Ok(Record::Value(stored)) if stored.bytes == b"old"),
    )
    .await;
    println!("a failover is followed {:?} after the kill", begin.elapsed());
    assert_eq!(debug_field(&feed, "is_ended"), "true");
    eventually_async("it takes writes", async || put(&tier, &key, b"new".to_vec(), MINUTE).await.is_ok())
        .await;
    // While the servers spread the change, a change feed may end between the request and the reply.
    cluster.settle(6);
    wait_until_up(&tier).await;
    tier.confirm().await.unwrap();
}

/// A primary that hands over to its replica keeps its connections, but has no authority any more.
#[tokio::test]
async fn demoted_primary_is_abandoned() {
    let cluster = RedisCluster::start_with_replicas();
    let (tier, _) = attached_tier(&cluster).await;
    let key = cluster.key_on(0, "ns:key");
    put(&tier, &key, b"old".to_vec(), MINUTE).await.unwrap();
    let feed = tier.lookup(&[Lookup::new(&key)], &[]).await.unwrap().feed;
    cluster.servers[3].cli(&["CLUSTER", "FAILOVER"]);
    eventually_async("the feed has ended", async || debug_field(&feed, "is_ended") == "true").await;
    eventually_async("the new primary takes writes", async || {
        delete(&tier, &key).await.is_ok() && cluster.servers[3].cli(&["EXISTS", &key]) == "0"
    })
    .await;
    wait_until_up(&tier).await;
}

/// A pattern also matches keys that move during the scan.
///
/// A key may move from a server that was not scanned yet to one that was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pattern_deletes_keys_that_migrate_during_the_scan() {
    let cluster = Arc::new(RedisCluster::start());
    let (tier, _) = attached_tier(&cluster).await;
    let keys = keys("ns:{move}", 4_000);
    let slot = cluster.slot(&keys[0]);
    let all: Vec<_> =
        std::iter::once("MSET").chain(keys.iter().flat_map(|key| [key.as_str(), "v"])).collect();
    // In each direction, since the scan order of the servers is arbitrary.
    for _ in 0..3 {
        let to = (cluster.owner_of(slot) + 1) % 3;
        cluster.servers[cluster.owner_of(slot)].cli(&all);
        cluster.begin_move(slot, to);
        let moving = {
            let cluster = cluster.clone();
            tokio::task::spawn_blocking(move || while cluster.move_keys(slot, to, 20) {})
        };
        tier.delete_matching("ns:{move}*").await.unwrap();
        moving.await.unwrap();
        for server in &cluster.servers {
            assert_eq!(server.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]), "0");
        }
        cluster.end_move(slot, to);
    }
}

#[tokio::test]
async fn one_reachable_seed_is_enough_to_find_all_servers() {
    let mut cluster = RedisCluster::start();
    let url = cluster.url();
    // The port stays reserved.
    let mut gone = RedisServer::start();
    gone.kill();
    let dead = format!("127.0.0.1:{}", gone.port());
    let last = url.rsplit(',').next().unwrap().to_owned();
    let tier = tier(&format!("redis-cluster://{dead},{last}"));
    wait_until_up(&tier).await;
    let shown = format!("{tier:?}");
    assert!(shown.contains(&format!("cluster of {dead},{last}")), "{shown}");
    put(&tier, &cluster.key_on(0, "ns:key"), b"v".to_vec(), MINUTE).await.unwrap();
    // All servers stop and start again.
    for server in &mut cluster.servers {
        server.kill();
    }
    eventually_async("it is down", async || tier.state() == RedisState::Down && !tier.ready()).await;
    let begin = Instant::now();
    assert_eq!(lookup(&tier, "ns:k").await, Err(TierError::Unavailable));
    assert!(begin.elapsed() < AT_ONCE);
    for server in &mut cluster.servers {
        server.restart();
    }
    wait_until_up(&tier).await;
    assert!(tier.health().reconnects >= 3);
}

#[test]
fn invalid_cluster_url_is_refused_without_being_quoted() {
    for url in [
        "redis-cluster://",
        "redis-cluster://canaryuser:canarypass@",
        "redis-cluster://canaryuser:canarypass@one,,two",
        "redis-cluster://canaryuser:canarypass@one:canarypass",
        "redis-cluster://canaryuser:canarypass@one,two/1",
        "redis-cluster://canaryuser:canarypass@one?db=1",
        "redis-cluster://one/canaryuser:canarypass@two",
    ] {
        assert_error_hides_credentials(&refused_url(RedisTier::builder(url)));
    }
    let tier = RedisTier::builder("redis-cluster://canaryuser:canarypass@one:7,two/0").build().unwrap();
    let shown = format!("{tier:?}");
    assert!(shown.contains("cluster of one:7,two:6379") && !shown.contains("canary"), "{shown}");
}

#[test]
fn cluster_is_unavailable_outside_of_a_runtime_and_usable_on_each_one() {
    let cluster = RedisCluster::start();
    let tier = tier(&cluster.url());
    let attempt = pin!(lookup(&tier, "ns:k"));
    let outcome = attempt.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(Err(TierError::Unavailable)));
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            wait_until_up(&tier).await;
            put(&tier, "ns:k", vec![round], MINUTE).await.unwrap();
            assert_eq!(bytes(&tier, "ns:k").await, Some(vec![round]));
        });
    }
}

/// A new server is queried for migrated keys before it holds a slot, and a pattern includes it.
#[tokio::test]
async fn server_without_slots_is_used_once_it_gets_one() {
    let cluster = RedisCluster::start_sharing(&[], &[Some(0..=8191), Some(8192..=16_383), None]);
    let (tier, _) = attached_tier(&cluster).await;
    let keys = keys("ns:{first}", 3);
    for key in &keys {
        put(&tier, key, key.clone().into_bytes(), MINUTE).await.unwrap();
    }
    let slot = cluster.slot(&keys[0]);
    cluster.begin_move(slot, 2);
    cluster.move_keys(slot, 2, 2);
    for key in &keys {
        assert_eq!(bytes(&tier, key).await, Some(key.clone().into_bytes()));
    }
    cluster.move_keys(slot, 2, 2);
    cluster.end_move(slot, 2);
    // Immediately, before any server has announced the new holder.
    eventually_async("it is swept", async || tier.delete_matching("ns:{first}*").await.is_ok()).await;
    assert_eq!(cluster.servers[2].cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]), "0");
}

/// A server without a registry gets no request about a slot, so it answers even when it is cut off.
#[tokio::test]
async fn partitioned_server_does_not_advance_the_watermark() {
    // Every 128th slot has a registry, and 127 slots follow the last of them.
    let last = 16_257..=16_383;
    let shares = [Some(0..=8191), Some(8192..=16_256), Some(last.clone())];
    let mut cluster = RedisCluster::start_sharing(&[], &shares);
    let tier = tier(&cluster.url());
    attach(&tier, Arc::new(Recorder::default()));
    let mut names = keys("ns:key", 5_000).into_iter();
    let key = names.find(|key| last.contains(&cluster.slot(key))).unwrap();
    eventually_async("the last slot is served", async || {
        put(&tier, &key, b"v".to_vec(), MINUTE).await.is_ok()
    })
    .await;
    let feed = tier.lookup(&[Lookup::new(&key)], &[]).await.unwrap().feed;
    let begin = watermark(&feed);
    eventually_async("the watermark advances", async || watermark(&feed) > begin).await;
    cluster.servers[0].kill();
    cluster.servers[1].kill();
    eventually("the last server is cut off", || {
        cluster.servers[2].cli(&["CLUSTER", "INFO"]).contains("cluster_state:fail")
    });
    let frozen = now();
    // As long as an entry might be served, plus one heartbeat.
    eventually_async("time passes", async || now() > frozen + 1_500_000_000).await;
    assert!(watermark(&feed) <= frozen);
}

/// The configuration epochs start again, so they are lower than the known ones.
#[tokio::test]
async fn reset_cluster_with_lower_epochs_is_accepted() {
    let cluster = RedisCluster::start();
    let (tier, _) = attached_tier(&cluster).await;
    let slot = cluster.slot("ns:k");
    for _ in 0..4 {
        cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % 3);
    }
    eventually_async("the tier follows the moved slot", async || {
        put(&tier, "ns:k", b"v".to_vec(), MINUTE).await.is_ok()
    })
    .await;
    let shares = [Some(10_000..=16_383), Some(0..=4_999), Some(5_000..=9_999)];
    cluster.redistribute_slots(&shares);
    let redirections = |server: usize| {
        let stats = cluster.servers[server].cli(&["INFO", "errorstats"]);
        stats
            .lines()
            .find_map(|line| line.strip_prefix("errorstat_MOVED:count=")?.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    eventually_async("no request is redirected any more", async || {
        let _ = put(&tier, "ns:k", b"w".to_vec(), MINUTE).await;
        let before: u64 = (0..3).map(redirections).sum();
        let all = keys("ns:new", 20);
        let mut stored = true;
        for key in &all {
            stored &= put(&tier, key, b"w".to_vec(), MINUTE).await.is_ok();
        }
        stored && (0..3).map(redirections).sum::<u64>() == before
    })
    .await;
    wait_until_up(&tier).await;
}

/// The servers announce addresses at which they cannot be reached, as behind NAT.
#[tokio::test]
async fn address_map_translates_announced_addresses() {
    // Nothing listens on these ports.
    let cluster = RedisCluster::start_announcing(["1", "2", "3"]);
    let proxies: Vec<_> = cluster.servers.iter().map(|server| Proxy::start(server.port())).collect();
    for server in &cluster.servers {
        eventually("the servers know what the others announce", || {
            let slots = server.cli(&["CLUSTER", "SLOTS"]);
            ["1", "2", "3"].iter().all(|port| slots.lines().any(|line| line == *port))
        });
    }
    let ports: Vec<_> = proxies.iter().map(Proxy::port).collect();
    let map = move |host: &str, port: u16| {
        assert_eq!(host, "127.0.0.1");
        ports.get(usize::from(port).checked_sub(1)?).map(|port| (host.to_owned(), *port))
    };
    let url = format!("redis-cluster://127.0.0.1:{}", proxies[0].port());
    let tier = builder(&url).cluster_address_map(map).build().unwrap();
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    for key in keys("ns:key ", 30) {
        put(&tier, &key, vec![1], MINUTE).await.unwrap();
        assert_eq!(bytes(&tier, &key).await, Some(vec![1]));
    }
    assert!(proxies.iter().all(|proxy| proxy.connections() > 0));
    // A redirection leads to the mapped address as well.
    let key = cluster.key_on(1, "ns:moves ");
    cluster.move_slot(cluster.slot(&key), 2);
    put(&tier, &key, vec![2], MINUTE).await.unwrap();

    // Without the map, no server listens at the announced addresses. The configured server announces them
    // again each time.
    let lost = builder(&url).retry(Duration::from_millis(50), Duration::from_secs(1)).build().unwrap();
    lost.connected().await.unwrap_err();
    let (begin, before) = (Instant::now(), proxies[0].connections());
    while begin.elapsed() < Duration::from_secs(3) {
        assert!(get(&lost, "ns:key 1").await.is_err());
        sleep(Duration::from_millis(5)).await;
    }
    let made = proxies[0].connections() - before;
    assert!(made <= 5, "{made} connections in 3 s");
    // A closed tier makes no further connections.
    tier.close().await;
    let before: usize = proxies.iter().map(Proxy::connections).sum();
    assert!(get(&tier, "ns:key 1").await.is_err());
    sleep(Duration::from_secs(2)).await;
    assert!(get(&tier, "ns:key 1").await.is_err());
    assert_eq!(proxies.iter().map(Proxy::connections).sum::<usize>(), before);

    let alone = RedisTier::builder("redis://localhost").cluster_address_map(|_, _| None);
    crate::settings::config_error(alone);
}
