//! Test harness for Redis.
//!
//! * [`RedisServer`] is a real `redis-server` process or a sentinel, and [`RedisCluster`] a cluster of
//!   servers.
//! * [`Proxy`] is a TCP proxy with faults that a test switches on and off.
//! * [`eventually`] waits for a condition.
//! * [`Pulse`] measures delays of the machine.
//!
//! Everything here panics when it cannot do its work: the crate is for tests only.
//!
//! ```
//! use redis_harness::RedisServer;
//!
//! let mut server = RedisServer::start();
//! assert_eq!(server.cli(&["SET", "greeting", "hello"]), "OK");
//! server.kill();
//! server.restart();
//! assert_eq!(server.cli(&["GET", "greeting"]), "(nil)");
//! ```

mod cli;
mod cluster;
mod frames;
mod port;
mod proxy;
mod pulse;
mod requests;
mod server;
mod wait;

pub use cluster::RedisCluster;
pub use proxy::{Mode, Proxy};
pub use pulse::Pulse;
pub use server::RedisServer;
pub use wait::{PATIENCE, eventually, eventually_async};
