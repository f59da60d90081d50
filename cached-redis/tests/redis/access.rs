//! Access rights: the documented ones are sufficient, and each of them is needed.

use std::sync::Arc;

use cached_core::tier::{JournalPosition, LARGE_VALUE, LeaseMode, LeaseReply, TagRequest, Tier};
use cached_redis::{RedisState, RedisTier};
use redis_harness::{RedisServer, eventually_async};

use crate::support::{
    AMPLE, MINUTE, NAMESPACE, Recorder, attach, builder, fill, get, lease, lease_request, tier_fill, token,
};

const PAGE: &str = include_str!("../../../docs/redis.md");

/// Returns the documented commands for a user, with the namespace of these tests.
fn commands(user: &str) -> Vec<Vec<String>> {
    let begin = format!("ACL SETUSER {user} ");
    let lines = PAGE.lines().filter(|line| line.starts_with(&begin));
    let namespace = format!("~{NAMESPACE}:*");
    let word = |word: &str| if word == "~shop:*" { namespace.clone() } else { word.to_owned() };
    lines.map(|line| line.split(' ').map(word).collect()).collect()
}

fn run(server: &RedisServer, command: &[String]) {
    let words: Vec<_> = command.iter().map(String::as_str).collect();
    server.cli(&words);
}

fn key(name: &str) -> String {
    format!("{NAMESPACE}:{name}")
}

/// Runs all operations of a cache on its tier, twice, since some use other commands the second time.
async fn run_all_operations(tier: &RedisTier) {
    for round in 0..2 {
        let tags = [key(&format!("%tag:{round}"))];
        let tag_request = TagRequest { keys: &tags, keep: MINUTE, needs_position: true };
        let (name, mine) = (key("entry"), token());
        let leased = tier.lease(&[lease_request(&name, mine, LeaseMode::Always)], tag_request).await.unwrap();
        assert_eq!(leased.replies, [LeaseReply::Granted]);
        let since: JournalPosition = leased.position.expect("there is a journal");
        assert!(tier.renew(&name, mine, MINUTE).await.unwrap());
        assert!(tier.claim_tags(&tags, MINUTE * 10, since).await.unwrap().generations.is_some());
        assert!(fill(tier, tier_fill(&name, mine, vec![1; 100], MINUTE)).await.unwrap());
        assert!(get(tier, &name).await.unwrap().is_some());
        assert!(tier.exists(&name).await.unwrap());
        let (large, mine) = (key("large"), token());
        lease(tier, lease_request(&large, mine, LeaseMode::Always)).await.unwrap();
        assert!(fill(tier, tier_fill(&large, mine, vec![1; LARGE_VALUE + 1], MINUTE)).await.unwrap());
        assert!(get(tier, &large).await.unwrap().is_some());
        // Once over a value, so that its trailer is rewritten, and once over nothing.
        for name in [&name, &key("another")] {
            let mine = token();
            assert_eq!(
                lease(tier, lease_request(name, mine, LeaseMode::Always)).await.unwrap(),
                LeaseReply::Granted
            );
            assert!(tier.release(name, mine, false).await.unwrap());
        }
        let failed = token();
        lease(tier, lease_request(&key("failed"), failed, LeaseMode::Always)).await.unwrap();
        assert!(tier.release(&key("failed"), failed, true).await.unwrap());
        tier.incr(&key("counter"), 1, Some(MINUTE)).await.unwrap();
        tier.delete(std::slice::from_ref(&name), &tags).await.unwrap();
        tier.confirm().await.unwrap();
        tier.lease(&[lease_request(&name, token(), LeaseMode::Always)], tag_request).await.unwrap();
        tier.delete_matching(&key("e*")).await.unwrap();
    }
}

/// Command of another program that stores a value, over which a lease is taken.
const FOREIGN: [&str; 5] = ["SET", "ns:foreign", "value", "PX", "600000"];

/// Command that creates a journal with a tag invalidated long ago, which has to be removed.
const JOURNAL: [&str; 6] = ["ZADD", "ns:%tags", "0", "0000000000000001", "1", "ns:%tag:old"];

async fn lease_foreign_value(tier: &RedisTier) {
    get(tier, "ns:foreign").await.unwrap();
    let mine = token();
    assert_eq!(
        lease(tier, lease_request("ns:foreign", mine, LeaseMode::Always)).await.unwrap(),
        LeaseReply::Granted
    );
    assert!(tier.release("ns:foreign", mine, false).await.unwrap());
}

async fn read_concurrently(tier: &Arc<RedisTier>) {
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let tier = Arc::clone(tier);
            tokio::spawn(async move { get(&tier, &key(&format!("of many {number}"))).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

fn attached_tier(url: &str) -> Arc<RedisTier> {
    let tier = Arc::new(builder(url).build().unwrap());
    attach(&tier, Arc::new(Recorder::default()));
    tier
}

async fn wait_until_up(tier: &RedisTier) {
    tier.connected().await.unwrap();
    eventually_async("all works", async || tier.state() == RedisState::Up).await;
}

#[tokio::test]
async fn documented_rights_suffice_on_one_server() {
    let server = RedisServer::start();
    let [command, ..] = &commands("app")[..] else { panic!("the page has a line for it") };
    run(&server, command);
    let tier = attached_tier(&format!("redis://app:password@127.0.0.1:{}/1", server.port()));
    wait_until_up(&tier).await;
    run_all_operations(&tier).await;
    read_concurrently(&tier).await;
    assert_eq!(server.cli(&["ACL", "LOG"]), "", "it asked for nothing that it may not");
    let tier = attached_tier(&format!("redis://app:password@127.0.0.1:{}/", server.port()));
    server.cli(&FOREIGN);
    lease_foreign_value(&tier).await;
    assert_eq!(server.cli(&["ACL", "LOG"]), "");
}

/// The documented rights must be minimal.
///
/// Some rights are excepted: commands that every user may send, the command of a tier without a cache, and
/// the removal of members that have been gone for a minute.
#[tokio::test]
async fn each_documented_right_is_needed() {
    let server = RedisServer::start();
    let [command, ..] = &commands("app")[..] else { panic!("the page has a line for it") };
    let url = format!("redis://app:password@127.0.0.1:{}/", server.port());
    let exceptions = ["+auth", "+hello", "+select", "+ping", "+hdel"];
    let rights = command.iter().filter(|word| word.starts_with('+') && !exceptions.contains(&word.as_str()));
    for right in rights {
        let others = command.iter().filter(|word| *word != right).cloned();
        let mut others: Vec<_> = others.collect();
        others.insert(3, "reset".to_owned());
        run(&server, &others);
        server.cli(&["FLUSHALL"]);
        server.cli(&["SCRIPT", "FLUSH"]);
        server.cli(&FOREIGN);
        server.cli(&JOURNAL);
        server.cli(&["ACL", "LOG", "RESET"]);
        let tier = attached_tier(&url);
        // The task ends at the first refusal, which the test waits for.
        let all = tokio::spawn(async move {
            run_all_operations(&tier).await;
            read_concurrently(&tier).await;
            lease_foreign_value(&tier).await;
        });
        eventually_async(&format!("{right} is missed"), async || !server.cli(&["ACL", "LOG"]).is_empty())
            .await;
        all.abort();
    }
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn documented_rights_suffice_with_sentinel() {
    let primary = RedisServer::start();
    commands("app").iter().take(2).for_each(|command| run(&primary, command));
    let configuration = format!("sentinel monitor mymaster 127.0.0.1 {} 1\n", primary.port());
    let sentinel = RedisServer::start_sentinel(&configuration, &[]);
    for command in commands("sentinel-app") {
        run(&sentinel, &command);
    }
    let url = format!("redis-sentinel://app:password@127.0.0.1:{}/mymaster", sentinel.port());
    let tier = builder(&url).sentinel_username("sentinel-app").sentinel_password("password");
    let tier = Arc::new(tier.connect_timeout(AMPLE).build().unwrap());
    attach(&tier, Arc::new(Recorder::default()));
    wait_until_up(&tier).await;
    run_all_operations(&tier).await;
    for server in [&primary, &sentinel] {
        assert_eq!(server.cli(&["ACL", "LOG"]), "");
    }
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn documented_rights_suffice_in_a_cluster() {
    let cluster = redis_harness::RedisCluster::start();
    let [one, _, more] = &commands("app")[..] else { panic!("the page has three lines for it") };
    for server in &cluster.servers {
        run(server, one);
        run(server, more);
    }
    let tier = attached_tier(&cluster.url().replace("//", "//app:password@"));
    wait_until_up(&tier).await;
    run_all_operations(&tier).await;
    let slot = cluster.slot(&key("on its way"));
    cluster.begin_move(slot, (cluster.owner_of(slot) + 1) % 3);
    get(&tier, &key("on its way")).await.unwrap();
    read_concurrently(&tier).await;
    for server in &cluster.servers {
        assert_eq!(server.cli(&["ACL", "LOG"]), "");
    }
}
