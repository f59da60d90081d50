//! Real `redis-server` processes, sentinels and clusters among them, a TCP proxy that misbehaves on request, waiting for a
//! condition, and how late the machine is.
//!
//! Everything here panics when it cannot do its work: it is for tests only.
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
