//! Tracking: the pushes for changes, and the watermark that turns missing pushes into a proof.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cached_core::{LeaseMode, Lookup, Note, Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};

use crate::support::{
    MINUTE, Recorder, ask, attach, attach_with, builder, bytes, claim, delete, down, fill, get, lease, line,
    look, now, proven, put, refused, shown, tier, token, up, value, watched,
};

#[tokio::test]
async fn looked_up_keys_and_tags_are_tracked_even_when_absent() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    let other = self::tier(&server.url());
    for key in ["value", "known", "tag"] {
        put(&other, key, vec![1], MINUTE).await.unwrap();
    }
    let asks =
        [Lookup::new("value"), Lookup::known("known", 1), Lookup::new("absent"), Lookup::known("unknown", 1)];
    tier.look(&asks, &["tag".to_owned(), "no tag".to_owned()]).await.unwrap();
    assert_eq!(recorder.take(), [""; 0]);
    for key in ["value", "known", "tag"] {
        delete(&other, key).await.unwrap();
        recorder.hears(key).await;
    }
    for key in ["absent", "unknown", "no tag"] {
        put(&other, key, vec![1], MINUTE).await.unwrap();
        recorder.hears(key).await;
    }
}

#[tokio::test]
async fn an_emptied_database_is_a_change_of_everything() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    for (count, command) in [["FLUSHALL"], ["FLUSHDB"]].iter().enumerate() {
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        server.cli(command);
        eventually_async("the change is told", async || recorder.all.load(Ordering::SeqCst) == count + 1)
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
        put(tier, &format!("{name} {index}"), vec![7; 10_000], MINUTE).await.unwrap();
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
    let (tier, recorder) = watched(&server.url()).await;
    let used = server.cli(&["INFO", "memory"]);
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let limit = used.parse::<u64>().unwrap() + 1_000_000;
    put(&tier, "first", vec![7; 10_000], MINUTE).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
    evict(&tier, &server, "a").await;
    eventually_async("the change is told", async || recorder.all.load(Ordering::SeqCst) == 1).await;

    // From here on, each change is pushed.
    let line = line(&tier).await;
    let begin = now();
    eventually_async("a later moment is proven", async || proven(&line) > begin).await;
    get(&tier, "second").await.unwrap();
    put(&tier, "second", vec![7; 10_000], MINUTE).await.unwrap();
    recorder.hears("second").await;
    recorder.take();
    while server.cli(&["EXISTS", "second"]) == "1" {
        evict(&tier, &server, "b").await;
    }
    recorder.hears("second").await;
    assert_eq!(recorder.all.load(Ordering::SeqCst), 1);
}

/// A server forgets keys when it tracks too many.
///
/// With `NOLOOP`, it does not push that to the connection with the command that caused it.
#[tokio::test]
async fn own_changes_are_pushed_while_server_may_forget_tracked_keys() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
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
    eventually_async("the change is told", async || recorder.all.load(Ordering::SeqCst) == 1).await;

    let line = line(&tier).await;
    let begin = now();
    eventually_async("a later moment is proven", async || proven(&line) > begin).await;
    recorder.take();
    put(&tier, "key", vec![2], MINUTE).await.unwrap();
    recorder.hears("key").await;
    // A new connection does not begin with `NOLOOP` either.
    let (tier, recorder) = watched(&server.url()).await;
    put(&tier, "key", vec![3], MINUTE).await.unwrap();
    recorder.hears("key").await;
}

#[tokio::test]
async fn without_info_right_own_writes_are_pushed_too() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -info";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let (tier, recorder) = watched(&format!("redis://worker:secret@127.0.0.1:{}/", server.port())).await;
    assert_eq!(shown(&*line(&tier).await, "watches"), "true");
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    recorder.hears("key").await;
    get(&tier, "another").await.unwrap();
    recorder.take();
    server.cli(&["DEL", "key"]);
    recorder.hears("key").await;
}

#[tokio::test]
async fn the_end_of_a_life_is_a_change() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    put(&tier, "key", vec![1], Duration::from_millis(20)).await.unwrap();
    recorder.hears("key").await;
}

/// Asserts that the server still tracks the key for the tier, after an operation of the tier on it.
async fn assert_watched(server: &RedisServer, recorder: &Recorder, key: &str) {
    assert_eq!(recorder.take(), [""; 0], "what this process did itself is no change");
    server.cli(&["DEL", key]);
    // If the key was absent, its deletion changed nothing, so it is set as well.
    server.cli(&["SET", key, "1"]);
    recorder.hears(key).await;
    server.cli(&["DEL", key]);
    recorder.take();
}

#[tokio::test]
async fn keys_written_by_this_process_are_tracked() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    let mine = token();
    let take = async |take| {
        lease(&tier, claim("key", mine, take)).await.unwrap();
    };

    take(LeaseMode::IfAbsent).await;
    assert_watched(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    lease(&tier, claim("key", token(), LeaseMode::IfAbsent)).await.unwrap();
    assert_watched(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(true));
    assert_watched(&server, &recorder, "key").await;

    for is_failed in [false, true] {
        take(LeaseMode::IfAbsent).await;
        assert_eq!(tier.release("key", mine, is_failed).await, Ok(true));
        assert_watched(&server, &recorder, "key").await;
    }

    take(LeaseMode::IfAbsent).await;
    assert_eq!(tier.fail("key", mine, &Note(b"no".to_vec())).await, Ok(true));
    assert_watched(&server, &recorder, "key").await;

    take(LeaseMode::IfAbsent).await;
    assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(true));
    assert_watched(&server, &recorder, "key").await;

    assert_eq!(fill(&tier, value("key", mine, vec![1], MINUTE)).await, Ok(false));
    assert_watched(&server, &recorder, "key").await;

    for end in ["lease", "renew", "release"] {
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
        take(LeaseMode::Always).await;
        match end {
            "renew" => assert_eq!(tier.renew("key", mine, MINUTE).await, Ok(true)),
            "release" => assert_eq!(tier.release("key", mine, true).await, Ok(true)),
            _ => {}
        }
        assert_watched(&server, &recorder, "key").await;
    }

    let tags = ["ns:%tag:a".to_owned()];
    for life in ["none", "enough", "short"] {
        if life != "none" {
            tier.lease(&[], ask(&tags, MINUTE)).await.unwrap();
        }
        if life == "short" {
            server.cli(&["PEXPIRE", &tags[0], "1000"]);
            recorder.hears(&tags[0]).await;
        }
        tier.lease(&[], ask(&tags, MINUTE)).await.unwrap();
        assert_watched(&server, &recorder, &tags[0]).await;
    }
}

#[tokio::test]
async fn fill_and_failure_are_pushed_to_waiting_processes() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    let other = self::tier(&server.url());
    for is_filled in [true, false] {
        let theirs = token();
        lease(&other, claim("key", theirs, LeaseMode::Always)).await.unwrap();
        look(&tier, "key").await.unwrap();
        recorder.take();
        if is_filled {
            assert_eq!(fill(&other, value("key", theirs, vec![1], MINUTE)).await, Ok(true));
        } else {
            assert_eq!(other.release("key", theirs, true).await, Ok(true));
        }
        recorder.hears("key").await;
        delete(&other, "key").await.unwrap();
    }
}

#[tokio::test]
async fn every_change_is_pushed_before_a_later_reply() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
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
async fn the_heartbeat_proves_that_nothing_changed() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 1);
    let line = line(&tier).await;
    assert_eq!(shown(&line, "watches"), "true");
    assert_eq!(shown(&line, "has_grace"), "true");
    for _ in 0..3 {
        let now = now();
        eventually_async("a later moment is proven", async || proven(&line) > now).await;
    }
}

#[tokio::test]
async fn a_frozen_server_proves_nothing_and_a_thawed_one_does() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let line = line(&tier).await;
    server.freeze();
    let frozen = now();
    // Long enough for a heartbeat to be due.
    let due = frozen + 300_000_000;
    eventually_async("time passes", async || now() > due).await;
    assert!(proven(&line) <= frozen);
    server.thaw();
    eventually_async("a later moment is proven", async || proven(&line) > due).await;
    assert_eq!(shown(&line, "is_over"), "false");
}

/// A late reply does not advance the watermark beyond the time of the request.
#[tokio::test]
async fn watermark_is_the_time_of_the_request() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = watched(&proxy.url()).await;
    let line = line(&tier).await;
    server.freeze();
    let (frozen, sent) = (now(), proxy.bytes_sent());
    eventually_async("a heartbeat is sent", async || proxy.bytes_sent() > sent).await;
    eventually_async("time passes", async || now() > frozen + 600_000_000).await;
    let thawed = now();
    proxy.set_mode(Mode::Delay(Duration::from_millis(300)));
    server.thaw();
    eventually_async("the answer comes", async || proven(&line) > frozen).await;
    assert!(proven(&line) < thawed);
}

#[tokio::test]
async fn a_heartbeat_without_an_answer_ends_the_line() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).connect_timeout(Duration::from_millis(200)).build().unwrap();
    let recorder = Arc::new(Recorder::default());
    attach(&tier, recorder.clone());
    up(&tier).await;
    let old = line(&tier).await;
    server.freeze();
    let frozen = now();
    down(&tier).await;
    assert!(proven(&old) <= frozen);
    assert_eq!(shown(&old, "is_over"), "true");
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 1);

    server.thaw();
    up(&tier).await;
    let new = line(&tier).await;
    assert!(!Arc::ptr_eq(&old, &new));
    eventually_async("the new line proves", async || proven(&new) > frozen).await;
    assert!(proven(&old) <= frozen);
    assert_eq!(recorder.restored.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn dropping_the_tier_ends_its_line() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let line = line(&tier).await;
    drop(tier);
    assert_eq!(shown(&line, "is_over"), "true");
}

#[tokio::test]
async fn data_does_not_keep_the_heart_from_beating() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let line = line(&tier).await;
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
            oldest = oldest.max(now().saturating_sub(proven(&line)));
        }
    };
    tokio::join!(busy("one"), busy("two"), busy("three"), watch);
    assert!(oldest < 1_000_000_000, "a proof was {oldest} ns old");
}

/// A full server still accepts deletes, and its missing pushes still count as a proof.
#[tokio::test]
async fn a_full_server_proves_and_deletes_but_gives_no_grace() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    let line = line(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(lease(&tier, claim("another", token(), LeaseMode::IfAbsent)).await, Err(refused("OOM")));
    eventually_async("the grace is over", async || shown(&line, "has_grace") == "false").await;
    let full = now();
    eventually_async("a later moment is proven", async || proven(&line) > full).await;
    get(&tier, "key").await.unwrap();
    assert_eq!(delete(&self::tier(&server.url()), "key").await, Ok(()));
    recorder.hears("key").await;

    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually_async("there is grace again", async || shown(&line, "has_grace") == "true").await;
}

/// A replica may be cut off from the server that others write to.
#[tokio::test]
async fn a_replica_proves_nothing() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let replica = now();
    // Each connection ends when a better server may be found.
    let mut seen = 0;
    let mut last = line(&tier).await;
    eventually_async("new connections are made", async || {
        assert!(proven(&last) <= replica, "of a connection to a replica");
        let line = line(&tier).await;
        if !Arc::ptr_eq(&last, &line) {
            last = line;
            seen += 1;
        }
        seen >= 3
    })
    .await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually_async("it proves again", async || proven(&*line(&tier).await) > replica).await;
}

async fn assert_silent(server: &RedisServer, tier: &RedisTier) {
    let line = line(tier).await;
    assert_eq!(shown(&line, "watches"), "false");
    assert_eq!(shown(&line, "proven"), "0");
    put(tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(bytes(tier, "key").await, Some(vec![1]));
    let generation = tier.lease(&[], ask(&["ns:%tag:a".to_owned()], MINUTE)).await.unwrap().generations[0];
    assert_eq!(tier.look(&[], &["ns:%tag:a".to_owned()]).await.unwrap().generations, [Some(generation)]);
    assert_eq!(delete(tier, "key").await, Ok(()));
    assert_eq!(tier.incr("counter", 1, None).await, Ok(1));
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
    tier.confirm().await.unwrap();
}

#[tokio::test]
async fn without_leave_to_track_the_line_is_silent() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~* &* +@all -client";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let tier = tier(&format!("redis://worker:secret@127.0.0.1:{}/", server.port()));
    attach(&tier, Arc::new(Recorder::default()));
    assert_silent(&server, &tier).await;
}

#[tokio::test]
async fn messages_that_do_not_arrive_are_noticed() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = watched(&proxy.url()).await;
    let hearing = line(&tier).await;
    eventually_async("it proves", async || proven(&hearing) > 0).await;
    proxy.set_mode(Mode::DropPushes);
    let deaf = now();
    eventually_async("it is over", async || shown(&hearing, "is_over") == "true").await;
    // A heartbeat may have been under way.
    assert!(proven(&hearing) <= deaf + 50_000_000);
    eventually_async("there is another one", async || tier.state() == RedisState::Degraded).await;
    assert_silent(&server, &tier).await;
    assert!(!tier.health().tracking);

    proxy.set_mode(Mode::Pass);
    eventually_async("it hears again", async || tier.state() == RedisState::Up).await;
    let line = line(&tier).await;
    assert_eq!(shown(&line, "watches"), "true");
    eventually_async("it proves again", async || proven(&line) > 0).await;
    assert_eq!(proxy.connections(), 3, "one that heard, one that did not, and one that does");
}

/// Dragonfly accepts `NOLOOP`, but pushes nothing then. Without it, changes are pushed.
#[tokio::test]
async fn tracking_works_without_noloop_when_noloop_suppresses_pushes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::DeafUnderNoLoop);
    let (tier, recorder) = watched(&proxy.url()).await;
    assert_eq!(tier.state(), RedisState::Up);
    assert_eq!(shown(&*line(&tier).await, "watches"), "true");
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    recorder.take();
    server.cli(&["DEL", "key"]);
    recorder.hears("key").await;
    assert_eq!(proxy.connections(), 1);
}

/// The key of the push self-test is read in the same way as values.
#[tokio::test]
async fn feed_is_untracked_when_server_does_not_track_script_reads() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    proxy.set_mode(Mode::DeafInScripts);
    let (tier, _) = watched(&proxy.url()).await;
    assert_eq!(tier.state(), RedisState::Degraded);
    assert!(!tier.health().tracking);
    assert_silent(&server, &tier).await;
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
        assert_eq!(shown(&*line(&tier).await, "watches"), watches, "{mode:?}");
    }
}

#[tokio::test]
async fn watermark_advances_when_server_refuses_writes() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let proxy = Proxy::start(server.port());
    let (tier, _) = watched(&proxy.url()).await;
    let line = line(&tier).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = now();
    eventually_async("it proves", async || proven(&line) > full).await;
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn over_the_old_protocol_the_line_is_silent() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let tier = tier(&server.url());
    attach(&tier, Arc::new(Recorder::default()));
    assert_silent(&server, &tier).await;
}

#[tokio::test]
async fn the_first_heartbeat_is_over_before_anything_is_read() {
    let server = RedisServer::start();
    let (tier, _) = watched(&server.url()).await;
    let line = line(&tier).await;
    assert_ne!(proven(&line), 0);
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
}

/// A process that cannot acknowledge barriers must not be registered, and so has no grace.
#[tokio::test]
async fn without_leave_to_read_the_poke_there_is_no_grace() {
    let server = RedisServer::start();
    let rules = "ACL SETUSER worker on >secret ~any ~ns:%members &* +@all";
    server.cli(&rules.split(' ').collect::<Vec<_>>());
    let url = format!("redis://worker:secret@127.0.0.1:{}/", server.port());
    let tier = builder(&url).connect_timeout(Duration::from_secs(1)).build().unwrap();
    let bound = Duration::from_millis(200);
    attach_with(&tier, Arc::new(Recorder::default()), bound, bound);
    up(&tier).await;
    let line = line(&tier).await;
    assert_eq!(shown(&line, "has_grace"), "false");
    let begin = now();
    eventually_async("a later moment is proven", async || proven(&line) > begin).await;

    // The process registered once, before it could detect this.
    let (other, _) = watched(&server.url()).await;
    other.confirm().await.unwrap();
}

/// Other processes must know of each process that reads values which it may serve.
#[tokio::test]
async fn a_cache_that_comes_later_gets_a_connection_of_its_own() {
    let server = RedisServer::start();
    let tier = tier(&server.url());
    up(&tier).await;
    let before = line(&tier).await;
    let recorder = Arc::new(Recorder::default());
    attach(&tier, recorder.clone());
    assert_eq!(shown(&before, "is_over"), "true");
    up(&tier).await;
    let line = line(&tier).await;
    assert_ne!(proven(&line), 0);
    assert_eq!(server.cli(&["HLEN", "ns:%members"]), "1");
    get(&tier, "key").await.unwrap();
    server.cli(&["SET", "key", "1"]);
    recorder.hears("key").await;

    attach(&tier, Arc::new(Recorder::default()));
    assert_eq!(shown(&line, "is_over"), "false", "a tier belongs to one cache");
}

#[tokio::test]
async fn a_mute_connection_proves_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (tier, _) = watched(&proxy.url()).await;
    let line = line(&tier).await;
    proxy.set_mode(Mode::Swallow);
    let mute = now();
    eventually_async("time passes", async || now() > mute + 600_000_000).await;
    assert!(proven(&line) <= mute);
}
