//! Faults: the network breaks connections, or the data on them.

use std::time::Duration;

use redis_harness::{Mode, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    table::TableRow,
    world::World,
};

/// Leaves open connections mute.
///
/// The network works again at once, but the mute connections have to be replaced.
pub(crate) async fn half_open() -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let before = proxies.each_ref().map(redis_harness::Proxy::connections);
    let episode = Episode::outage(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Swallow);
        proxy.set_mode(Mode::Pass);
    }
    let row = episode.end(Limits { recovery: Duration::from_millis(3500), ..Limits::default() }).await;
    let after = proxies.each_ref().map(redis_harness::Proxy::connections);
    assert_eq!(after, before.map(|connections| connections + 1), "each was replaced once");
    row
}

/// Cuts the next answer of each connection in these modes, one mode after the other.
///
/// Each mode lasts until a connection was replaced, and for 200 further calls.
async fn cut(modes: impl IntoIterator<Item = Mode>) -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let episode = Episode::outage(&world).await;
    for mode in modes {
        let before = proxies[0].connections();
        for proxy in &proxies {
            proxy.set_mode(mode);
        }
        eventually_async("it was connected again", async || proxies[0].connections() > before).await;
        episode.calls(200).await;
    }
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    episode.end(Limits::default()).await
}

pub(crate) async fn torn() -> TableRow {
    cut([0, 1, 9, 30].map(Mode::Tear)).await
}

pub(crate) async fn truncated() -> TableRow {
    cut([0, 1, 9, 30].map(Mode::Truncate)).await
}

/// Delivers replies in small pieces. That is no fault at all, so everything must hold.
pub(crate) async fn pieces() -> TableRow {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let before = proxies[0].connections();
    let episode = Episode::disturbance(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pieces(16));
    }
    episode.calls(1000).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Pass);
    }
    let row = episode.end(Limits { all_delivered: true, ..Limits::default() }).await;
    assert_eq!(proxies[0].connections(), before);
    row
}
