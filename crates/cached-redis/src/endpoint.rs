//! Where the server is and how to log in, out of the URL.

use std::fmt;

use cached_core::Error;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisResult, io::tcp::TcpSettings,
};

use crate::{
    connection::Connection,
    tls::{Certificates, Tls},
};

/// Where the server is and how to log in.
pub(crate) struct Endpoint {
    info: ConnectionInfo,
    tls: Option<Tls>,
    /// The address for people: without user and password.
    label: String,
}

impl Endpoint {
    /// Every error text is fixed: the parser's own texts may quote the URL, and with it the password.
    pub(crate) fn parse(url: &str, certificates: &Certificates) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (scheme, is_secret) = match scheme {
            "rediss" | "valkeys" => ("redis", true),
            "redis" | "valkey" | "redis+unix" | "valkey+unix" | "unix" => (scheme, false),
            _ => return Err(Error::config("redis url: it must begin with redis://")),
        };
        check(rest)?;
        let tls = tls(is_secret, certificates)?;
        // How a connection is made is decided here and not by the parser, so it never hears of TLS.
        let info = format!("{scheme}://{rest}").into_connection_info().map_err(|_| {
            Error::config("redis url: expected redis://[[user]:password@]host[:port][/database number]")
        })?;
        let label = label(info.addr(), tls.is_some())?;
        Ok(Self { info: tune(&info), tls, label })
    }

    /// A connection that has logged in.
    pub(crate) async fn open(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        let login = self.info.redis_settings().clone().set_protocol(protocol);
        match (&self.tls, self.info.addr()) {
            (Some(tls), ConnectionAddr::Tcp(host, port)) => {
                tls.connect(host, *port, &login, config.clone()).await
            }
            (_, _) => {
                let client = Client::open(self.info.clone().set_redis_settings(login))?;
                client.get_multiplexed_async_connection_with_config(config).await.map(Connection::from)
            }
        }
    }
}

/// `host:port`, or the path of a Unix socket.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

fn check(rest: &str) -> Result<(), Error> {
    // A password with a raw `/`, `?` or `#` ends the authority early, and its first half would be taken for
    // the host or the port, which are shown.
    if rest.split_once(['/', '?', '#']).is_some_and(|(_, tail)| tail.contains('@')) {
        return Err(Error::config("redis url: `/`, `?`, `#` and `@` must be percent-encoded in a password"));
    }
    // Some clients take `#insecure` as leave not to verify the server. Nobody shall believe that it was granted.
    match rest.split_once('#') {
        Some((_, "insecure")) => Err(Error::config(
            "redis url: #insecure is refused, as the server is always verified: give its CA with root_certificate",
        )),
        Some(_) => Err(Error::config("redis url: nothing is known that follows a `#`")),
        None => Ok(()),
    }
}

fn tls(is_secret: bool, certificates: &Certificates) -> Result<Option<Tls>, Error> {
    if is_secret {
        return Tls::new(certificates).map(Some);
    }
    if certificates.is_empty() {
        return Ok(None);
    }
    Err(Error::config("redis url: certificates are for TLS, so it must begin with rediss://"))
}

fn label(address: &ConnectionAddr, is_secret: bool) -> Result<String, Error> {
    match address {
        ConnectionAddr::Tcp(host, _) if is_secret && !Tls::can_name(host) => {
            Err(Error::config("redis url: no certificate can be about such a host"))
        }
        ConnectionAddr::Tcp(host, port) => Ok(format!("{host}:{port}")),
        ConnectionAddr::Unix(path) => Ok(path.display().to_string()),
        _ => Err(Error::config("redis url: this kind of address is not supported")),
    }
}

fn tune(info: &ConnectionInfo) -> ConnectionInfo {
    // Without TCP_NODELAY a small request may wait for the acknowledgement of the one before it.
    let tcp = TcpSettings::default().set_nodelay(true);
    // Naming the library on every connection is refused by servers before 7.2 and by narrow ACLs.
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    info.clone().set_tcp_settings(tcp).set_redis_settings(login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Endpoint {
        Endpoint::parse(url, &Certificates::default()).unwrap()
    }

    #[test]
    fn small_requests_are_sent_at_once() {
        let endpoint = parse("redis://localhost:6380/2");
        assert!(endpoint.info.tcp_settings().nodelay());
        assert_eq!(endpoint.info.redis_settings().db(), 2);
        assert_eq!(format!("{endpoint:?}"), "localhost:6380");
    }

    #[test]
    fn a_unix_socket_is_shown_without_its_query() {
        let endpoint = parse("unix:///run/redis.sock?pass=canary&db=1");
        assert_eq!(format!("{endpoint:?}"), "/run/redis.sock");
    }
}
