//! Free ports.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

const LOWEST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port of the loopback interface that nobody listens on at this moment.
///
/// It lies below the range from which the system picks the local ends of outgoing connections. A port inside
/// that range can be taken while its server is down, even by the very client that tries to reach the server.
pub(crate) fn free() -> u16 {
    for attempt in 0..1_000_u32 {
        let random = RandomState::new().hash_one(attempt) % u64::from(COUNT);
        let port = LOWEST + u16::try_from(random).expect("less than COUNT");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("found no free port on 127.0.0.1 between {LOWEST} and {}", LOWEST + COUNT);
}
