//! Number of round trips of each operation, counted by a proxy that sees all bytes.

use cached_core::tier::{LeaseMode, LeaseRequest, Lookup, Note, Tier};
use redis_harness::{Proxy, RedisServer};

use crate::support::{
    MINUTE, delete, fill, get, lease, lease_request, put, tag_request, tier, tier_fill, token, wait_until_up,
};

const CONNECTION_CHECK: &[u8] = b"*1\r\n$4\r\nTIME\r\n*1\r\n$4\r\nPING\r\n";

/// Returns the round trips since the last call, without those that only check the connection.
fn round_trips(proxy: &Proxy) -> Vec<Vec<u8>> {
    proxy.take_round_trips().into_iter().filter(|sent| sent != CONNECTION_CHECK).collect()
}

#[tokio::test]
async fn each_operation_is_one_round_trip() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    let keys: Vec<_> = (0..100).map(|index| format!("key {index}")).collect();
    let tags: Vec<_> = (0..10).map(|index| format!("ns:%tag:{index}")).collect();
    let tokens: Vec<_> = keys.iter().map(|_| token()).collect();
    let lookups: Vec<_> = keys.iter().map(|key| Lookup::new(key)).collect();
    let known_lookups: Vec<_> = keys.iter().map(|key| Lookup::if_none_match(key, 1)).collect();
    let requests: Vec<LeaseRequest<'_>> = keys
        .iter()
        .zip(&tokens)
        .map(|(key, &token)| lease_request(key, token, LeaseMode::IfAbsent))
        .collect();
    let fills =
        keys.iter().zip(&tokens).map(|(key, &token)| tier_fill(key, token, vec![7; 10], MINUTE)).collect();

    // The first use of a script on a server uploads it.
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    tier.lease(&[], tag_request(&tags, MINUTE)).await.unwrap();
    tier.renew("key", token(), MINUTE).await.unwrap();
    tier.release("key", token(), true).await.unwrap();
    tier.fail("key", token(), &Note::default()).await.unwrap();
    tier.incr("counter", 1, None).await.unwrap();
    round_trips(&proxy);

    get(&tier, "key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "look");
    get(&tier, "absent").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "look for nothing");
    tier.lookup(&lookups, &tags).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "look for many");
    tier.lookup(&known_lookups, &tags).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "look whether many are unchanged");
    tier.exists("key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "exists");
    let mine = token();
    lease(&tier, lease_request("another", mine, LeaseMode::IfAbsent)).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "lease");
    tier.renew("another", mine, MINUTE).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "renew");
    fill(&tier, tier_fill("another", mine, vec![1], MINUTE)).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "fill");
    tier.release("another", mine, true).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "release");
    tier.fail("another", mine, &Note(vec![7; 100])).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "fail");
    delete(&tier, "key").await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "delete");
    tier.lease(&requests, tag_request(&tags, MINUTE)).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "leases with tags");
    let filled = tier.fill(fills).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "many fills");
    assert_eq!(filled.stored, [true; 100]);
    tier.delete(&keys, &tags).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "delete many, and tags");
    tier.incr("counter", 1, None).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "incr");
    tier.incr("second", 1, Some(MINUTE)).await.unwrap();
    assert_eq!(round_trips(&proxy).len(), 1, "incr with a life");
}

#[tokio::test]
async fn own_value_is_read_without_asking_for_its_ttl() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    round_trips(&proxy);

    let stored = get(&tier, "key").await.unwrap().unwrap();
    assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE), "{stored:?}");
    let expected = b"*4\r\n$8\r\nGETRANGE\r\n$3\r\nkey\r\n$1\r\n0\r\n$6\r\n262192\r\n";
    assert_eq!(round_trips(&proxy), [expected]);
}

#[tokio::test]
async fn ttl_of_a_foreign_value_is_read_before_the_value() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    wait_until_up(&tier).await;
    server.cli(&["SET", "key", "value", "PX", "60000"]);
    round_trips(&proxy);

    let stored = get(&tier, "key").await.unwrap().unwrap();
    assert!(stored.remaining.is_some_and(|left| left > MINUTE / 2 && left <= MINUTE), "{stored:?}");
    let sent = round_trips(&proxy);
    assert_eq!(sent.len(), 2, "{sent:?}");
    let sent = String::from_utf8(sent.concat()).unwrap();
    let position = |command| sent.rfind(command).unwrap_or_else(|| panic!("no {command} in {sent:?}"));
    assert!(position("PTTL") < position("GETRANGE"), "{sent:?}");
}

#[tokio::test]
async fn known_value_is_not_sent_again() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port());
    let tier = tier(&proxy.url());
    put(&tier, "key", vec![b'x'; 100_000], MINUTE).await.unwrap();
    let revision = get(&tier, "key").await.unwrap().unwrap().revision;

    let before = proxy.bytes_answered();
    tier.lookup(&[Lookup::if_none_match("key", revision)], &[]).await.unwrap();
    assert!(proxy.bytes_answered() - before < 1000);
}
