//! The location of the server and the login, parsed from the URL.

use std::{fmt, sync::Arc, time::Duration};

use cached_core::{Error, TierCause};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo,
};

use crate::connect::{
    cause::{self},
    connection::Connection,
    credentials::{CredentialsProvider, Identity},
    dialer::Dialer,
    query::Query,
    sentinel::{PrimaryAddress, Sentinels},
    stage::Stage,
    tls::{Certificates, Tls},
};

/// Location of the server, and the login.
#[derive(Clone)]
pub(crate) struct Endpoint {
    place: Location,
    login: RedisConnectionInfo,
    dialer: Arc<Dialer>,
    credentials: Option<Arc<dyn CredentialsProvider>>,
    /// Address for display, without user and password.
    label: String,
}

/// Settings given in addition to the URL.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) certificates: Certificates,
    pub(crate) credentials: Option<Arc<dyn CredentialsProvider>>,
    pub(crate) sentinel_username: Option<String>,
    pub(crate) sentinel_password: Option<String>,
}

/// A failed attempt to open a connection.
pub(crate) struct Unopened {
    pub(crate) cause: TierCause,
    /// Set if an attempt in an older protocol may succeed.
    pub(crate) knows_no_resp3: bool,
}

/// Destination that a URL names.
#[derive(Debug)]
pub(crate) enum UrlTarget {
    One(Endpoint),
    /// Seeds: some servers of a cluster.
    Cluster(Vec<Endpoint>),
}

#[derive(Clone)]
enum Location {
    /// A fixed address.
    Fixed(ConnectionAddr),
    /// The address that the sentinels report.
    Watched(Arc<Sentinels>),
}

/// Current location of the server.
#[derive(Debug)]
pub(crate) enum Server<'a> {
    Fixed(&'a ConnectionAddr),
    Sentinel(PrimaryAddress),
}

/// Properties of a URL scheme.
#[derive(Clone, Copy)]
struct Scheme {
    /// Scheme for the parser of redis-rs. It never includes TLS, as `Dialer` opens the streams.
    plain: &'static str,
    is_secret: bool,
    kind: UrlKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlKind {
    Server,
    Sentinels,
    Cluster,
}

impl Endpoint {
    /// Parses the URL.
    ///
    /// Every error text is fixed, as the parser's own texts may quote the URL, and with it the password.
    pub(crate) fn parse(url: &str, given: &Given) -> Result<(UrlTarget, Query), Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let scheme = Scheme::of(scheme)?;
        check(rest, scheme.is_socket())?;
        let (rest, query) = Query::split(rest, scheme.is_socket())?;
        let dialer = Arc::new(Dialer { tls: tls(scheme.is_secret, &given.certificates)? });
        let is_for_sentinel = given.sentinel_username.is_some() || given.sentinel_password.is_some();
        if is_for_sentinel && scheme.kind != UrlKind::Sentinels {
            return Err(Error::config(
                "sentinel_username and sentinel_password: they are for redis-sentinel:// only",
            ));
        }
        let mut target = match scheme.kind {
            UrlKind::Server => {
                let url = format!("{}://{rest}{}", scheme.plain, query.of_socket);
                UrlTarget::One(Self::one(&url, scheme, dialer)?)
            }
            UrlKind::Sentinels => UrlTarget::One(Self::watched(rest, given, scheme, dialer)?),
            UrlKind::Cluster => UrlTarget::Cluster(Self::several(rest, scheme, &dialer)?),
        };
        if let Some(credentials) = &given.credentials {
            let endpoints = match &mut target {
                UrlTarget::One(endpoint) => std::slice::from_mut(endpoint),
                UrlTarget::Cluster(seeds) => seeds,
            };
            for endpoint in endpoints {
                if endpoint.login.username().is_some() || endpoint.login.password().is_some() {
                    return Err(Error::config("credentials: the URL must not hold a login as well"));
                }
                endpoint.credentials = Some(Arc::clone(credentials));
            }
        }
        Ok((target, query))
    }

    fn one(url: &str, scheme: Scheme, dialer: Arc<Dialer>) -> Result<Self, Error> {
        let info = info(url)?;
        let (login, address) = (info.redis_settings().clone(), info.addr().clone());
        let label = label(&address, scheme.is_secret)?;
        Ok(Self { place: Location::Fixed(address), login, dialer, credentials: None, label })
    }

    fn watched(rest: &str, given: &Given, scheme: Scheme, dialer: Arc<Dialer>) -> Result<Self, Error> {
        let (sentinels, login) = watched(rest, given)?;
        for sentinel in sentinels.addresses() {
            label(sentinel, scheme.is_secret)?;
        }
        let label = sentinels.label();
        Ok(Self { place: Location::Watched(Arc::new(sentinels)), login, dialer, credentials: None, label })
    }

    /// Parses `[[user]:password@]host[:port][,host[:port]…]`. All hosts have the same login.
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
            if host.is_empty() {
                return Err(malformed());
            }
            Self::one(&format!("redis://{login}{host}"), scheme, Arc::clone(dialer)).map_err(|_| malformed())
        };
        hosts.split(',').map(one).collect()
    }

    /// Returns the endpoint of another server in the same cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn at(&self, address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let address = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?);
        let label = label(&address, false).ok()?;
        Some(Self { place: Location::Fixed(address), label, ..self.clone() })
    }

    /// Returns the host of a server with a fixed address.
    #[cfg(feature = "cluster")]
    pub(crate) fn host(&self) -> String {
        match &self.place {
            Location::Fixed(ConnectionAddr::Tcp(host, _)) => host.clone(),
            _ => String::new(),
        }
    }

    /// Returns the provider of the login, if that is not in the URL.
    pub(crate) fn credentials(&self) -> Option<&Arc<dyn CredentialsProvider>> {
        self.credentials.as_ref()
    }

    /// Finds the location of the server, well within `patience`.
    pub(crate) async fn locate(
        &self,
        identity: &Identity,
        patience: Duration,
        stage: &Stage,
    ) -> Result<Server<'_>, TierCause> {
        match &self.place {
            Location::Fixed(address) => Ok(Server::Fixed(address)),
            Location::Watched(sentinels) => {
                stage.is(TierCause::NoSentinel);
                let told = sentinels.ask(&self.dialer, identity, patience).await?;
                stage.is(TierCause::Timeout);
                Ok(Server::Sentinel(told))
            }
        }
    }

    /// Opens a connection and logs in.
    pub(crate) async fn open(
        &self,
        server: &Server<'_>,
        identity: &Identity,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
        stage: &Stage,
    ) -> Result<Connection, Unopened> {
        let unreached = |cause| Unopened { cause, knows_no_resp3: false };
        let stream = self.dialer.dial(server.address(), identity, stage).await.map_err(unreached)?;
        let login = identity.login(&self.login).set_protocol(protocol);
        stream.log_in(&login, config).await.map_err(|error| {
            // A peer with another protocol is no Redis, or expects TLS.
            let hung_up = cause::has_hung_up(&error) || error.kind() == ErrorKind::Parse;
            let knows_no_resp3 = cause::knows_no_resp3(&error);
            let cause = match () {
                () if hung_up => TierCause::HungUp,
                () if knows_no_resp3 => TierCause::NoResp3,
                () => cause::of_error(&error),
            };
            Unopened { cause, knows_no_resp3 }
        })
    }

    /// Verifies that a server reported by a sentinel is the primary.
    pub(crate) async fn confirm(
        &self,
        server: &Server<'_>,
        connection: &mut Connection,
    ) -> Result<(), TierCause> {
        match (&self.place, server) {
            (Location::Watched(sentinels), Server::Sentinel(told)) => {
                sentinels.confirm(told, connection).await
            }
            (_, _) => Ok(()),
        }
    }
}

/// Shows `host:port`, the path of a Unix socket, or the name of a primary and its sentinels.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Server<'_> {
    fn address(&self) -> &ConnectionAddr {
        match self {
            Self::Fixed(address) => address,
            Self::Sentinel(told) => &told.primary,
        }
    }
}

impl Scheme {
    fn is_socket(self) -> bool {
        self.plain == "unix"
    }

    fn of(scheme: &str) -> Result<Self, Error> {
        let (plain, is_secret, kind) = match scheme {
            "redis" | "valkey" => ("redis", false, UrlKind::Server),
            "rediss" | "valkeys" => ("redis", true, UrlKind::Server),
            "redis+unix" | "valkey+unix" | "unix" => ("unix", false, UrlKind::Server),
            "redis-sentinel" => ("redis", false, UrlKind::Sentinels),
            "rediss-sentinel" => ("redis", true, UrlKind::Sentinels),
            "redis-cluster" => ("redis", false, UrlKind::Cluster),
            "rediss-cluster" => ("redis", true, UrlKind::Cluster),
            _ => return Err(Error::config("redis url: it must begin with redis://")),
        };
        Ok(Self { plain, is_secret, kind })
    }
}

fn check(rest: &str, is_socket: bool) -> Result<(), Error> {
    // A raw `/`, `?` or `#` in a password ends the authority early. The first half of the password would be
    // taken for the host or the port, which are shown. A socket has a path only, in which an `@` has no
    // special meaning.
    if is_socket && !rest.starts_with('/') {
        return Err(Error::config("redis url: a socket is unix:///path[?user=user&pass=password&db=number]"));
    }
    if !is_socket && rest.split_once(['/', '?', '#']).is_some_and(|(_, tail)| tail.contains('@')) {
        return Err(Error::config("redis url: `/`, `?`, `#` and `@` must be percent-encoded in a password"));
    }
    // Some clients take `#insecure` as permission not to verify the server. The refusal prevents users from
    // relying on it.
    match rest.split_once('#') {
        Some((_, "insecure")) => Err(Error::config(
            "redis url: #insecure is refused: give the server's CA with root_certificate, or its certificate with \
             certificate_pin",
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

/// Parses `[[user]:password@]sentinels/name[/database]`.
fn watched(rest: &str, given: &Given) -> Result<(Sentinels, RedisConnectionInfo), Error> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let login_there = (given.sentinel_username.as_deref(), given.sentinel_password.as_deref());
    let sentinels = Sentinels::parse(hosts, name, login_there)?;
    // The login is for the primary, so the host is a placeholder.
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
        match Endpoint::parse(url, &Given::default()).unwrap().0 {
            UrlTarget::One(endpoint) => endpoint,
            UrlTarget::Cluster(_) => panic!("a cluster"),
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
        assert_eq!((endpoint.login.db(), endpoint.login.password()), (1, Some("canary")));
    }

    #[test]
    fn the_path_of_a_socket_may_hold_an_at() {
        let endpoint = parse("unix:///run/redis@6379/redis.sock?db=3&read_timeout=1s");
        assert_eq!(
            (format!("{endpoint:?}"), endpoint.login.db()),
            ("/run/redis@6379/redis.sock".to_owned(), 3)
        );
        for url in ["unix://run/redis.sock", "unix://user:canary@/run/redis.sock", "unix://"] {
            assert!(Endpoint::parse(url, &Given::default()).is_err(), "{url}");
        }
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
