//! TCP ports that no other program takes.

use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

const LOWEST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// TCP port of the loopback interface, reserved for one server even while that server is down.
///
/// No other harness on this machine takes it, in any process. The reservation is the UDP port of the same
/// number: nothing else uses that port, and the system frees it when the process ends.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    /// Reserves a port on which no process listens at this moment.
    ///
    /// The port lies below the range from which the system picks the local ports of outgoing connections. A
    /// port in that range can be taken while its server is down, even by the very client that tries to reach
    /// the server.
    pub(crate) fn reserve() -> Self {
        for attempt in 0..1_000_u32 {
            let random = RandomState::new().hash_one(attempt) % u64::from(COUNT);
            let number = LOWEST + u16::try_from(random).expect("less than COUNT");
            if let Some(port) = Self::take(number) {
                return port;
            }
        }
        panic!("found no free port on 127.0.0.1 between {LOWEST} and {}", LOWEST + COUNT);
    }

    fn take(number: u16) -> Option<Self> {
        // The reservation comes first: the server of a port reserved before may be down for a moment.
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _reservation: reservation })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually;

    #[test]
    fn a_port_is_taken_once_until_it_is_given_back() {
        let port = Port::reserve();
        let number = port.number();
        assert!((LOWEST..LOWEST + COUNT).contains(&number));
        assert!(Port::take(number).is_none());
        drop(port);
        // Another thread may start a server at this moment: until that program runs, it has a copy of each socket.
        eventually("the port is given back", || Port::take(number).is_some());
        let mut foreign = None;
        eventually("the port is free", || {
            foreign = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok();
            foreign.is_some()
        });
        assert!(Port::take(number).is_none());
        drop(foreign);
    }
}
