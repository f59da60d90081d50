//! Primaries that are found through Redis Sentinel.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use cached_core::{TierError, tier::Tier};
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::{Proxy, RedisServer, eventually, eventually_async};

use crate::{
    settings::{assert_error_hides_credentials, assert_no_credentials, config_error},
    support::{
        AT_ONCE, MINUTE, Recorder, attach, builder, bytes, debug_field, delete, feed, get, put,
        wait_until_down, wait_until_up,
    },
};

const NAME: &str = "mymaster";

/// Time in milliseconds without a reply after which a primary counts as down.
///
/// On a busy machine, a short time may pass without a failure, so it is short only during a failover.
const CALM: &str = "10000";
const ALERT: &str = "500";

/// Returns the builder of a tier that asks sentinels at these ports of this machine.
fn sentinel_builder(ports: &[u16]) -> RedisTierBuilder {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    builder(&format!("redis-sentinel://{}/{NAME}", hosts.join(","))).connect_timeout(Duration::from_secs(1))
}

/// A primary, a replica, and the sentinels that monitor them.
struct Watched {
    primary: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    fn start(sentinels: usize) -> Self {
        let primary = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
        let port = primary.port();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port.to_string()]);
        // A sentinel looks for replicas when it starts, and then not for ten seconds.
        eventually("the replica follows", || primary.cli(&["INFO", "replication"]).contains("state=online"));
        let configuration = format!(
            "sentinel monitor {NAME} 127.0.0.1 {port} {}\n\
             sentinel down-after-milliseconds {NAME} {CALM}\n\
             sentinel failover-timeout {NAME} 3000\n",
            sentinels / 2 + 1
        );
        let sentinels: Vec<_> =
            (0..sentinels).map(|_| RedisServer::start_sentinel(&configuration, &[])).collect();
        let others = format!("num-other-sentinels\n{}\n", sentinels.len() - 1);
        for sentinel in &sentinels {
            eventually("a sentinel knows the others and the replica", || {
                let known = sentinel.cli(&["SENTINEL", "MASTER", NAME]);
                known.contains(&others) && known.contains("num-slaves\n1\n")
            });
        }
        Self { primary, replica, sentinels }
    }

    fn set_down_after(&self, millis: &str) {
        for sentinel in &self.sentinels {
            sentinel.cli(&["SENTINEL", "SET", NAME, "down-after-milliseconds", millis]);
        }
    }

    fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(RedisServer::port).collect()
    }
}

/// Returns the role of a server, or `None` while the role changes.
fn role(server: &RedisServer) -> Option<String> {
    server.cli_unless_disconnected(&["ROLE"]).and_then(|role| role.lines().next().map(str::to_owned))
}

/// Fake sentinel that sends a configured reply to every client, or no reply.
struct FakeSentinel {
    port: u16,
    replies: Sender<Option<String>>,
    queries: Arc<AtomicUsize>,
}

impl FakeSentinel {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (replies, received) = channel::<Option<String>>();
        let queries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&queries);
        thread::spawn(move || {
            let (mut answer, mut open) = (None, Vec::new());
            for mut stream in listener.incoming().flatten() {
                while let Ok(reply) = received.try_recv() {
                    answer = reply;
                }
                if answer_query(&mut stream, answer.as_deref()) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                open.push(stream);
            }
        });
        Self { port, replies, queries }
    }

    fn silent() -> Self {
        Self::start()
    }

    fn naming(server: &RedisServer) -> Self {
        let sentinel = Self::start();
        sentinel.set_primary(server);
        sentinel
    }

    /// Makes the sentinel name this server from now on.
    fn set_primary(&self, server: &RedisServer) {
        let port = server.port().to_string();
        let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
        self.replies.send(Some(answer)).unwrap();
    }

    fn set_unknown(&self) {
        self.replies.send(Some("*-1\r\n".to_owned())).unwrap();
    }

    fn query_count(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }
}

/// Reads a query and replies to it. Returns whether it asked for the primary.
///
/// Without a configured reply, every connection counts as such a query.
fn answer_query(stream: &mut TcpStream, answer: Option<&str>) -> bool {
    let Some(answer) = answer else { return true };
    let mut question = [0; 1024];
    let Ok(length @ 1..) = stream.read(&mut question) else { return false };
    let question = String::from_utf8_lossy(&question[..length]).to_uppercase();
    let is_one = question.contains("GET-MASTER-ADDR-BY-NAME") && question.contains(&NAME.to_uppercase());
    is_one && stream.write_all(answer.as_bytes()).is_ok()
}

#[tokio::test]
async fn tier_follows_a_failover_and_avoids_the_old_primary() {
    let mut watched = Watched::start(3);
    let (tier, recorder) =
        (sentinel_builder(&watched.ports()).build().unwrap(), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    put(&tier, "ns:old", vec![1], MINUTE).await.unwrap();
    assert_eq!(watched.primary.cli(&["EXISTS", "ns:old"]), "1");
    eventually_async("the value is replicated", async || watched.replica.cli(&["EXISTS", "ns:old"]) == "1")
        .await;
    let before = feed(&tier).await;

    watched.set_down_after(ALERT);
    watched.primary.kill();
    let killed = Instant::now();
    // In the meantime, every operation ends, with an error of the tier at worst.
    eventually_async("a write reaches the new primary", async || {
        put(&tier, "ns:new", vec![2], MINUTE).await.is_ok()
    })
    .await;
    watched.set_down_after(CALM);
    println!("followed to the new primary after {:?}", killed.elapsed());
    assert_eq!(watched.replica.cli(&["EXISTS", "ns:new"]), "1");
    assert_eq!(role(&watched.replica).as_deref(), Some("master"));
    assert_eq!(bytes(&tier, "ns:old").await, Some(vec![1]));
    // Entries from the old primary are not proven current any more, and the new primary pushes changes.
    assert_eq!(debug_field(&before, "is_ended"), "true");
    assert_eq!(debug_field(&*feed(&tier).await, "is_tracked"), "true");
    assert!(recorder.restored.load(Ordering::SeqCst) > 0);
    recorder.take();
    watched.replica.cli(&["DEL", "ns:old"]);
    recorder.wait_for_change("ns:old").await;

    // The old primary restarts empty, and acts as a primary until a sentinel demotes it.
    watched.primary.restart();
    let mut writes = 0;
    eventually_async("the old primary becomes a replica", async || {
        let key = format!("ns:later:{writes}");
        put(&tier, &key, vec![3], MINUTE).await.unwrap();
        assert_eq!(watched.replica.cli(&["EXISTS", &key]), "1");
        writes += 1;
        role(&watched.primary).as_deref() == Some("slave")
    })
    .await;
    put(&tier, "ns:last", vec![4], MINUTE).await.unwrap();
    assert_eq!(role(&watched.replica).as_deref(), Some("master"));
}

#[tokio::test]
async fn tier_works_until_all_sentinels_are_down() {
    let mut watched = Watched::start(3);
    watched.sentinels[0].kill();
    watched.sentinels[1].freeze();
    let tier = sentinel_builder(&watched.ports()).build().unwrap();
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();

    // A connection lasts without the sentinels.
    watched.sentinels[2].kill();
    put(&tier, "key", vec![2], MINUTE).await.unwrap();
    watched.primary.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait_until_down(&tier).await;
    let begin = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());

    watched.sentinels[2].restart();
    wait_until_up(&tier).await;
    assert_eq!(bytes(&tier, "key").await, Some(vec![2]));
}

#[tokio::test]
async fn named_primary_must_report_the_master_role() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let behind = FakeSentinel::naming(&replica);
    let alone = sentinel_builder(&[behind.port]).build().unwrap();
    assert_eq!(get(&alone, "key").await, Err(TierError::Unavailable));
    assert!(!alone.ready());
    eventually_async("it is asked again and again", async || behind.query_count() > 2).await;
    assert!(!alone.ready());

    // A sentinel with the right primary is asked the next time, although the first sentinel answers.
    let aware = FakeSentinel::naming(&primary);
    let tier = sentinel_builder(&[behind.port, aware.port]).build().unwrap();
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(primary.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn sentinel_that_names_a_hung_server_does_not_delay_the_others() {
    let (hanging, primary) = (RedisServer::start(), RedisServer::start());
    hanging.freeze();
    let (behind, aware) = (FakeSentinel::naming(&hanging), FakeSentinel::naming(&primary));
    let tier = sentinel_builder(&[behind.port, aware.port]).build().unwrap();
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(behind.query_count(), 1);
}

#[tokio::test]
async fn demoted_primary_is_abandoned() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let sentinel = FakeSentinel::naming(&old);
    let tier = sentinel_builder(&[sentinel.port]).build().unwrap();
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();

    // The old primary keeps its connections, unlike one that a sentinel demotes.
    old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    sentinel.set_primary(&new);
    eventually_async("a write reaches the new primary", async || {
        put(&tier, "key", vec![2], MINUTE).await.is_ok()
    })
    .await;
    assert_eq!(new.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn each_sentinel_gets_a_share_of_the_time() {
    let primary = RedisServer::start();
    let (silent, ignorant) = (FakeSentinel::silent(), FakeSentinel::start());
    ignorant.set_unknown();
    let knowing = FakeSentinel::naming(&primary);
    let closed = Proxy::start(1);
    let ports = [silent.port, closed.port(), ignorant.port, knowing.port];
    let tier = sentinel_builder(&ports).build().unwrap();
    // The first attempt succeeds already.
    assert_eq!(get(&tier, "key").await, Ok(None));

    // The sentinel that knew the primary is asked first the next time.
    let asked = silent.query_count();
    primary.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually_async("it is asked again", async || knowing.query_count() > 1).await;
    wait_until_up(&tier).await;
    assert_eq!(silent.query_count(), asked);
}

#[tokio::test]
async fn tier_stays_down_when_sentinels_hang_or_know_no_primary() {
    let (silent, ignorant) = (FakeSentinel::silent(), FakeSentinel::start());
    ignorant.set_unknown();
    for ports in [&[silent.port][..], &[ignorant.port], &[silent.port, ignorant.port]] {
        let tier = sentinel_builder(ports).connect_timeout(Duration::from_millis(200)).build().unwrap();
        let begin = Instant::now();
        assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
        assert!(!tier.ready());
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn primary_and_sentinels_may_have_passwords() {
    let primary = RedisServer::start_with(&["--requirepass", "canarypass"]);
    let configuration = format!(
        "requirepass another\nsentinel monitor {NAME} 127.0.0.1 {} 1\nsentinel auth-pass {NAME} canarypass\n",
        primary.port()
    );
    let sentinel = RedisServer::start_sentinel(&configuration, &[]);
    let url = format!("redis-sentinel://:canarypass@127.0.0.1:{}/{NAME}/1", sentinel.port());
    let without = builder(&url).build().unwrap();
    assert_eq!(get(&without, "key").await, Err(TierError::Unavailable));

    let builder = builder(&url).sentinel_password("another");
    let shown = format!("{builder:?} {builder:#?}");
    let tier = builder.build().unwrap();
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    delete(&tier, "key").await.unwrap();
    let shown = format!("{shown} {tier:?} {tier:#?}");
    assert_no_credentials(&shown);
    assert!(!shown.contains("another"), "{shown}");
    assert!(shown.contains(NAME), "{shown}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn primary_and_sentinels_may_use_tls() {
    use crate::tls::Secured;

    let secured = Secured::start("127.0.0.1", false);
    let primary = secured.server.tls_port();
    let configuration = format!("sentinel monitor {NAME} 127.0.0.1 {primary} 1\n");
    let options =
        [secured.options("127.0.0.1", false), vec!["--tls-replication".into(), "yes".into()]].concat();
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let sentinel = RedisServer::start_sentinel(&configuration, &options);
    let url = |port: u16| format!("rediss-sentinel://127.0.0.1:{port}/{NAME}");

    let tier = builder(&url(sentinel.tls_port()));
    let tier = tier.root_certificate(secured.authority.pem.clone()).build().unwrap();
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(secured.server.cli(&["EXISTS", "key"]), "1");

    // No sentinel is asked without TLS.
    let clear = builder(&url(sentinel.port())).connect_timeout(Duration::from_millis(500));
    let clear = clear.root_certificate(secured.authority.pem.clone()).build().unwrap();
    assert_eq!(get(&clear, "key").await, Err(TierError::Unavailable));
}

#[test]
fn invalid_sentinel_url_is_refused_without_being_quoted() {
    for url in [
        "redis-sentinel://",
        "redis-sentinel://canarypass",
        "redis-sentinel://canaryuser:canarypass@one",
        "redis-sentinel://canaryuser:canarypass@one/",
        "redis-sentinel://canaryuser:canarypass@/name",
        "redis-sentinel://canaryuser:canarypass@one,/name",
        "redis-sentinel://canaryuser:canarypass@one,,two/name",
        "redis-sentinel://canaryuser:canarypass@one:canarypass/name",
        "redis-sentinel://canaryuser:canarypass@one two/name",
        "redis-sentinel://canaryuser:canarypass@one/canary pass",
        "redis-sentinel://canaryuser:canarypass@one/name/canarypass",
        "redis-sentinel://canaryuser:canarypass@one/name/0/1",
        "redis-sentinel://canaryuser:canarypass@one/name?db=1",
        "redis-sentinel://canaryuser:canarypass@one/name#insecure",
        "redis-sentinel://canaryuser:canarypass%ff@one/name",
        "redis-sentinel://canaryuser:1234/canarypass@one/name",
    ] {
        assert_error_hides_credentials(&config_error(RedisTier::builder(url)));
    }
    let plain = RedisTier::builder("redis://canaryuser:canarypass@one/").sentinel_password("canarypass");
    let error = config_error(plain);
    assert_error_hides_credentials(&error);
    assert!(error.to_string().contains("sentinel_password"), "{error}");
}
