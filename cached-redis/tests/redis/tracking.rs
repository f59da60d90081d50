//! Tracking: the pushes for changes, and the watermark that turns missing pushes into a proof.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cached_core::tier::{LeaseMode, Lookup, Note, Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::support::{
    MINUTE, Recorder, attach, attach_with, attached_tier, builder, bytes, debug_field, delete, feed, fill,
    get, lease, lease_request, lookup, now, put, refused, tag_request, tier, tier_fill, token, try_put,
    wait_until_down, wait_until_up, watermark,
};

#[tokio::test]
async fn looked_up_keys_and_tags_are_tracked_even_when_absent() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let other = self::tier(&server.url());
    for key in ["value", "known", "tag"] {
        put(&other, key, vec![1], MINUTE).await.unwrap();
    }
    let lookups = [
        Lookup::new("value"),
        Lookup::if_none_match("known", 1),
        Lookup::new("absent"),
        Lookup::if_none_match("unknown", 1),
    ];
    tier.lookup(&lookups, &["tag".to_owned(), "no tag".to_owned()]).await.unwrap();
    assert_eq!(recorder.take(), [""; 0]);
    for key in ["value", "known", "tag"] {
        delete(&other, key).await.unwrap();
        recorder.wait_for_change(key).await;
    }
    for key in ["absent", "unknown", "no tag"] {
        put(&other, key, vec![1], MINUTE).await.unwrap();
        recorder.wait_for_change(key).await;
    }
}

#[tokio::test]
async fn flushed_database_is_a_change_of_all_keys() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    for (count, command) in [["FLUSHALL"], ["FLUSHDB"]].iter().enumerate() {
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        server.cli(command);
        eventually_async("the change is reported", async || recorder.all.load(Ordering::SeqCst) == count + 1)
            .await;
    }
}

/// Fills the server beyond its memory limit, over the connection of the tier.
async fn evict(tier: &RedisTier, server: &RedisServer, name: &str) {
    let count = || {
        let stats = server.cli(&["INFO", "stats"]);
        let count = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    let before = count();
    for index in 0.. {
        // Its own lease may be the key that is evicted.
        try_put(tier, &format!("{name} {index}"), vec![7; 10_000], MINUTE).await.unwrap();
        if count() > before {
            break;
        }
    }
}

/// A server evicts keys on behalf of the connection that filled it.
///
/// With `NOLOOP`, that connection gets no push for them.
#[tokio::test]
async fn server_evictions_caused_by_own_writes_are_reported_as_changes() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let (tier, recorder) = attached_tier(&server.url()).await;
    let used = server.cli(&["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let limit = used.parse::<u64>().unwrap() + 1_000_000;
    put(&tier, "first", vec![7; 10_000], MINUTE).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
    evict(&tier, &server, "a").await;
    eventually_async("the change is reported", async || recorder.all.load(Ordering::SeqCst) == 1).await;

    // From here on, each change is pushed.
    let feed = feed(&tier).await;
    let begin = now();
    eventually_async("the watermark advances", async || watermark(&feed) > begin).await;
    loop {
        get(&tier, "second").await.unwrap();
        let is_stored = try_put(&tier, "second", vec![7; 10_000], MINUTE).await.unwrap();
        recorder.wait_for_change("second").await;
        recorder.take();
        // The server is full, so it may evict the key at any time. From here on, its eviction is still to come.
        if is_stored && server.cli(&["EXISTS", "second"]) == "1" {
            break;
        }
    }
    while server.cli(&["EXISTS", "second"]) == "1" {
        evict(&tier, &server, "b").await;
    }
    recorder.wait_for_change("second").await;
    assert_eq!(recorder.all.load(Ordering::SeqCst), 1);
}

/// A server forgets keys when it tracks too many.
///
/// With `NOLOOP`, it does not push that to the connection with the command that caused it.
#[tokio::test]
async fn own_changes_are_pushed_while_server_may_forget_tracked_keys() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut other = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("HELLO").arg(3).exec_async(&mut other).await.unwrap();
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut other).await.unwrap();
    for part in 0..50 {
        let mut command = redis::cmd("MGET");
        (0..10_000).for_each(|number| _ = command.arg(format!("{part}:{number}")));
        command.exec_async(&mut other).await.unwrap();
    }
    eventually_async("the change is reported", async || recorder.all.load(Ordering::SeqCst) == 1).await;

    let feed = feed(&tier).await;
    let begin = now();
    eventually_async("the watermark advances", async || watermark(&feed) > begin).await;
    recorder.take();
    put(&tier, "key", vec![2], MINUTE).await.unwrap();
    recorder.wait_for_change("key").await;
    // A new connection does not begin with `NOLOOP` either.
    let (tier, recorder) = attached_tier(&server.url()).await;
    put(&tier, "key", vec![3], MINUTE).await.unwrap();
    recorder.wait_for_change("key").await;
}

#[tokio::test]
async fn without_info_right_own_writes_are_pushed_too() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -info";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let (tier, recorder) =
        attached_tier(&format!("redis://worker:secret@127.0.0.1:{}/", server.port())).await;
    assert_eq!(debug_field(&*feed(&tier).await, "is_tracked"), "true");
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    recorder.wait_for_change("key").await;
    get(&tier, "another").await.unwrap();
    recorder.take();
    server.cli(&["DEL", "key"]);
    recorder.wait_for_change("key").await;
}

#[tokio::test]
async fn expiry_is_reported_as_a_change() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    put(&tier, "key", vec![1], Duration::from_millis(20)).await.unwrap();
    recorder.wait_for_change("key").await;
}

/// Asserts that the server still tracks the key for the tier, after an operation of the tier on it.
async fn assert_tracked(server: &RedisServer, recorder: &Recorder, key: &str) {
    assert_eq!(recorder.take(), [""; 0], "what this process did itself is no change");
    server.cli(&["DEL", key]);
    // If the key was absent, its deletion changed nothing, so it is set as well.
    server.cli(&["SET", key, "1"]);
    recorder.wait_for_change(key).await;
    server.cli(&["DEL", key]);
    recorder.take();
}

#[tokio::test]
async fn keys_written_by_this_process_are_tracked() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let mine = token();
    let take = async |take| {
        lease(&tier, lease_request("key", mine, take)).await.unwrap();
    };

    take(LeaseMode::IfAbsent).await;
    assert_tracked(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    lease(&tier, lease_request("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert_tracked(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(true));
    assert_tracked(&server, &recorder, "key").await;

    for is_failed in [false, true] {
        take(LeaseMode::IfAbsent).await;
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        assert_tracked(&server, &recorder, "key").await;
    }

    take(LeaseMode::IfAbsent).await;
    assert_eq!(tier.fail("key", mine, &Note(b"no".to_vec())).await, Ok(true));
    assert_tracked(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(true));
    assert_tracked(&server, &recorder, "key").await;

    assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(false));
    assert_tracked(&server, &recorder, "key").await;

    for end in ["lease", "renew", "release"] {
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        take(LeaseMode::Always).await;
        match end {
            "renew" => assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(true)),
            "release" => assert_eq!(tier.release("key", mine, true).await, Ok(true)),
            _ => {}
        }
        assert_tracked(&server, &recorder, "key").await;
    }

    let tags = ["ns:%tag:a".to_owned()];
    for life in ["none", "enough", "short"] {
        if life != "none" {
            tier.lease(&[], tag_request(&tags, MINUTE)).await.unwrap();
        }
        if life == "short" {
            server.cli(&["PEXPIRE", &tags[0], "1000"]);
            recorder.wait_for_change(&tags[0]).await;
        }
        tier.lease(&[], tag_request(&tags, MINUTE)).await.unwrap();
        assert_tracked(&server, &recorder, &tags[0]).await;
    }
}

#[tokio::test]
async fn fill_and_failure_are_pushed_to_waiting_processes() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let other = self::tier(&server.url());
    for is_filled in [true, false] {
        let theirs = token();
        lease(&other, lease_request("key", theirs, LeaseMode::Always)).await.unwrap();
        lookup(&tier, "key").await.unwrap();
        recorder.take();
        if is_filled {
            assert_eq!(fill(&other, tier_fill("key", theirs, vec![1], MINUTE)).await, Ok(true));
        } else {
            assert_eq!(other.release("key", theirs, true).await, Ok(true));
        }
        recorder.wait_for_change("key").await;
        delete(&other, "key").await.unwrap();
    }
}

#[tokio::test]
async fn every_change_is_pushed_before_a_later_reply() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let other = self::tier(&server.url());
    for round in 0..500 {
        let key = format!("key {round}");
        get(&tier, &key).await.unwrap();
        put(&other, &key, vec![1], MINUTE).await.unwrap();
        assert_eq!(bytes(&tier, "another").await, None);
        assert_eq!(recorder.take().first(), Some(&key));
    }
}

#[tokio::test]
async fn heartbeat_advances_the_watermark() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 1);
    let feed = feed(&tier).await;
    assert_eq!(debug_field(&feed, "is_tracked"), "true");
    assert_eq!(debug_field(&feed, "has_grace"), "true");
    for _ in 0..3 {
        let now = now();
        eventually_async("the watermark advances", async || watermark(&feed) > now).await;
    }
}

#[tokio::test]
async fn watermark_stops_while_the_server_is_frozen() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let feed = feed(&tier).await;
    server.freeze();
    let frozen = now();
    // Long enough for a heartbeat to be due.
    let due = frozen + 300_000_000;
    eventually_async("time passes", async || now() > due).await;
    assert!(watermark(&feed) <= frozen);
    server.thaw();
    eventually_async("the watermark advances", async || watermark(&feed) > due).await;
    assert_eq!(debug_field(&feed, "is_ended"), "false");
}

/// A late reply does not advance the watermark beyond the time of the request.
#[tokio::test]
async fn watermark_is_the_time_of_the_request() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = attached_tier(&proxy.url()).await;
    let feed = feed(&tier).await;
    server.freeze();
    let (frozen, sent) = (now(), proxy.bytes_sent());
    eventually_async("a heartbeat is sent", async || proxy.bytes_sent() > sent).await;
    eventually_async("time passes", async || now() > frozen + 600_000_000).await;
    let thawed = now();
    proxy.set_mode(Mode::Delay(Duration::from_millis(300)));
    server.thaw();
    eventually_async("the answer comes", async || watermark(&feed) > frozen).await;
    assert!(watermark(&feed) < thawed);
}

#[tokio::test]
async fn unanswered_heartbeat_ends_the_feed() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).connect_timeout(Duration::from_millis(200)).build().unwrap();
    let recorder = Arc::new(Recorder::default());
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    let old_feed = feed(&tier).await;
    server.freeze();
    let frozen = now();
    wait_until_down(&tier).await;
    assert!(watermark(&old_feed) <= frozen);
    assert_eq!(debug_field(&old_feed, "is_ended"), "true");
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 1);

    server.thaw();
    wait_until_up(&tier).await;
    let new_feed = feed(&tier).await;
    assert!(!Arc::ptr_eq(&old_feed, &new_feed));
    eventually_async("the watermark of the new feed advances", async || watermark(&new_feed) > frozen).await;
    assert!(watermark(&old_feed) <= frozen);
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn dropping_the_tier_ends_its_feed() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let feed = feed(&tier).await;
    drop(tier);
    assert_eq!(debug_field(&feed, "is_ended"), "true");
}

#[tokio::test]
async fn watermark_advances_under_heavy_traffic() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let feed = feed(&tier).await;
    let begin = now();
    let until = begin + 1_500_000_000;
    let mut oldest = 0;
    let busy = async |key: &str| {
        while now() < until {
            put(&tier, key, vec![7; 10_000], MINUTE).await.unwrap();
        }
    };
    let watch = async {
        while now() < until {
            get(&tier, "another").await.unwrap();
            oldest = oldest.max(now().saturating_sub(watermark(&feed)));
        }
    };
    tokio::join!(busy("one"), busy("two"), busy("three"), watch);
    assert!(oldest < 1_000_000_000, "a proof was {oldest} ns old");
}

/// A full server still accepts deletes, and its missing pushes still count as a proof.
#[tokio::test]
async fn full_server_advances_the_watermark_but_ends_the_grace() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let feed = feed(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(
        lease(&tier, lease_request("another", token(), LeaseMode::IfAbsent)).await,
        Err(refused("OOM"))
    );
    eventually_async("the grace is over", async || debug_field(&feed, "has_grace") == "false").await;
    let full = now();
    eventually_async("the watermark advances", async || watermark(&feed) > full).await;
    get(&tier, "key").await.unwrap();
    assert_eq!(delete(&self::tier(&server.url()), "key").await, Ok(()));
    recorder.wait_for_change("key").await;

    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually_async("there is grace again", async || debug_field(&feed, "has_grace") == "true").await;
}

/// A replica may be cut off from the server that others write to.
#[tokio::test]
async fn replica_does_not_advance_the_watermark() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let replica = now();
    // Each connection ends when a better server may be found.
    let mut seen = 0;
    let mut last_feed = feed(&tier).await;
    eventually_async("new connections are made", async || {
        assert!(watermark(&last_feed) <= replica, "of a connection to a replica");
        let feed = feed(&tier).await;
        if !Arc::ptr_eq(&last_feed, &feed) {
            last_feed = feed;
            seen += 1;
        }
        seen >= 3
    })
    .await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("the watermark advances again", async || watermark(&*feed(&tier).await) > replica).await;
}

async fn assert_untracked(server: &RedisServer, tier: &RedisTier) {
    let feed = feed(tier).await;
    assert_eq!(debug_field(&feed, "is_tracked"), "false");
    assert_eq!(debug_field(&feed, "watermark"), "0");
    put(tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(bytes(tier, "key").await, Some(vec![1]));
    let generation =
        tier.lease(&[], tag_request(&["ns:%tag:a".to_owned()], MINUTE)).await.unwrap().generations[0];
    assert_eq!(tier.lookup(&[], &["ns:%tag:a".to_owned()]).await.unwrap().generations, [Some(generation)]);
    assert_eq!(delete(tier, "key").await, Ok(()));
    assert_eq!(tier.incr("counter", 1, None).await, Ok(1));
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
    tier.confirm().await.unwrap();
}

#[tokio::test]
async fn feed_is_untracked_without_the_tracking_right() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -client";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let tier = tier(&format!("redis://worker:secret@127.0.0.1:{}/", server.port()));
    attach(&tier, Arc::new(Recorder::default()));
    assert_untracked(&server, &tier).await;
}

#[tokio::test]
async fn dropped_pushes_are_detected() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = attached_tier(&proxy.url()).await;
    let tracked_feed = feed(&tier).await;
    eventually_async("the watermark advances", async || watermark(&tracked_feed) > 0).await;
    proxy.set_mode(Mode::DropPushes);
    let dropped_at = now();
    eventually_async("it is over", async || debug_field(&tracked_feed, "is_ended") == "true").await;
    // A heartbeat may have been under way.
    assert!(watermark(&tracked_feed) <= dropped_at + 50_000_000);
    eventually_async("there is another one", async || tier.state() == RedisState::Degraded).await;
    assert_untracked(&server, &tier).await;
    assert!(!tier.health().tracking);

    proxy.set_mode(Mode::Pass);
    eventually_async("the state is up again", async || tier.state() == RedisState::Up).await;
    let feed = feed(&tier).await;
    assert_eq!(debug_field(&feed, "is_tracked"), "true");
    eventually_async("the watermark advances again", async || watermark(&feed) > 0).await;
    assert_eq!(proxy.connections(), 3, "one that heard, one that did not, and one that does");
}

/// Dragonfly accepts `NOLOOP`, but pushes nothing then. Without it, changes are pushed.
#[tokio::test]
async fn tracking_works_without_noloop_when_noloop_suppresses_pushes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::UntrackedUnderNoLoop);
    let (tier, recorder) = attached_tier(&proxy.url()).await;
    assert_eq!(tier.state(), RedisState::Up);
    assert_eq!(debug_field(&*feed(&tier).await, "is_tracked"), "true");
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    recorder.take();
    server.cli(&["DEL", "key"]);
    recorder.wait_for_change("key").await;
    assert_eq!(proxy.connections(), 1);
}

/// The key of the push self-test is read in the same way as values.
#[tokio::test]
async fn feed_is_untracked_when_server_does_not_track_script_reads() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::UntrackedInScripts);
    let (tier, _) = attached_tier(&proxy.url()).await;
    assert_eq!(tier.state(), RedisState::Degraded);
    assert!(!tier.health().tracking);
    assert_untracked(&server, &tier).await;
}

/// A user without the right to run scripts reads values by plain commands, and so does the self-test.
#[tokio::test]
async fn self_test_uses_plain_commands_without_script_rights() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -eval -evalsha";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let proxy = Proxy::start(server.port());
    let url = format!("redis://worker:secret@127.0.0.1:{}/", proxy.port());
    for (mode, watches) in [(Mode::Pass, "true"), (Mode::DropPushes, "false")] {
        proxy.set_mode(mode);
        let tier = tier(&url);
        attach(&tier, Arc::new(Recorder::default()));
        tier.connected().await.unwrap();
        assert!(!tier.ready(), "nothing can be stored");
        assert_eq!(debug_field(&*feed(&tier).await, "is_tracked"), watches, "{mode:?}");
    }
}

#[tokio::test]
async fn watermark_advances_when_server_refuses_writes() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let proxy = Proxy::start(server.port());
    let (tier, _) = attached_tier(&proxy.url()).await;
    let feed = feed(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = now();
    eventually_async("the watermark advances", async || watermark(&feed) > full).await;
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn feed_is_untracked_over_resp2() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let tier = tier(&server.url());
    attach(&tier, Arc::new(Recorder::default()));
    assert_untracked(&server, &tier).await;
}

#[tokio::test]
async fn first_heartbeat_ends_before_the_first_read() {
    let server = RedisServer::start();
    let (tier, _) = attached_tier(&server.url()).await;
    let feed = feed(&tier).await;
    assert_ne!(watermark(&feed), 0);
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
}

/// A process that cannot acknowledge barriers must not be registered, and so has no grace.
#[tokio::test]
async fn feed_has_no_grace_when_the_barrier_key_cannot_be_read() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~any ~ns:%members &* +@all";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let url = format!("redis://worker:secret@127.0.0.1:{}/", server.port());
    let tier = builder(&url).connect_timeout(Duration::from_secs(1)).build().unwrap();
    let bound = Duration::from_millis(200);
    attach_with(&tier, Arc::new(Recorder::default()), bound, bound);
    wait_until_up(&tier).await;
    let feed = feed(&tier).await;
    assert_eq!(debug_field(&feed, "has_grace"), "false");
    let begin = now();
    eventually_async("the watermark advances", async || watermark(&feed) > begin).await;

    // The process registered once, before it could detect this.
    let (other, _) = attached_tier(&server.url()).await;
    other.confirm().await.unwrap();
}

/// Other processes must know of each process that reads values which it may serve.
#[tokio::test]
async fn cache_attached_later_gets_a_new_connection() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    wait_until_up(&tier).await;
    let old_feed = feed(&tier).await;
    let recorder = Arc::new(Recorder::default());
    attach(&tier, recorder.clone());
    assert_eq!(debug_field(&old_feed, "is_ended"), "true");
    wait_until_up(&tier).await;
    let feed = feed(&tier).await;
    assert_ne!(watermark(&feed), 0);
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
    get(&tier, "key").await.unwrap();
    server.cli(&["SET", "key", "1"]);
    recorder.wait_for_change("key").await;

    attach(&tier, Arc::new(Recorder::default()));
    assert_eq!(debug_field(&feed, "is_ended"), "false", "a tier belongs to one cache");
}

#[tokio::test]
async fn mute_connection_does_not_advance_the_watermark() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = attached_tier(&proxy.url()).await;
    let feed = feed(&tier).await;
    proxy.set_mode(Mode::Swallow);
    let mute = now();
    eventually_async("time passes", async || now() > mute + 600_000_000).await;
    assert!(watermark(&feed) <= mute);
}
