//! A Redis Cluster of real `redis-server` processes.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    server::{BUS_PORT, RedisServer},
    wait::eventually,
};

/// Number of slots of a cluster.
const SLOTS: u16 = 16_384;

/// Time in milliseconds without a reply after which the other servers consider a server lost.
const NODE_TIMEOUT: &str = "2000";

/// Primaries that share the slots, three by default, with or without replicas.
///
/// Dropping it ends all servers.
#[derive(Debug)]
pub struct RedisCluster {
    /// The primaries in the order of their shares (a third of the slots each by default), then the replicas
    /// in the same order.
    pub servers: Vec<RedisServer>,
    moves: AtomicU64,
}

impl RedisCluster {
    /// Starts three primaries, and returns when each knows the others and the cluster works.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts three primaries with more command line options for each.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_sharing(options, &thirds().map(Some).collect::<Vec<_>>())
    }

    /// Starts a server for each of these ranges of slots, or without slots for `None`.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start_sharing(options: &[&str], shares: &[Option<RangeInclusive<u16>>]) -> Self {
        Self::from_servers(shares.iter().map(|_| server(options)).collect(), shares)
    }

    /// Starts three primaries that announce these ports instead of their own, as behind NAT.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start_announcing(ports: [&str; 3]) -> Self {
        // Before Redis 7, announced ports can be set only at the start, and the announced bus port would
        // follow the announced port.
        let bus = ["--cluster-announce-bus-port", BUS_PORT];
        let bus = if RedisServer::major_version() < 7 { &bus[..] } else { &bus[..0] };
        let options = ports.map(|port| [&["--cluster-announce-port", port], bus].concat());
        let servers = options.iter().map(|options| server(options)).collect();
        Self::from_servers(servers, &thirds().map(Some).collect::<Vec<_>>())
    }

    fn from_servers(servers: Vec<RedisServer>, shares: &[Option<RangeInclusive<u16>>]) -> Self {
        let cluster = Self { servers, moves: AtomicU64::new(0) };
        cluster.distribute_slots(shares);
        cluster
    }

    /// Resets all servers, and distributes the slots anew.
    ///
    /// The servers lose their data and their knowledge of each other. The processes and their connections
    /// stay.
    ///
    /// # Panics
    /// Panics if a server refuses a command.
    pub fn redistribute_slots(&self, shares: &[Option<RangeInclusive<u16>>]) {
        for server in &self.servers {
            server.cli(&["FLUSHALL"]);
            server.cli(&["CLUSTER", "RESET", "HARD"]);
        }
        self.distribute_slots(shares);
    }

    fn distribute_slots(&self, shares: &[Option<RangeInclusive<u16>>]) {
        for ((number, server), slots) in (1..).zip(&self.servers).zip(shares) {
            if let Some(slots) = slots {
                // Redis 6 does not support ranges.
                let slots: Vec<_> = slots.clone().map(|slot| slot.to_string()).collect();
                let command = ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str));
                server.cli(&command.collect::<Vec<_>>());
            }
            server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &format!("{number}")]);
        }
        for server in &self.servers[1..] {
            self.meet(server);
        }
        self.settle(self.servers.len());
    }

    /// Starts three primaries with a replica each, which takes over when its primary is lost.
    ///
    /// # Panics
    /// See [`RedisServer::start`].
    #[must_use]
    pub fn start_with_replicas() -> Self {
        // By default, a primary waits five seconds for more replicas before it sends its data.
        let options = ["--repl-diskless-sync-delay", "0"];
        let mut cluster = Self::start_with(&options);
        for number in 0..3 {
            let replica = server(&options);
            cluster.meet(&replica);
            let primary = &cluster.servers[number];
            let id = primary.cli(&["CLUSTER", "MYID"]);
            eventually("a replica knows its primary", || replica.cli(&["CLUSTER", "NODES"]).contains(&id));
            replica.cli(&["CLUSTER", "REPLICATE", &id]);
            eventually("a replica follows", || {
                primary.cli(&["INFO", "replication"]).contains("state=online")
            });
            cluster.servers.push(replica);
        }
        cluster.settle(6);
        cluster
    }

    /// Returns the URL with the addresses of all servers: `redis-cluster://127.0.0.1:port,…`.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// Returns the slot of a key.
    ///
    /// # Panics
    /// Panics if the first server does not answer.
    pub fn slot(&self, key: &str) -> u16 {
        self.servers[0].cli(&["CLUSTER", "KEYSLOT", key]).parse().expect("a slot is a number")
    }

    /// Returns the index of the server that holds a slot, according to that server itself.
    ///
    /// # Panics
    /// Panics if no server holds the slot.
    pub fn owner_of(&self, slot: u16) -> usize {
        let holds = |server: &RedisServer| server.is_running() && owns(server, slot);
        let mut owner = None;
        // After a move, the servers may not agree on the holder yet.
        eventually("a server holds the slot", || {
            owner = self.servers.iter().position(holds);
            owner.is_some()
        });
        owner.expect("waited for above")
    }

    /// Returns the server that holds a key.
    ///
    /// # Panics
    /// Panics if no server holds the key.
    pub fn owner(&self, key: &str) -> &RedisServer {
        &self.servers[self.owner_of(self.slot(key))]
    }

    /// Returns a key that begins with `begin` and is held by `primary`.
    ///
    /// This applies as long as no slot has moved.
    ///
    /// # Panics
    /// Panics if there is no such primary.
    pub fn key_on(&self, primary: usize, begin: &str) -> String {
        let slots = thirds().nth(primary).expect("there are three primaries");
        let keys = (0..).map(|number| format!("{begin}{number}"));
        keys.into_iter().find(|key| slots.contains(&self.slot(key))).expect("there are many keys")
    }

    /// Begins to move a slot.
    ///
    /// From then on, its new holder accepts keys that are absent on the old one.
    ///
    /// # Panics
    /// Panics if a server refuses a command.
    pub fn begin_move(&self, slot: u16, to: usize) {
        // A server takes a slot with a higher configuration epoch than the others, so it must know their
        // epochs. Otherwise no server holds the slot in the end.
        eventually("the servers agree on the epoch", || self.servers_agree_on_epoch());
        let from = self.owner_of(slot);
        let [source, target] = [from, to].map(|server| self.servers[server].cli(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        self.servers[to].cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.servers[from].cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    /// Moves up to `most` keys of a migrating slot. Returns whether there were as many.
    ///
    /// # Panics
    /// Panics if a server refuses a command.
    pub fn move_keys(&self, slot: u16, to: usize, most: usize) -> bool {
        let source = &self.servers[self.owner_of(slot)];
        let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &most.to_string()]);
        let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
        if keys.is_empty() {
            return false;
        }
        let port = self.servers[to].port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
        migrate.extend(&keys);
        source.cli(&migrate);
        keys.len() == most
    }

    /// Ends the move of a slot.
    ///
    /// # Panics
    /// Panics if a server refuses a command.
    pub fn end_move(&self, slot: u16, to: usize) {
        let target = self.servers[to].cli(&["CLUSTER", "MYID"]);
        let from = self.owner_of(slot);
        let slot = slot.to_string();
        // First the new holder, then the old one, so that the slot has a holder at every moment.
        let others = (0..self.servers.len()).filter(|other| *other != to && *other != from);
        for server in [to, from].into_iter().chain(others) {
            if self.servers[server].is_running() && is_primary(&self.servers[server]) {
                self.servers[server].cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
            }
        }
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves a slot with all its keys, as `redis-cli --cluster reshard` does.
    ///
    /// # Panics
    /// Panics if a server refuses a command.
    pub fn move_slot(&self, slot: u16, to: usize) {
        self.begin_move(slot, to);
        // A concurrent client may have written to the old holder just before its last key was moved.
        while self.move_keys(slot, to, 10) || self.keys_in_slot(slot) > 0 {}
        self.end_move(slot, to);
    }

    /// Returns the number of slots moved so far.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    fn servers_agree_on_epoch(&self) -> bool {
        let running = self.servers.iter().filter(|server| server.is_running());
        let mut views = running.map(|server| {
            let info = server.cli(&["CLUSTER", "INFO"]);
            info.lines().find(|line| line.starts_with("cluster_current_epoch:")).map(str::to_owned)
        });
        let first = views.next();
        views.all(|view| Some(view) == first)
    }

    fn keys_in_slot(&self, slot: u16) -> usize {
        let source = &self.servers[self.owner_of(slot)];
        source.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).parse().expect("a count is a number")
    }

    fn meet(&self, server: &RedisServer) {
        let bus = server.bus_port().to_string();
        self.servers[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string(), &bus]);
    }

    /// Waits until each running server works and knows `count` servers.
    ///
    /// All servers must agree on the slots as well.
    ///
    /// # Panics
    /// Panics if that takes too long.
    pub fn settle(&self, count: usize) {
        let known = format!("cluster_known_nodes:{count}");
        for server in self.servers.iter().filter(|server| server.is_running()) {
            eventually("a server of the cluster is ready", || {
                let info = server.cli(&["CLUSTER", "INFO"]);
                let has = |wanted: &str| info.lines().any(|line| line == wanted);
                let slots = server.cli(&["CLUSTER", "SLOTS"]);
                has("cluster_state:ok") && has(&known) && has("cluster_slots_ok:16384") && !slots.is_empty()
            });
        }
        eventually("the servers agree on the slots", || {
            let mut shares = self.servers.iter().filter(|server| server.is_running()).map(shares);
            let first = shares.next();
            shares.all(|other| Some(other) == first)
        });
    }
}

fn server(options: &[&str]) -> RedisServer {
    RedisServer::start_in_cluster(&[&["--cluster-node-timeout", NODE_TIMEOUT], options].concat())
}

fn thirds() -> impl Iterator<Item = RangeInclusive<u16>> {
    let bound = |third: u16| u16::try_from(u32::from(SLOTS) * u32::from(third) / 3).expect("below the count");
    (0..3).map(move |third| bound(third)..=bound(third + 1) - 1)
}

fn is_primary(server: &RedisServer) -> bool {
    server.cli(&["CLUSTER", "NODES"]).lines().any(|line| line.contains("myself,master"))
}

/// Returns the slots of each server, according to this one.
fn shares(server: &RedisServer) -> Vec<String> {
    let nodes = server.cli(&["CLUSTER", "NODES"]);
    let share = |line: &str| {
        let mut words = line.split_whitespace();
        let id = words.next()?;
        // On the server's own line, migrating slots follow.
        let slots: Vec<_> = words.skip(7).filter(|word| !word.starts_with('[')).collect();
        (!slots.is_empty()).then(|| format!("{id} {}", slots.join(" ")))
    };
    let mut shares: Vec<_> = nodes.lines().filter_map(share).collect();
    shares.sort_unstable();
    shares
}

/// Returns whether a server holds a slot according to itself.
fn owns(server: &RedisServer, slot: u16) -> bool {
    let nodes = server.cli(&["CLUSTER", "NODES"]);
    let Some(own) = nodes.lines().find(|line| line.contains("myself,master")) else { return false };
    own.split(' ').skip(8).filter(|range| !range.starts_with('[')).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    })
}
