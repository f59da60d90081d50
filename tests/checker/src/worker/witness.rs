//! The witness: an observer of whether Redis is reachable from this worker, independent of the cache.

use std::{sync::Arc, time::Duration};

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};
use tokio::time::{sleep, timeout};

use super::{log_milestone, state::State};
use crate::{
    clock::now,
    history::{Event, EventKind, Milestone},
    settings::SLOW,
};

const PAUSE: u64 = 10;
const PATIENCE: Duration = Duration::from_millis(200);

/// Pings Redis periodically, over connections of its own through the worker's proxy, and logs stalls.
///
/// A stall is a time longer than [`SLOW`] without an answer. While it lasts, it is logged after each ping,
/// because the worker may be killed during it.
pub(super) async fn watch(state: Arc<State>) {
    let open = |url: &String| Client::open(url.as_str()).ok().map(|client| (client, None));
    let Some(mut servers) = state.job.servers.iter().map(open).collect::<Option<Vec<_>>>() else { return };
    let mut last = None;
    loop {
        let sent = now();
        let is_answered = timeout(PATIENCE, ping_all(&mut servers)).await == Ok(true);
        let answered = now();
        match last {
            None if is_answered => log_milestone(&state, Milestone::Ready),
            Some(last) if answered - last > SLOW => stall(&state, last, answered),
            _ => {}
        }
        if is_answered {
            last = Some(sent);
        } else {
            for (_, connection) in &mut servers {
                *connection = None;
            }
        }
        sleep(Duration::from_millis(PAUSE)).await;
    }
}

type Server = (Client, Option<MultiplexedConnection>);

async fn ping_all(servers: &mut [Server]) -> bool {
    for (client, connection) in servers {
        if !ping(client, connection).await {
            return false;
        }
    }
    true
}

async fn ping(client: &Client, connection: &mut Option<MultiplexedConnection>) -> bool {
    if connection.is_none() {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        *connection = client.get_multiplexed_async_connection_with_config(&config).await.ok();
    }
    let Some(connection) = connection else { return false };
    redis::cmd("PING").query_async::<()>(connection).await.is_ok()
}

fn stall(state: &State, start: u64, end: u64) {
    state.log.write(&Event {
        process: 0,
        kind: EventKind::Stall,
        key: 0,
        start,
        end,
        version: 0,
        began: 0,
        load: 0,
    });
}
