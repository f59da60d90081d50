//! Large values, which have a connection of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cached_core::{
    Cache, Keyspace, TierCause,
    tier::{Budget, LARGE_VALUE, LeaseMode, Lookup, Note, Record, Tier},
};
use cached_redis::{RedisState, RedisStateWatch, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};
use tokio::time::timeout;

use crate::{
    heartbeat_cost::{commands_in, wait_until_quiet},
    support::{
        AMPLE, MAX_BYTES, MINUTE, NAMESPACE, Recorder, attach, attached_tier, builder, delete, feed, fill,
        get, lease, lease_request, lookup, put, tier, tier_fill, token, wait_until_up,
    },
};

const MIB: usize = 1 << 20;

/// Rate of a link, in bytes per second: 12 MiB take three quarters of a second.
const RATE: u32 = 16 << 20;

/// Read budget of about half that time.
const BUDGET: Duration = Duration::from_millis(400);

/// Arguments of a read that is limited to the size of a small value.
const SMALL: &str = "$6\r\n262192\r\n";

fn key(name: &str) -> String {
    format!("{NAMESPACE}:{name}")
}

/// Returns the record of a key, for which a large value is expected.
async fn lookup_large(tier: &RedisTier, key: &str) -> Record {
    let lookups = [Lookup { size: 4 * MIB, ..Lookup::new(key) }];
    tier.lookup(&lookups, &[]).await.unwrap().records.remove(0)
}

/// Returns a large value, if it exists and can be read.
async fn get_large(tier: &RedisTier, key: &str) -> Option<Vec<u8>> {
    let lookups = [Lookup { size: 4 * MIB, ..Lookup::new(key) }];
    match tier.lookup(&lookups, &[]).await.ok()?.records.remove(0) {
        Record::Value(stored) => Some(stored.bytes).filter(|bytes| !bytes.is_empty()),
        _ => None,
    }
}

async fn large_bytes(tier: &RedisTier, key: &str) -> Vec<u8> {
    match lookup_large(tier, key).await {
        Record::Value(stored) => stored.bytes,
        other => panic!("{other:?}"),
    }
}

/// Another process, with the keyspaces that both processes share.
struct Process {
    cache: Cache,
    state: RedisStateWatch,
    values: Keyspace<u64, String>,
    small: Keyspace<u64, String>,
}

fn process(tier: RedisTier) -> Process {
    let state = tier.watch_state();
    let cache = Cache::builder().namespace(NAMESPACE).tier(tier).build().unwrap();
    let values = cache.keyspace("large", MINUTE).unwrap();
    let small = cache.keyspace("small", MINUTE).unwrap();
    Process { cache, state, values, small }
}

/// Closes the connections that only carry values: those that receive no pushes. Returns their number.
fn close_large_connections(server: &RedisServer) -> usize {
    let clients = server.cli(&["CLIENT", "LIST"]);
    let is_other = |line: &&str| line.contains("cmd=getrange") && !line.contains(" flags=t");
    let ids = clients.lines().filter(is_other).filter_map(|line| line.split([' ', '=']).nth(1));
    ids.filter(|id| server.cli(&["CLIENT", "KILL", "ID", id]) == "1").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_values_are_read_while_a_large_one_is_transferred() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let writer = process(tier(&server.url()));
    writer.values.set(&0, "x".repeat(12 * MIB)).await.unwrap();
    for number in 0..400 {
        writer.small.set(&number, number.to_string()).await.unwrap();
    }
    let reader = RedisTier::builder(proxy.url()).operation_timeout(BUDGET).build().unwrap();
    let reader = Arc::new(process(reader));
    reader.cache.connected().await.unwrap();
    proxy.set_mode(Mode::Rate(RATE));
    let (is_over, was_read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let again = {
        let (reader, is_over, was_read) = (reader.clone(), is_over.clone(), was_read.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                reader.cache.clear_local();
                let value = reader.values.get(&0).await;
                was_read.fetch_add(usize::from(value.is_some()), Ordering::SeqCst);
            }
        })
    };
    let before = proxy.bytes_answered();
    eventually_async("a large value is on its way", async || proxy.bytes_answered() > before + MIB as u64)
        .await;
    let mut answered = 0;
    for number in 0..400 {
        answered += usize::from(reader.small.get(&number).await == Some(number.to_string()));
        // The pauses make the small reads take as long as several large ones.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    again.await.unwrap();
    let (stats, health) = (reader.cache.stats(), reader.cache.health().tier.unwrap());
    // While the breaker is open, no read is sent.
    assert_eq!((answered, stats.shared_skipped, stats.shared_read_errors), (400, 0, 0));
    assert_eq!((health.is_breaker_open, health.reconnects, reader.state.state()), (false, 0, RedisState::Up));
    assert!(was_read.load(Ordering::SeqCst) > 1, "and so is the large one");
}

#[tokio::test]
async fn large_values_are_read_separately_once_their_size_is_known() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let writer = process(tier(&server.url()));
    writer.values.set(&0, "x".repeat(2 * MIB)).await.unwrap();
    let reader = process(tier(&proxy.url()));
    let asked = |proxy: &Proxy| {
        let sent = proxy.take_round_trips().concat();
        String::from_utf8_lossy(&sent).matches(SMALL).count()
    };
    for expected in [1, 0, 0] {
        reader.cache.clear_local();
        assert_eq!(reader.values.get(&0).await.map(|value| value.len()), Some(2 * MIB));
        assert_eq!(asked(&proxy), expected, "the first time it is not known that it is large");
    }
    // A process also knows the size of a value that it stored itself.
    let process = process(tier(&proxy.url()));
    process.values.set(&1, "x".repeat(2 * MIB)).await.unwrap();
    process.cache.clear_local();
    asked(&proxy);
    assert_eq!(process.values.get(&1).await.map(|value| value.len()), Some(2 * MIB));
    assert_eq!(asked(&proxy), 0);
}

#[tokio::test]
async fn large_values_stay_tracked_after_a_reconnect() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let other = self::tier(&server.url());
    let name = key("value");
    for round in 0..3 {
        let value = vec![round; 4 * MIB];
        put(&other, &name, value.clone(), MINUTE).await.unwrap();
        assert!(large_bytes(&tier, &name).await == value);
        recorder.take();
        delete(&other, &name).await.unwrap();
        recorder.wait_for_change(&name).await;
        assert_eq!(lookup_large(&tier, &name).await, Record::Absent);
        if round == 0 {
            put(&other, &name, value, MINUTE).await.unwrap();
            large_bytes(&tier, &name).await;
            assert!(close_large_connections(&server) >= 1);
            eventually_async("there is another connection", async || {
                let lookups = [Lookup { size: 4 * MIB, ..Lookup::new(&name) }];
                matches!(tier.lookup(&lookups, &[]).await, Ok(seen) if matches!(seen.records[0], Record::Value(_)))
            })
            .await;
        }
    }
    assert_eq!((tier.health().reconnects, tier.state()), (0, RedisState::Up));
}

#[tokio::test]
async fn invalidation_evicts_a_large_value_in_memory_at_once() {
    let server = RedisServer::start();
    let (writer, reader) = (process(tier(&server.url())), process(tier(&server.url())));
    for _ in 0..2 {
        writer.values.set(&0, "x".repeat(MIB)).await.unwrap();
        let read = async || reader.values.get_or_load(&0, || async { Err::<String, _>(()) }).await.ok();
        eventually_async("it is read", async || read().await.is_some()).await;
        // The push of the change may overtake the reply with that value, which is then not kept in memory. The next one
        // is.
        assert!(read().await.is_some());
        let before = reader.cache.stats();
        assert_eq!(read().await.map(|value| value.len()), Some(MIB));
        let after = reader.cache.stats();
        assert_eq!((after.hits_l1, after.hits_l2), (before.hits_l1 + 1, before.hits_l2), "from memory");
        writer.values.delete(&0).confirmed().await.unwrap();
        assert_eq!(read().await, None);
        close_large_connections(&server);
    }
}

#[tokio::test]
async fn large_fill_is_fenced_and_tracked_like_a_small_one() {
    let server = RedisServer::start();
    let (tier, recorder) = attached_tier(&server.url()).await;
    let other = self::tier(&server.url());
    let staged_keys = || server.cli(&["KEYS", "*%large*"]);
    for name in [key("value"), key("{tag}:value"), key("{}value"), key("}value")] {
        let (mine, bytes) = (token(), vec![7; 2 * LARGE_VALUE]);
        lease(&tier, lease_request(&name, mine, LeaseMode::IfAbsent)).await.unwrap();
        let filled = tier.fill(vec![tier_fill(&name, mine, bytes.clone(), MINUTE)]).await.unwrap();
        assert_eq!(filled.stored, [true]);
        let main = feed(&tier).await;
        assert!(filled.feed.is_same(&main), "{name}");
        let Record::Value(stored) = lookup_large(&tier, &name).await else { panic!("{name}") };
        assert!(stored.bytes == bytes && stored.revision == mine.revision());
        assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE));
        assert!(large_bytes(&other, &name).await == bytes);
        assert_eq!(recorder.take(), [""; 0], "it is not told of its own fill");
        server.cli(&["DEL", &name]);
        recorder.wait_for_change(&name).await;

        let overtaken = token();
        lease(&tier, lease_request(&name, overtaken, LeaseMode::IfAbsent)).await.unwrap();
        delete(&other, &name).await.unwrap();
        recorder.wait_for_change(&name).await;
        assert!(!fill(&tier, tier_fill(&name, overtaken, bytes, MINUTE)).await.unwrap());
        assert_eq!((lookup_large(&tier, &name).await, staged_keys()), (Record::Absent, String::new()));
    }
}

#[tokio::test]
async fn lease_over_a_large_value_keeps_the_value() {
    let server = RedisServer::start();
    let tier = attached_tier(&server.url()).await.0;
    let (name, bytes) = (key("value"), vec![7; 2 * LARGE_VALUE]);
    put(&tier, &name, bytes.clone(), MINUTE).await.unwrap();
    lease(&tier, lease_request(&name, token(), LeaseMode::Always)).await.unwrap();
    assert!(large_bytes(&tier, &name).await == bytes);
    // A lease over no value is distinguished from one over a value.
    lease(&tier, lease_request(&key("leased"), token(), LeaseMode::Always)).await.unwrap();
    assert!(matches!(lookup_large(&tier, &key("leased")).await, Record::Leased { .. }));
}

/// A client that can write keys of the namespace must not be able to fill each reader's memory.
#[tokio::test]
async fn oversized_foreign_string_is_a_miss_and_is_not_read() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let reader = process(tier(&proxy.url()));
    reader.cache.connected().await.unwrap();
    let plant = |name: &str| {
        // Zeros, except for the last byte.
        server.cli(&["SETRANGE", name, &(100 * MIB).to_string(), "x"]);
    };
    plant(&reader.values.key(&0).unwrap());
    plant(&key("%poke"));
    let before = proxy.bytes_answered();
    let read = || usize::try_from(proxy.bytes_answered() - before).unwrap();
    assert_eq!(reader.values.get(&0).await, None);
    assert!(read() < 2 * LARGE_VALUE, "{} bytes were read", read());
    let load = || async { Ok::<_, std::convert::Infallible>("loaded".to_owned()) };
    assert_eq!(reader.values.get_or_load(&0, load).await.unwrap(), "loaded");
    reader.cache.flush().await;
    reader.cache.clear_local();
    assert_eq!(reader.values.get(&0).await.as_deref(), Some("loaded"), "it has taken its place");
    assert_eq!(reader.cache.health().tier.unwrap().reconnects, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reads_do_not_read_an_oversized_foreign_string() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(attached_tier(&proxy.url()).await.0);
    let (name, tag) = (key("value"), key("%tag:tag"));
    for name in [&name, &tag] {
        server.cli(&["SETRANGE", name, &(100 * MIB).to_string(), "x"]);
    }
    let before = proxy.bytes_answered();
    let read = || usize::try_from(proxy.bytes_answered() - before).unwrap();
    assert_eq!(tier.lookup(&[], &[tag]).await.unwrap().generations, [None]);
    assert!(read() < LARGE_VALUE, "{} bytes were read", read());
    let one = |_| {
        let (tier, name) = (tier.clone(), name.clone());
        tokio::spawn(async move { lookup(&tier, &name).await })
    };
    for one in (0..100).map(one).collect::<Vec<_>>() {
        // The result is a value that cannot be decoded.
        assert!(matches!(one.await.unwrap(), Ok(Record::Value(stored)) if stored.bytes.is_empty()));
    }
    assert!(read() < 101 * 2 * LARGE_VALUE, "{} bytes were read", read());
    assert_eq!((tier.health().reconnects, tier.health().breaker_opened), (0, 0));
}

/// The string is one that this cache could have stored, except for its size.
#[tokio::test]
async fn oversized_string_in_own_layout_is_a_miss() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (name, mine) = (key("value"), token());
    let tier = attached_tier(&proxy.url()).await.0;
    let other = self::tier(&server.url());
    lease(&other, lease_request(&name, mine, LeaseMode::IfAbsent)).await.unwrap();
    assert!(fill(&other, tier_fill(&name, mine, vec![7; MAX_BYTES + 1], MINUTE)).await.unwrap());
    let before = proxy.bytes_answered();
    let Ok(Some(stored)) = get(&tier, &name).await else { panic!("there is something") };
    assert_eq!((stored.bytes.len(), stored.revision), (0, mine.revision()));
    assert!(proxy.bytes_answered() - before < 2 * LARGE_VALUE as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_concurrent_large_values_are_all_stored_and_read() {
    let server = RedisServer::start();
    let tier = Arc::new(tier(&server.url()));
    let name = |number: usize| key(&format!("many:{number}"));
    let store = |number| {
        let tier = tier.clone();
        tokio::spawn(async move { put(&tier, &name(number), vec![7; LARGE_VALUE + number], MINUTE).await })
    };
    for stored in (1..=100).map(store).collect::<Vec<_>>() {
        stored.await.unwrap().unwrap();
    }
    let read = |number| {
        let tier = tier.clone();
        tokio::spawn(async move { (large_bytes(&tier, &name(number)).await, number) })
    };
    for read in (1..=100).map(read).collect::<Vec<_>>() {
        let (bytes, number) = read.await.unwrap();
        assert_eq!(bytes.len(), LARGE_VALUE + number);
    }
}

/// Together, the values take longer than one of them may.
#[tokio::test(flavor = "multi_thread")]
async fn budget_of_a_large_value_includes_those_before_it() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let writer = tier(&server.url());
    let reader = RedisTier::builder(proxy.url()).operation_timeout(Duration::from_secs(1));
    let reader = Arc::new(reader.build().unwrap());
    attach(&reader, Arc::new(Recorder::default()));
    let name = |number: usize| key(&format!("value:{number}"));
    for number in 0..20 {
        put(&writer, &name(number), vec![7; MIB], MINUTE).await.unwrap();
    }
    eventually_async("both connections are there", async || get_large(&reader, &name(0)).await.is_some())
        .await;
    // At this rate, all values take two and a half seconds.
    proxy.set_mode(Mode::Rate(RATE / 2));
    let read = |number| {
        let (reader, name) = (reader.clone(), name(number));
        tokio::spawn(async move {
            let lookups = [Lookup { size: MIB, ..Lookup::new(&name) }];
            reader.lookup(&lookups, &[]).await
        })
    };
    for read in (0..20).map(read).collect::<Vec<_>>() {
        let seen = read.await.unwrap().unwrap();
        assert!(matches!(&seen.records[0], Record::Value(stored) if stored.bytes.len() == MIB));
    }
    let large = reader.health().large.expect("there is a connection for them");
    assert_eq!((large.state, large.breaker_opened, large.reconnects), (RedisState::Up, 0, 0));
}

/// One function may have values of all sizes.
#[tokio::test(flavor = "multi_thread")]
async fn small_value_does_not_wait_behind_a_large_one() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let writer = tier(&server.url());
    // With this timeout, no heartbeat is late.
    let reader = Arc::new(RedisTier::builder(proxy.url()).connect_timeout(AMPLE).build().unwrap());
    attach(&reader, Arc::new(Recorder::default()));
    put(&writer, &key("large"), vec![7; 12 * MIB], MINUTE).await.unwrap();
    put(&writer, &key("small"), b"small".to_vec(), MINUTE).await.unwrap();
    let failing = token();
    lease(&writer, lease_request(&key("failed"), failing, LeaseMode::IfAbsent)).await.unwrap();
    assert!(writer.fail(&key("failed"), failing, &Note(b"why".to_vec())).await.unwrap());
    eventually_async("both connections are there", async || {
        get_large(&reader, &key("large")).await.is_some()
    })
    .await;
    // At this rate, the large value takes six seconds.
    proxy.set_mode(Mode::Rate(RATE / 8));
    let before = proxy.bytes_answered();
    let large = {
        let (reader, name) = (reader.clone(), key("large"));
        tokio::spawn(async move {
            let lookups = [Lookup { size: 12 * MIB, ..Lookup::new(&name) }];
            reader.lookup_within(&lookups, &[], Budget::AtLeast(MINUTE)).await
        })
    };
    eventually_async("a large value is on its way", async || proxy.bytes_answered() > before + MIB as u64)
        .await;
    let within = Budget::AtLeast(AMPLE);
    for (name, expected) in [("small", Some("small")), ("failed", None)] {
        let name = key(name);
        let lookups = [Lookup { size: 4 * MIB, ..Lookup::new(&name) }];
        let record = reader.lookup_within(&lookups, &[], within).await.unwrap().records.remove(0);
        match (record, expected) {
            (Record::Value(stored), Some(text)) => assert_eq!(stored.bytes, text.as_bytes()),
            (Record::Error(note), None) => assert_eq!(note.0, b"why"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
    assert!(!large.is_finished(), "they were behind it");
    let seen = large.await.unwrap().unwrap();
    assert!(matches!(&seen.records[0], Record::Value(stored) if stored.bytes.len() == 12 * MIB));
}

/// Large values on the first connection delay its heartbeat for longer than a heartbeat may take.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_do_not_break_the_main_connection_when_it_is_the_only_one() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let writer = tier(&server.url());
    for name in ["a", "b", "c", "d"] {
        put(&writer, &key(name), vec![7; 12 * MIB], MINUTE).await.unwrap();
    }
    drop(writer);
    // A heartbeat may take this long, and a late one must not be taken for a stalled supervisor.
    let reader = RedisTier::builder(proxy.url()).connect_timeout(Duration::from_secs(2));
    let reader = reader.retry(Duration::from_millis(50), Duration::from_secs(10));
    let reader = Arc::new(reader.build().unwrap());
    attach(&reader, Arc::new(Recorder::default()));
    wait_until_up(&reader).await;
    server.cli(&["CONFIG", "SET", "maxclients", "1"]);
    eventually_async("it is known that there can be no second one", async || {
        let _ = lookup_large(&reader, &key("none")).await;
        reader.health().large.is_some_and(|large| large.state == RedisState::Down)
    })
    .await;
    assert_eq!(reader.health().large.unwrap().cause, Some(TierCause::TooManyClients));
    // At this rate, all values take four seconds.
    proxy.set_mode(Mode::Rate(RATE / 4 * 3));
    let read = |name| {
        let (reader, name) = (reader.clone(), key(name));
        tokio::spawn(async move {
            let lookups = [Lookup { size: 12 * MIB, ..Lookup::new(&name) }];
            reader.lookup_within(&lookups, &[], Budget::AtLeast(AMPLE)).await
        })
    };
    for read in ["a", "b", "c", "d"].map(read) {
        let seen = read.await.unwrap().unwrap();
        assert!(matches!(&seen.records[0], Record::Value(stored) if stored.bytes.len() == 12 * MIB));
    }
    assert_eq!((reader.state(), reader.health().reconnects), (RedisState::Up, 0));
}

/// The value could come over the first connection meanwhile, but all small values would wait then.
#[tokio::test]
async fn lookup_waits_for_a_lost_large_connection() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let reader = builder(&proxy.url()).retry(Duration::from_millis(10), Duration::from_millis(100));
    let reader = reader.build().unwrap();
    attach(&reader, Arc::new(Recorder::default()));
    put(&reader, &key("value"), vec![7; 2 * MIB], MINUTE).await.unwrap();
    // A loss of a young connection counts as a failed attempt.
    tokio::time::sleep(Duration::from_millis(150)).await;
    // A new connection takes several round trips, and a reply takes one.
    proxy.set_mode(Mode::Delay(Duration::from_millis(100)));
    // The last command of the connection may be a heartbeat instead of the read.
    eventually_async("it is cut", async || {
        assert_eq!(large_bytes(&reader, &key("value")).await.len(), 2 * MIB);
        close_large_connections(&server) == 1
    })
    .await;
    eventually_async("it is known", async || {
        let large = reader.health().large.unwrap();
        large.state != RedisState::Up || large.reconnects > 0
    })
    .await;
    assert_eq!(large_bytes(&reader, &key("value")).await.len(), 2 * MIB);
    assert_eq!(reader.health().large.unwrap().reconnects, 1, "it came over the first one");
}

#[tokio::test]
async fn main_connection_carries_large_values_when_there_can_be_no_other() {
    let server = RedisServer::start();
    let tier = attached_tier(&server.url()).await.0;
    let name = key("value");
    // The server accepts no connection beside the existing one.
    server.cli(&["CONFIG", "SET", "maxclients", "1"]);
    eventually_async("it is stored", async || {
        put(&tier, &name, vec![7; 2 * LARGE_VALUE], MINUTE).await.is_ok()
    })
    .await;
    assert_eq!(large_bytes(&tier, &name).await.len(), 2 * LARGE_VALUE);
    assert_eq!(tier.health().reconnects, 0);
}

/// The first connection has answered, so an older entry is not served as if the tier were away.
#[tokio::test]
async fn late_large_value_counts_as_unreadable() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = builder(&proxy.url()).operation_timeout(Duration::from_millis(500));
    let tier = tier.connect_timeout(Duration::from_secs(1)).build().unwrap();
    attach(&tier, Arc::new(Recorder::default()));
    let name = key("value");
    eventually_async("it is stored", async || {
        put(&tier, &name, vec![7; 2 * LARGE_VALUE], MINUTE).await.is_ok()
    })
    .await;
    let mut revision = 0;
    eventually_async("the other connection is asked before it is replaced", async || {
        // Both connections are mute from then on. The first one is replaced when its next heartbeat gets no
        // reply, the other one later.
        proxy.set_mode(Mode::Swallow);
        proxy.set_mode(Mode::Pass);
        eventually_async("there is another first connection", async || lookup(&tier, "small").await.is_ok())
            .await;
        let Record::Value(stored) = lookup_large(&tier, &name).await else { panic!("there is a value") };
        revision = stored.revision;
        stored.bytes.is_empty() && stored.remaining.is_some()
    })
    .await;
    let known = [Lookup::if_none_match(&name, revision)];
    assert_eq!(tier.lookup(&known, &[]).await.unwrap().records, [Record::Unchanged]);
}

/// Closing a cache takes at most a second.
#[tokio::test]
async fn closed_tier_leaves_no_connection_to_a_hung_server() {
    let server = RedisServer::start();
    let tier = attached_tier(&server.url()).await.0;
    put(&tier, &key("value"), vec![7; 2 * LARGE_VALUE], MINUTE).await.unwrap();
    assert_eq!(server.cli(&["CLIENT", "LIST"]).lines().count(), 3, "one more asks");
    server.freeze();
    let _ = timeout(Duration::from_millis(100), tier.close()).await;
    server.thaw();
    eventually_async("only the one that asks is there", async || {
        server.cli(&["CLIENT", "LIST"]).lines().count() == 1
    })
    .await;
    assert!(put(&tier, &key("value"), vec![7; 2 * LARGE_VALUE], MINUTE).await.is_err());
}

/// Nothing drives the runtime of the tier's tasks.
#[test]
fn interrupted_close_ends_both_connections() {
    let server = RedisServer::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let tier = first.block_on(async {
        let tier = attached_tier(&server.url()).await.0;
        put(&tier, &key("value"), vec![7; 2 * LARGE_VALUE], MINUTE).await.unwrap();
        tier
    });
    assert_eq!(server.cli(&["CLIENT", "LIST"]).lines().count(), 3, "one more asks");
    second.block_on(async {
        let _ = timeout(Duration::from_millis(100), tier.close()).await;
    });
    first.block_on(eventually_async("only the one that asks is there", async || {
        server.cli(&["CLIENT", "LIST"]).lines().count() == 1
    }));
}

/// The server sends a reply without a request.
#[tokio::test]
async fn large_connection_is_replaced_when_replies_do_not_match() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = attached_tier(&proxy.url()).await.0;
    put(&tier, &key("value"), vec![7; 2 * LARGE_VALUE], MINUTE).await.unwrap();
    assert_eq!(tier.health().large.unwrap().reconnects, 0);
    eventually_async("it is replaced", async || {
        let before = tier.health().reconnects;
        proxy.inject(b":7\r\n");
        eventually_async("the first one is replaced", async || {
            lookup(&tier, &key("small")).await.is_ok() && tier.health().reconnects > before
        })
        .await;
        // Unless a heartbeat has met the stray reply, this read does.
        let _ = get_large(&tier, &key("value")).await;
        tier.health().large.unwrap().reconnects >= 1
    })
    .await;
    eventually_async("large values are read", async || get_large(&tier, &key("value")).await.is_some()).await;
}

/// The user has no right to rename keys.
#[tokio::test]
async fn value_redis_cannot_hold_is_loaded_once_per_process() {
    let server = RedisServer::start();
    server.cli(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "+@all", "-rename"]);
    let url = server.url().replace("redis://", "redis://app:secret@");
    let processes = [process(tier(&url)), process(tier(&url))];
    let loads = AtomicUsize::new(0);
    let load = async || {
        loads.fetch_add(1, Ordering::SeqCst);
        Ok::<_, std::convert::Infallible>("x".repeat(2 * LARGE_VALUE))
    };
    for process in &processes {
        assert_eq!(process.values.get_or_load(&0, load).await.unwrap().len(), 2 * LARGE_VALUE);
        process.cache.flush().await;
    }
    // Three times as long as an entry without a record in Redis is kept.
    for _ in 0..30 {
        for process in &processes {
            process.values.get_or_load(&0, load).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(loads.load(Ordering::SeqCst), 2);
    processes[1].values.delete(&0).confirmed().await.unwrap();
    for process in &processes {
        process.values.get_or_load(&0, load).await.unwrap();
    }
    assert_eq!(loads.load(Ordering::SeqCst), 4, "it is invalidated in all of them");
}

/// An idle connection for large values has no cost that matters.
#[tokio::test]
async fn idle_large_connection_sends_almost_nothing() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).build().unwrap();
    put(&tier, "key", vec![7; 2 * LARGE_VALUE], MINUTE).await.unwrap();
    assert_eq!(large_bytes(&tier, "key").await.len(), 2 * LARGE_VALUE);
    wait_until_quiet(&server).await;
    let time = Duration::from_secs(22);
    let count = commands_in(&server, time).await;
    assert!(count <= 4, "{count} commands in {time:?}");
}
