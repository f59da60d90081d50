//! The server's address, out of the URL.

use std::fmt;

use cached_core::Error;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings,
};

/// Where the server is and how to log in.
pub(crate) struct Endpoint {
    /// Speaks RESP3, in which the server may say something unasked.
    resp3: Client,
    resp2: Client,
    /// The address for people: without user and password.
    label: String,
}

impl Endpoint {
    /// Every error text is fixed: the parser's own texts may quote the URL, and with it the password.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        match scheme {
            "redis" | "valkey" | "redis+unix" | "valkey+unix" | "unix" => {}
            "rediss" | "valkeys" => {
                return Err(Error::config("redis url: TLS is not compiled in, so rediss:// cannot be used"));
            }
            _ => return Err(Error::config("redis url: it must begin with redis://")),
        }
        // A password with a raw `/`, `?` or `#` ends the authority early, and its first half would be taken for
        // the host or the port, which are shown.
        if rest.split_once(['/', '?', '#']).is_some_and(|(_, tail)| tail.contains('@')) {
            return Err(Error::config(
                "redis url: `/`, `?`, `#` and `@` must be percent-encoded in a password",
            ));
        }
        let info = url.into_connection_info().map_err(|_| {
            Error::config("redis url: expected redis://[[user]:password@]host[:port][/database number]")
        })?;
        let label = label(info.addr())?;
        let client = |protocol| {
            Client::open(tune(&info, protocol)).map_err(|_| Error::config("redis url: not usable"))
        };
        Ok(Self { resp3: client(ProtocolVersion::RESP3)?, resp2: client(ProtocolVersion::RESP2)?, label })
    }

    pub(crate) fn resp3(&self) -> &Client {
        &self.resp3
    }

    pub(crate) fn resp2(&self) -> &Client {
        &self.resp2
    }
}

/// `host:port`, or the path of a Unix socket.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

fn label(address: &ConnectionAddr) -> Result<String, Error> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok(format!("{host}:{port}")),
        ConnectionAddr::Unix(path) => Ok(path.display().to_string()),
        _ => Err(Error::config("redis url: this kind of address is not supported")),
    }
}

fn tune(info: &ConnectionInfo, protocol: ProtocolVersion) -> ConnectionInfo {
    // Without TCP_NODELAY a small request may wait for the acknowledgement of the one before it.
    let tcp = TcpSettings::default().set_nodelay(true);
    // Naming the library on every connection is refused by servers before 7.2 and by narrow ACLs.
    let login = info.redis_settings().clone().set_skip_set_lib_name().set_protocol(protocol);
    info.clone().set_tcp_settings(tcp).set_redis_settings(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_requests_are_sent_at_once() {
        let endpoint = Endpoint::parse("redis://localhost:6380/2").unwrap();
        for client in [endpoint.resp3(), endpoint.resp2()] {
            let info = client.get_connection_info();
            assert!(info.tcp_settings().nodelay());
            assert_eq!(info.redis_settings().db(), 2);
        }
        assert_eq!(format!("{endpoint:?}"), "localhost:6380");
    }

    #[test]
    fn a_unix_socket_is_shown_without_its_query() {
        let endpoint = Endpoint::parse("unix:///run/redis.sock?pass=canary&db=1").unwrap();
        assert_eq!(format!("{endpoint:?}"), "/run/redis.sock");
    }
}
