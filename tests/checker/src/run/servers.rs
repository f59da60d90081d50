//! Redis, or a cluster of it.

use redis_harness::{Proxy, RedisCluster, RedisServer};

/// Where the caches of a run keep what they share.
#[derive(Debug)]
pub(crate) enum Servers {
    /// A server, behind a proxy for each worker.
    One(Box<RedisServer>, Vec<Proxy>),
    /// Three primaries. A server tells the address of another, so there is no proxy before them.
    Cluster(Box<RedisCluster>),
}

impl Servers {
    pub(super) fn start(is_cluster: bool, workers: usize) -> Self {
        if is_cluster {
            // A server that is lost for a moment is nobody else's trouble.
            let options = ["--cluster-require-full-coverage", "no"];
            return Self::Cluster(Box::new(RedisCluster::start_with(&options)));
        }
        let server = RedisServer::start();
        let proxies = (0..workers).map(|_| Proxy::start(server.port())).collect();
        Self::One(Box::new(server), proxies)
    }

    /// The address for the cache of a worker.
    pub(super) fn url(&self, slot: usize) -> String {
        match self {
            Self::One(_, proxies) => proxies[slot].url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The addresses of all servers, for a worker to see whether they answer.
    pub(super) fn each_url(&self, slot: usize) -> Vec<String> {
        match self {
            Self::One(..) => vec![self.url(slot)],
            Self::Cluster(cluster) => cluster.servers.iter().map(RedisServer::url).collect(),
        }
    }

    /// What stands between a worker and its server, if something does.
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

    /// The server, or one of several.
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

    /// Starts all that do not run, and returns when they work.
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
    pub(crate) fn tell_each(&self, command: &[&str]) {
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

    /// Moves a key's slot to another server, with all that is in it.
    pub(crate) fn move_slot_of(&self, key: &str) {
        if let Self::Cluster(cluster) = self {
            let slot = cluster.slot(key);
            cluster.move_slot(slot, (cluster.owner_of(slot) + 1) % cluster.servers.len());
        }
    }
}
