//! The network breaks connections, or what goes over them.

use std::time::Duration;

use redis_harness::{Mode, RedisServer, eventually_async};

use crate::{
    episode::{Episode, Limits},
    table::Row,
    world::World,
};

/// The network works again at once, but the connections that were open stay mute: they have to be replaced.
pub(crate) async fn half_open() -> Row {
    let redis = RedisServer::start();
    let (world, proxies) = World::proxied(&redis).await;
    let before = proxies.each_ref().map(redis_harness::Proxy::connections);
    let episode = Episode::outage(&world).await;
    for proxy in &proxies {
        proxy.set_mode(Mode::Swallow);
        proxy.set_mode(Mode::Pass);
    }
    let row = episode.end(Limits { normal: Duration::from_millis(3500), ..Limits::default() }).await;
    let after = proxies.each_ref().map(redis_harness::Proxy::connections);
    assert_eq!(after, before.map(|connections| connections + 1), "each was replaced once");
    row
}

/// Each further answer ends like this, for a second.
async fn cut(modes: impl IntoIterator<Item = Mode>) -> Row {
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

pub(crate) async fn torn() -> Row {
    cut([0, 1, 9, 30].map(Mode::Tear)).await
}

pub(crate) async fn truncated() -> Row {
    cut([0, 1, 9, 30].map(Mode::Truncate)).await
}

/// That is no fault at all, so everything must hold.
pub(crate) async fn pieces() -> Row {
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
    let row = episode.end(Limits { all_told: true, ..Limits::default() }).await;
    assert_eq!(proxies[0].connections(), before);
    row
}
