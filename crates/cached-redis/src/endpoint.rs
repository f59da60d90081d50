//! Where the server is and how to log in, out of the URL.

use std::{fmt, sync::Arc, time::Duration};

use cached_core::Error;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisResult,
};

use crate::{
    connection::Connection,
    dialer::Dialer,
    sentinel::{Sentinels, Told},
    tls::{Certificates, Tls},
};

/// Where the server is and how to log in.
#[derive(Clone)]
pub(crate) struct Endpoint {
    place: Place,
    login: RedisConnectionInfo,
    dialer: Arc<Dialer>,
    /// The address for people: without user and password.
    label: String,
}

/// What a URL names.
#[derive(Debug)]
pub(crate) enum Target {
    One(Endpoint),
    /// Some servers of a cluster.
    Cluster(Vec<Endpoint>),
}

#[derive(Clone)]
enum Place {
    /// At an address.
    Fixed(ConnectionAddr),
    /// Where the sentinels say.
    Watched(Arc<Sentinels>),
}

/// Where the server is at the moment.
#[derive(Debug)]
pub(crate) enum Server<'a> {
    Fixed(&'a ConnectionAddr),
    Told(Told),
}

/// What the schemes stand for.
#[derive(Clone, Copy)]
struct Scheme {
    /// What the parser of redis-rs is given. It never hears of TLS: how a connection is made is decided here.
    plain: &'static str,
    is_secret: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Server,
    Sentinels,
    Cluster,
}

impl Endpoint {
    /// Every error text is fixed: the parser's own texts may quote the URL, and with it the password.
    pub(crate) fn parse(
        url: &str,
        certificates: &Certificates,
        sentinel_password: Option<&str>,
    ) -> Result<Target, Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let scheme = Scheme::of(scheme)?;
        check(rest)?;
        let dialer = Arc::new(Dialer { tls: tls(scheme.is_secret, certificates)? });
        if sentinel_password.is_some() && scheme.kind != Kind::Sentinels {
            return Err(Error::config("sentinel_password: it is for redis-sentinel:// only"));
        }
        Ok(match scheme.kind {
            Kind::Server => Target::One(Self::one(&format!("{}://{rest}", scheme.plain), scheme, dialer)?),
            Kind::Sentinels => Target::One(Self::watched(rest, sentinel_password, scheme, dialer)?),
            Kind::Cluster => Target::Cluster(Self::several(rest, scheme, &dialer)?),
        })
    }

    fn one(url: &str, scheme: Scheme, dialer: Arc<Dialer>) -> Result<Self, Error> {
        let info = info(url)?;
        let (login, address) = (info.redis_settings().clone(), info.addr().clone());
        let label = label(&address, scheme.is_secret)?;
        Ok(Self { place: Place::Fixed(address), login, dialer, label })
    }

    fn watched(
        rest: &str,
        password: Option<&str>,
        scheme: Scheme,
        dialer: Arc<Dialer>,
    ) -> Result<Self, Error> {
        let (sentinels, login) = watched(rest, password)?;
        for sentinel in sentinels.addresses() {
            label(sentinel, scheme.is_secret)?;
        }
        let label = sentinels.label();
        Ok(Self { place: Place::Watched(Arc::new(sentinels)), login, dialer, label })
    }

    /// Takes `[[user]:password@]host[:port][,host[:port]…]`, each with the same login.
    fn several(rest: &str, scheme: Scheme, dialer: &Arc<Dialer>) -> Result<Vec<Self>, Error> {
        let malformed = || {
            Error::config(
                "redis url: expected redis-cluster://[[user]:password@]host[:port][,host[:port]...]",
            )
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(Error::config("redis url: a cluster has the database 0 only"));
        }
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        let one = |host: &str| {
            if host.is_empty() || host.contains('?') {
                return Err(malformed());
            }
            Self::one(&format!("redis://{login}{host}"), scheme, Arc::clone(dialer)).map_err(|_| malformed())
        };
        hosts.split(',').map(one).collect()
    }

    /// Another server of the same cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn at(&self, address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let address = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?);
        let label = label(&address, false).ok()?;
        Some(Self { place: Place::Fixed(address), label, ..self.clone() })
    }

    /// The host of a server at a fixed address.
    #[cfg(feature = "cluster")]
    pub(crate) fn host(&self) -> String {
        match &self.place {
            Place::Fixed(ConnectionAddr::Tcp(host, _)) => host.clone(),
            _ => String::new(),
        }
    }

    /// Finds out where the server is, well within `patience`.
    pub(crate) async fn locate(&self, patience: Duration) -> Option<Server<'_>> {
        match &self.place {
            Place::Fixed(address) => Some(Server::Fixed(address)),
            Place::Watched(sentinels) => sentinels.ask(&self.dialer, patience).await.map(Server::Told),
        }
    }

    /// A connection that has logged in.
    pub(crate) async fn open(
        &self,
        server: &Server<'_>,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        let login = self.login.clone().set_protocol(protocol);
        self.dialer.open(server.address(), &login, config).await
    }

    /// Whether the server is the one that was looked for.
    pub(crate) async fn confirm(&self, server: &Server<'_>, connection: &mut Connection) -> bool {
        match (&self.place, server) {
            (Place::Watched(sentinels), Server::Told(told)) => sentinels.confirm(told, connection).await,
            (_, _) => true,
        }
    }
}

/// `host:port`, or the path of a Unix socket, or the name of a primary and its sentinels.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Server<'_> {
    fn address(&self) -> &ConnectionAddr {
        match self {
            Self::Fixed(address) => address,
            Self::Told(told) => &told.primary,
        }
    }
}

impl Scheme {
    fn of(scheme: &str) -> Result<Self, Error> {
        let (plain, is_secret, kind) = match scheme {
            "redis" | "valkey" => ("redis", false, Kind::Server),
            "rediss" | "valkeys" => ("redis", true, Kind::Server),
            "redis+unix" | "valkey+unix" | "unix" => ("unix", false, Kind::Server),
            "redis-sentinel" => ("redis", false, Kind::Sentinels),
            "rediss-sentinel" => ("redis", true, Kind::Sentinels),
            "redis-cluster" => ("redis", false, Kind::Cluster),
            "rediss-cluster" => ("redis", true, Kind::Cluster),
            _ => return Err(Error::config("redis url: it must begin with redis://")),
        };
        Ok(Self { plain, is_secret, kind })
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

/// Takes `[[user]:password@]sentinels/name[/database]`.
fn watched(rest: &str, password: Option<&str>) -> Result<(Sentinels, RedisConnectionInfo), Error> {
    if rest.contains('?') {
        return Err(Error::config("redis url: nothing is known that follows a `?`"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let sentinels = Sentinels::parse(hosts, name, password)?;
    // The login is that of the primary, wherever it is.
    let login = if login.is_empty() { String::new() } else { format!("{login}@") };
    let info = info(&format!("redis://{login}primary/{database}"))?;
    Ok((sentinels, info.redis_settings().clone()))
}

fn info(url: &str) -> Result<ConnectionInfo, Error> {
    url.into_connection_info().map_err(|_| {
        Error::config("redis url: expected redis://[[user]:password@]host[:port][/database number]")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Endpoint {
        match Endpoint::parse(url, &Certificates::default(), None).unwrap() {
            Target::One(endpoint) => endpoint,
            Target::Cluster(_) => panic!("a cluster"),
        }
    }

    #[test]
    fn the_database_is_the_one_of_the_url() {
        let endpoint = parse("redis://localhost:6380/2");
        assert_eq!(endpoint.login.db(), 2);
        assert_eq!(format!("{endpoint:?}"), "localhost:6380");
    }

    #[test]
    fn a_unix_socket_is_shown_without_its_query() {
        let endpoint = parse("unix:///run/redis.sock?pass=canary&db=1");
        assert_eq!(format!("{endpoint:?}"), "/run/redis.sock");
    }

    #[test]
    #[cfg(feature = "sentinel")]
    fn sentinels_are_shown_and_the_login_is_not() {
        let endpoint = parse("redis-sentinel://user:can%2Fary@one,two:7/primary/3");
        assert_eq!(format!("{endpoint:?}"), "primary of one:26379,two:7");
        let login = &endpoint.login;
        assert_eq!((login.username(), login.password(), login.db()), (Some("user"), Some("can/ary"), 3));
    }
}
