//! The Redis servers of a run: one server or a cluster.

use redis_harness::{Proxy, RedisCluster, RedisServer};

/// Shared tier of the caches of a run.
#[derive(Debug)]
pub(crate) enum Servers {
    /// One server, behind a proxy for each worker.
    One(Box<RedisServer>, Vec<Proxy>),
    /// Three primaries. There are no proxies, because a server redirects clients to the addresses of the
    /// others.
    Cluster(Box<RedisCluster>),
}

impl Servers {
    pub(super) fn start(is_cluster: bool, workers: usize) -> Self {
        if is_cluster {
            // While one server is down, the others serve their slots.
            let options = ["--cluster-require-full-coverage", "no"];
            return Self::Cluster(Box::new(RedisCluster::start_with(&options)));
        }
        let server = RedisServer::start();
        let proxies = (0..workers).map(|_| Proxy::start(server.port())).collect();
        Self::One(Box::new(server), proxies)
    }

    /// Returns the address for the cache of a worker.
    pub(super) fn url(&self, slot: usize) -> String {
        match self {
            Self::One(_, proxies) => proxies[slot].url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// Returns the addresses of all servers, for the witness of a worker.
    pub(super) fn each_url(&self, slot: usize) -> Vec<String> {
        match self {
            Self::One(..) => vec![self.url(slot)],
            Self::Cluster(cluster) => cluster.servers.iter().map(RedisServer::url).collect(),
        }
    }

    /// Returns the proxy between a worker and its server, if there is one.
    pub(crate) fn proxy(&self, slot: usize) -> Option<&Proxy> {
        match self {
            Self::One(_, proxies) => proxies.get(slot),
            Self::Cluster(_) => None,
        }
    }

    pub(crate) fn proxies(&self) -> &[Proxy] {
        match self {
            Self::One(_, proxies) => proxies,
            Self::Cluster(_) => &[],
        }
    }

    /// Returns the server; in a cluster, the one that `number` selects.
    pub(crate) fn pick(&self, number: u32) -> &RedisServer {
        match self {
            Self::One(server, _) => server,
            Self::Cluster(cluster) => &cluster.servers[number as usize % cluster.servers.len()],
        }
    }

    pub(crate) fn kill(&mut self, number: u32) {
        match self {
            Self::One(server, _) => server.kill(),
            Self::Cluster(cluster) => {
                let count = cluster.servers.len();
                cluster.servers[number as usize % count].kill();
            }
        }
    }

    /// Starts all servers that do not run, and returns when they work.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::One(server, _) => server.restart(),
            Self::Cluster(cluster) => {
                cluster
                    .servers
                    .iter_mut()
                    .filter(|server| !server.is_running())
                    .for_each(RedisServer::restart);
                cluster.settle(cluster.servers.len());
            }
        }
    }

    /// Sends a command to every server.
    pub(crate) fn run_on_each(&self, command: &[&str]) {
        match self {
            Self::One(server, _) => drop(server.cli(command)),
            Self::Cluster(cluster) => cluster.servers.iter().for_each(|server| drop(server.cli(command))),
        }
    }

    /// Deletes a key, as another program.
    pub(crate) fn delete(&self, key: &str) {
        match self {
            Self::One(server, _) => drop(server.cli(&["DEL", key])),
            Self::Cluster(cluster) => drop(cluster.owner(key).cli(&["DEL", key])),
        }
    }

    /// Moves the slot of a key to another server, with all keys in it.
    pub(crate) fn move_slot_of(&self, key: &str) {
        if let Self::Cluster(cluster) = self {
            let slot = cluster.slot(key);
            cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % cluster.servers.len());
        }
    }
}
