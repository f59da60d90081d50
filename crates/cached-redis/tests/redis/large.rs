//! Large values, which have a connection of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cached_core::{Ask, Cache, Keyspace, LARGE_VALUE, Record, Take, Tier};
use cached_redis::{RedisState, RedisStateWatch, RedisTier};
use redis_harness::{Mode, Proxy, RedisServer, eventually_async};
use tokio::time::timeout;

use crate::{
    quiet::{commands_in, quiet},
    support::{
        MAX_BYTES, MINUTE, NAMESPACE, Recorder, attach, builder, claim, delete, fill, get, lease, line, look,
        put, tier, token, value, watched,
    },
};

const MIB: usize = 1 << 20;

/// A link that takes 12 MiB for three quarters of a second.
const RATE: u32 = 16 << 20;

/// Half of that.
const BUDGET: Duration = Duration::from_millis(400);

/// The words of a read that takes what a small value can have, and no more.
const SMALL: &str = "$6\r\n262192\r\n";

fn key(name: &str) -> String {
    format!("{NAMESPACE}:{name}")
}

/// What is under a key whose value is expected to be large.
async fn look_large(tier: &RedisTier, key: &str) -> Record {
    let asks = [Ask { size: 4 * MIB, ..Ask::new(key) }];
    tier.look(&asks, &[]).await.unwrap().records.remove(0)
}

async fn bytes_of(tier: &RedisTier, key: &str) -> Vec<u8> {
    match look_large(tier, key).await {
        Record::Value(stored) => stored.bytes,
        other => panic!("{other:?}"),
    }
}

/// Another process, and the values that both have.
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

/// The connections that only carry values are those that are not told of changes.
fn cut_those_that_carry(server: &RedisServer) -> usize {
    let clients = server.cli(&["CLIENT", "LIST"]);
    let is_other = |line: &&str| line.contains("cmd=getrange") && !line.contains(" flags=t");
    let ids = clients.lines().filter(is_other).filter_map(|line| line.split([' ', '=']).nth(1));
    ids.filter(|id| server.cli(&["CLIENT", "KILL", "ID", id]) == "1").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_values_are_read_beside_a_large_one() {
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
        // So that they take as long as several large ones.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    is_over.store(true, Ordering::SeqCst);
    again.await.unwrap();
    let (stats, health) = (reader.cache.stats(), reader.cache.health().tier.unwrap());
    // While the breaker is open, nothing is asked.
    assert_eq!((answered, stats.shared_skipped, stats.shared_read_errors), (400, 0, 0));
    assert_eq!((health.is_breaker_open, health.reconnects, reader.state.state()), (false, 0, RedisState::Up));
    assert!(was_read.load(Ordering::SeqCst) > 1, "and so is the large one");
}

#[tokio::test]
async fn a_function_with_large_values_asks_for_them_apart() {
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
    // What the process has stored itself it knows as well.
    let process = process(tier(&proxy.url()));
    process.values.set(&1, "x".repeat(2 * MIB)).await.unwrap();
    process.cache.clear_local();
    asked(&proxy);
    assert_eq!(process.values.get(&1).await.map(|value| value.len()), Some(2 * MIB));
    assert_eq!(asked(&proxy), 0);
}

#[tokio::test]
async fn what_is_read_apart_is_watched_also_over_the_next_connection() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    let other = self::tier(&server.url());
    let name = key("value");
    for round in 0..3 {
        let value = vec![round; 4 * MIB];
        put(&other, &name, value.clone(), MINUTE).await.unwrap();
        assert!(bytes_of(&tier, &name).await == value);
        recorder.take();
        delete(&other, &name).await.unwrap();
        recorder.hears(&name).await;
        assert_eq!(look_large(&tier, &name).await, Record::Absent);
        if round == 0 {
            put(&other, &name, value, MINUTE).await.unwrap();
            bytes_of(&tier, &name).await;
            assert!(cut_those_that_carry(&server) >= 1);
            eventually_async("there is another connection", async || {
                let asks = [Ask { size: 4 * MIB, ..Ask::new(&name) }];
                matches!(tier.look(&asks, &[]).await, Ok(seen) if matches!(seen.records[0], Record::Value(_)))
            })
            .await;
        }
    }
    assert_eq!((tier.health().reconnects, tier.state()), (0, RedisState::Up));
}

#[tokio::test]
async fn an_invalidation_ends_a_large_value_in_memory_at_once() {
    let server = RedisServer::start();
    let (writer, reader) = (process(tier(&server.url())), process(tier(&server.url())));
    for _ in 0..2 {
        writer.values.set(&0, "x".repeat(MIB)).await.unwrap();
        let read = async || reader.values.get_or_load(&0, || async { Err::<String, _>(()) }).await.ok();
        eventually_async("it is read", async || read().await.is_some()).await;
        let before = reader.cache.stats();
        assert_eq!(read().await.map(|value| value.len()), Some(MIB));
        let after = reader.cache.stats();
        assert_eq!((after.hits_l1, after.hits_l2), (before.hits_l1 + 1, before.hits_l2), "from memory");
        writer.values.delete(&0).confirmed().await.unwrap();
        assert_eq!(read().await, None);
        cut_those_that_carry(&server);
    }
}

#[tokio::test]
async fn a_large_fill_is_fenced_and_watched_as_a_small_one() {
    let server = RedisServer::start();
    let (tier, recorder) = watched(&server.url()).await;
    let other = self::tier(&server.url());
    let apart = || server.cli(&["KEYS", "*%large*"]);
    for name in [key("value"), key("{tag}:value"), key("{}value"), key("}value")] {
        let (mine, bytes) = (token(), vec![7; 2 * LARGE_VALUE]);
        lease(&tier, claim(&name, mine, Take::Free)).await.unwrap();
        let filled = tier.fill(vec![value(&name, mine, bytes.clone(), MINUTE)]).await.unwrap();
        assert_eq!(filled.stored, [true]);
        let main = line(&tier).await;
        assert!(filled.line.is_same(&main), "{name}");
        let Record::Value(stored) = look_large(&tier, &name).await else { panic!("{name}") };
        assert!(stored.bytes == bytes && stored.stamp == mine.stamp());
        assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE));
        assert!(bytes_of(&other, &name).await == bytes);
        assert_eq!(recorder.take(), [""; 0], "it is not told of its own fill");
        server.cli(&["DEL", &name]);
        recorder.hears(&name).await;

        let overtaken = token();
        lease(&tier, claim(&name, overtaken, Take::Free)).await.unwrap();
        delete(&other, &name).await.unwrap();
        recorder.hears(&name).await;
        assert!(!fill(&tier, value(&name, overtaken, bytes, MINUTE)).await.unwrap());
        assert_eq!((look_large(&tier, &name).await, apart()), (Record::Absent, String::new()));
    }
}

#[tokio::test]
async fn a_lease_over_a_large_value_leaves_it_there() {
    let server = RedisServer::start();
    let tier = watched(&server.url()).await.0;
    let (name, bytes) = (key("value"), vec![7; 2 * LARGE_VALUE]);
    put(&tier, &name, bytes.clone(), MINUTE).await.unwrap();
    lease(&tier, claim(&name, token(), Take::Force)).await.unwrap();
    assert!(bytes_of(&tier, &name).await == bytes);
    // One that says nothing of a value is told apart from one that does.
    lease(&tier, claim(&key("leased"), token(), Take::Force)).await.unwrap();
    assert!(matches!(look_large(&tier, &key("leased")).await, Record::Leased { .. }));
}

/// Who can write under our names must not fill the memory of each reader.
#[tokio::test]
async fn a_planted_string_is_a_miss_and_is_not_read() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let reader = process(tier(&proxy.url()));
    reader.cache.connected().await.unwrap();
    let plant = |name: &str| {
        // All zeros.
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
async fn a_crowd_reads_no_planted_string_either() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = Arc::new(watched(&proxy.url()).await.0);
    let (name, tag) = (key("value"), key("%tag:tag"));
    for name in [&name, &tag] {
        server.cli(&["SETRANGE", name, &(100 * MIB).to_string(), "x"]);
    }
    let before = proxy.bytes_answered();
    let read = || usize::try_from(proxy.bytes_answered() - before).unwrap();
    assert_eq!(tier.look(&[], &[tag]).await.unwrap().generations, [None]);
    assert!(read() < LARGE_VALUE, "{} bytes were read", read());
    let one = |_| {
        let (tier, name) = (tier.clone(), name.clone());
        tokio::spawn(async move { look(&tier, &name).await })
    };
    for one in (0..100).map(one).collect::<Vec<_>>() {
        // It is a value that nothing can read.
        assert!(matches!(one.await.unwrap(), Ok(Record::Value(stored)) if stored.bytes.is_empty()));
    }
    assert!(read() < 101 * 2 * LARGE_VALUE, "{} bytes were read", read());
    assert_eq!((tier.health().reconnects, tier.health().breaker_opened), (0, 0));
}

/// One that this cache could have stored, but for its size.
#[tokio::test]
async fn a_planted_string_in_our_layout_is_a_miss_as_well() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let (name, mine) = (key("value"), token());
    let tier = watched(&proxy.url()).await.0;
    let other = self::tier(&server.url());
    lease(&other, claim(&name, mine, Take::Free)).await.unwrap();
    assert!(fill(&other, value(&name, mine, vec![7; MAX_BYTES + 1], MINUTE)).await.unwrap());
    let before = proxy.bytes_answered();
    let Ok(Some(stored)) = get(&tier, &name).await else { panic!("there is something") };
    assert_eq!((stored.bytes.len(), stored.stamp), (0, mine.stamp()));
    assert!(proxy.bytes_answered() - before < 2 * LARGE_VALUE as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_values_at_once_are_all_read_and_stored() {
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
        tokio::spawn(async move { (bytes_of(&tier, &name(number)).await, number) })
    };
    for read in (1..=100).map(read).collect::<Vec<_>>() {
        let (bytes, number) = read.await.unwrap();
        assert_eq!(bytes.len(), LARGE_VALUE + number);
    }
}

#[tokio::test]
async fn where_there_can_be_no_second_connection_the_first_one_takes_large_values() {
    let server = RedisServer::start();
    let tier = watched(&server.url()).await.0;
    let name = key("value");
    // None but the one that there is.
    server.cli(&["CONFIG", "SET", "maxclients", "1"]);
    eventually_async("it is stored", async || {
        put(&tier, &name, vec![7; 2 * LARGE_VALUE], MINUTE).await.is_ok()
    })
    .await;
    assert_eq!(bytes_of(&tier, &name).await.len(), 2 * LARGE_VALUE);
    assert_eq!(tier.health().reconnects, 0);
}

/// The first connection has answered: an older value in memory is not served as if the tier were away.
#[tokio::test]
async fn a_large_value_that_does_not_come_in_time_is_one_that_cannot_be_read() {
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
    let mut stamp = 0;
    eventually_async("the other connection is asked before it is replaced", async || {
        // Both are mute from then on. The first one is replaced when its next heartbeat is not answered, the other one later.
        proxy.set_mode(Mode::Swallow);
        proxy.set_mode(Mode::Pass);
        eventually_async("there is another first connection", async || look(&tier, "small").await.is_ok())
            .await;
        let Record::Value(stored) = look_large(&tier, &name).await else { panic!("there is a value") };
        stamp = stored.stamp;
        stored.bytes.is_empty() && stored.remaining.is_some()
    })
    .await;
    let known = [Ask::known(&name, stamp)];
    assert_eq!(tier.look(&known, &[]).await.unwrap().records, [Record::Unchanged]);
}

/// What closes a cache waits no longer than a second.
#[tokio::test]
async fn a_server_that_hangs_keeps_no_connection_when_the_tier_is_closed() {
    let server = RedisServer::start();
    let tier = watched(&server.url()).await.0;
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

/// The connection for large values costs nothing that counts while nothing is asked over it.
#[tokio::test]
async fn an_idle_connection_for_large_values_is_quiet() {
    let server = RedisServer::start();
    let tier = builder(&server.url()).build().unwrap();
    put(&tier, "key", vec![7; 2 * LARGE_VALUE], MINUTE).await.unwrap();
    assert_eq!(bytes_of(&tier, "key").await.len(), 2 * LARGE_VALUE);
    quiet(&server).await;
    let time = Duration::from_secs(22);
    let count = commands_in(&server, time).await;
    assert!(count <= 4, "{count} commands in {time:?}");
}
