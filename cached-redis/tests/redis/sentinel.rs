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

use cached_core::{Tier, TierError};
use cached_redis::{RedisTier, RedisTierBuilder};
use redis_harness::{Proxy, RedisServer, eventually, eventually_async};

use crate::{
    settings::{assert_error_is_silent, assert_silent, refused},
    support::{AT_ONCE, MINUTE, Recorder, attach, builder, bytes, delete, down, get, line, put, shown, up},
};

const NAME: &str = "mymaster";

/// Time in milliseconds without a reply after which a primary counts as down.
///
/// On a busy machine, a short time may pass without a failure, so it is short only during a failover.
const CALM: &str = "10000";
const ALERT: &str = "500";

/// Returns the builder of a tier that asks sentinels at these ports of this machine.
fn asking(ports: &[u16]) -> RedisTierBuilder {
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

    fn set_patience(&self, millis: &str) {
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
    server.cli_unless_cut_off(&["ROLE"]).and_then(|role| role.lines().next().map(str::to_owned))
}

/// Fake sentinel that sends a configured reply to every client, or no reply.
struct FakeSentinel {
    port: u16,
    orders: Sender<Option<String>>,
    asked: Arc<AtomicUsize>,
}

impl FakeSentinel {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (orders, received) = channel::<Option<String>>();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            let (mut answer, mut open) = (None, Vec::new());
            for mut stream in listener.incoming().flatten() {
                while let Ok(order) = received.try_recv() {
                    answer = order;
                }
                if answer_one(&mut stream, answer.as_deref()) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                open.push(stream);
            }
        });
        Self { port, orders, asked }
    }

    fn silent() -> Self {
        Self::start()
    }

    fn naming(server: &RedisServer) -> Self {
        let sentinel = Self::start();
        sentinel.says(server);
        sentinel
    }

    /// Makes the sentinel name this server from now on.
    fn says(&self, server: &RedisServer) {
        let port = server.port().to_string();
        let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
        self.orders.send(Some(answer)).unwrap();
    }

    fn says_that_it_does_not_know(&self) {
        self.orders.send(Some("*-1\r\n".to_owned())).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Reads a query and replies to it. Returns whether it asked for the primary.
///
/// Without a configured reply, every connection counts as such a query.
fn answer_one(stream: &mut TcpStream, answer: Option<&str>) -> bool {
    let Some(answer) = answer else { return true };
    let mut question = [0; 1024];
    let Ok(length @ 1..) = stream.read(&mut question) else { return false };
    let question = String::from_utf8_lossy(&question[..length]).to_uppercase();
    let is_one = question.contains("GET-MASTER-ADDR-BY-NAME") && question.contains(&NAME.to_uppercase());
    is_one && stream.write_all(answer.as_bytes()).is_ok()
}

#[tokio::test]
async fn a_failover_is_followed_and_the_old_primary_is_not_used_again() {
    let mut watched = Watched::start(3);
    let (tier, recorder) = (asking(&watched.ports()).build().unwrap(), Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    up(&tier).await;
    put(&tier, "ns:old", vec![1], MINUTE).await.unwrap();
    assert_eq!(watched.primary.cli(&["EXISTS", "ns:old"]), "1");
    eventually_async("the value is replicated", async || watched.replica.cli(&["EXISTS", "ns:old"]) == "1")
        .await;
    let before = line(&tier).await;

    watched.set_patience(ALERT);
    watched.primary.kill();
    let killed = Instant::now();
    // In the meantime, every operation ends, with an error of the tier at worst.
    eventually_async("a write reaches the new primary", async || {
        put(&tier, "ns:new", vec![2], MINUTE).await.is_ok()
    })
    .await;
    watched.set_patience(CALM);
    println!("followed to the new primary after {:?}", killed.elapsed());
    assert_eq!(watched.replica.cli(&["EXISTS", "ns:new"]), "1");
    assert_eq!(role(&watched.replica).as_deref(), Some("master"));
    assert_eq!(bytes(&tier, "ns:old").await, Some(vec![1]));
    // Entries from the old primary are not proven current any more, and the new primary pushes changes.
    assert_eq!(shown(&before, "is_over"), "true");
    assert_eq!(shown(&*line(&tier).await, "watches"), "true");
    assert!(recorder.restored.load(Ordering::SeqCst) > 0);
    recorder.take();
    watched.replica.cli(&["DEL", "ns:old"]);
    recorder.hears("ns:old").await;

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
async fn sentinels_that_are_away_do_not_matter_until_all_are() {
    let mut watched = Watched::start(3);
    watched.sentinels[0].kill();
    watched.sentinels[1].freeze();
    let tier = asking(&watched.ports()).build().unwrap();
    up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();

    // A connection lasts without the sentinels.
    watched.sentinels[2].kill();
    put(&tier, "key", vec![2], MINUTE).await.unwrap();
    watched.primary.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    down(&tier).await;
    let begin = Instant::now();
    assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());

    watched.sentinels[2].restart();
    up(&tier).await;
    assert_eq!(bytes(&tier, "key").await, Some(vec![2]));
}

#[tokio::test]
async fn named_primary_must_report_the_master_role() {
    let (primary, replica) = (RedisServer::start(), RedisServer::start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let behind = FakeSentinel::naming(&replica);
    let alone = asking(&[behind.port]).build().unwrap();
    assert_eq!(get(&alone, "key").await, Err(TierError::Unavailable));
    assert!(!alone.ready());
    eventually_async("it is asked again and again", async || behind.asked() > 2).await;
    assert!(!alone.ready());

    // A sentinel with the right primary is asked the next time, although the first sentinel answers.
    let aware = FakeSentinel::naming(&primary);
    let tier = asking(&[behind.port, aware.port]).build().unwrap();
    up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(primary.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn one_that_names_a_server_that_hangs_does_not_hold_up_the_others() {
    let (hanging, primary) = (RedisServer::start(), RedisServer::start());
    hanging.freeze();
    let (behind, aware) = (FakeSentinel::naming(&hanging), FakeSentinel::naming(&primary));
    let tier = asking(&[behind.port, aware.port]).build().unwrap();
    up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(behind.asked(), 1);
}

#[tokio::test]
async fn a_primary_that_was_demoted_is_left() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let sentinel = FakeSentinel::naming(&old);
    let tier = asking(&[sentinel.port]).build().unwrap();
    up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();

    // The old primary keeps its connections, unlike one that a sentinel demotes.
    old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    sentinel.says(&new);
    eventually_async("a write reaches the new primary", async || {
        put(&tier, "key", vec![2], MINUTE).await.is_ok()
    })
    .await;
    assert_eq!(new.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn each_sentinel_has_a_share_of_the_time() {
    let primary = RedisServer::start();
    let (silent, ignorant) = (FakeSentinel::silent(), FakeSentinel::start());
    ignorant.says_that_it_does_not_know();
    let knowing = FakeSentinel::naming(&primary);
    let closed = Proxy::start(1);
    let ports = [silent.port, closed.port(), ignorant.port, knowing.port];
    let tier = asking(&ports).build().unwrap();
    // The first attempt succeeds already.
    assert_eq!(get(&tier, "key").await, Ok(None));

    // The sentinel that knew the primary is asked first the next time.
    let asked = silent.asked();
    primary.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually_async("it is asked again", async || knowing.asked() > 1).await;
    up(&tier).await;
    assert_eq!(silent.asked(), asked);
}

#[tokio::test]
async fn sentinels_that_hang_or_do_not_know_leave_the_tier_down() {
    let (silent, ignorant) = (FakeSentinel::silent(), FakeSentinel::start());
    ignorant.says_that_it_does_not_know();
    for ports in [&[silent.port][..], &[ignorant.port], &[silent.port, ignorant.port]] {
        let tier = asking(ports).connect_timeout(Duration::from_millis(200)).build().unwrap();
        let begin = Instant::now();
        assert_eq!(get(&tier, "key").await, Err(TierError::Unavailable));
        assert!(!tier.ready());
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn the_primary_and_the_sentinels_may_have_passwords() {
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
    assert_silent(&shown);
    assert!(!shown.contains("another"), "{shown}");
    assert!(shown.contains(NAME), "{shown}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_primary_and_the_sentinels_may_speak_tls() {
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
fn an_unusable_url_of_sentinels_is_refused_without_being_quoted() {
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
        assert_error_is_silent(&refused(RedisTier::builder(url)));
    }
    let plain = RedisTier::builder("redis://canaryuser:canarypass@one/").sentinel_password("canarypass");
    let error = refused(plain);
    assert_error_is_silent(&error);
    assert!(error.to_string().contains("sentinel_password"), "{error}");
}
