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
    location: Location,
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
    pub(crate) may_lack_resp3: bool,
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
    parser_scheme: &'static str,
    is_tls: bool,
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
        check_syntax(rest, scheme.is_socket())?;
        let (rest, query) = Query::split(rest, scheme.is_socket())?;
        let dialer = Arc::new(Dialer { tls: tls(scheme.is_tls, &given.certificates)? });
        let has_sentinel_login = given.sentinel_username.is_some() || given.sentinel_password.is_some();
        if has_sentinel_login && scheme.kind != UrlKind::Sentinels {
            return Err(Error::config(
                "sentinel_username and sentinel_password: only redis-sentinel:// supports them",
            ));
        }
        let mut target = match scheme.kind {
            UrlKind::Server => {
                let url = format!("{}://{rest}{}", scheme.parser_scheme, query.socket_query);
                UrlTarget::One(Self::from_url(&url, scheme, dialer)?)
            }
            UrlKind::Sentinels => UrlTarget::One(Self::from_sentinels(rest, given, scheme, dialer)?),
            UrlKind::Cluster => UrlTarget::Cluster(Self::from_seeds(rest, scheme, &dialer)?),
        };
        if let Some(credentials) = &given.credentials {
            let endpoints = match &mut target {
                UrlTarget::One(endpoint) => std::slice::from_mut(endpoint),
                UrlTarget::Cluster(seeds) => seeds,
            };
            for endpoint in endpoints {
                if endpoint.login.username().is_some() || endpoint.login.password().is_some() {
                    return Err(Error::config(
                        "credentials: the URL must not contain a user or a password as well",
                    ));
                }
                endpoint.credentials = Some(Arc::clone(credentials));
            }
        }
        Ok((target, query))
    }

    fn from_url(url: &str, scheme: Scheme, dialer: Arc<Dialer>) -> Result<Self, Error> {
        let info = connection_info(url)?;
        let (login, address) = (info.redis_settings().clone(), info.addr().clone());
        let label = address_label(&address, scheme.is_tls)?;
        Ok(Self { location: Location::Fixed(address), login, dialer, credentials: None, label })
    }

    fn from_sentinels(rest: &str, given: &Given, scheme: Scheme, dialer: Arc<Dialer>) -> Result<Self, Error> {
        let (sentinels, login) = parse_sentinels(rest, given)?;
        for sentinel in sentinels.addresses() {
            address_label(sentinel, scheme.is_tls)?;
        }
        let label = sentinels.label();
        Ok(Self { location: Location::Watched(Arc::new(sentinels)), login, dialer, credentials: None, label })
    }

    /// Parses `[[user]:password@]host[:port][,host[:port]…]`. All hosts have the same login.
    fn from_seeds(rest: &str, scheme: Scheme, dialer: &Arc<Dialer>) -> Result<Vec<Self>, Error> {
        let malformed = || {
            Error::config(
                "redis url: expected redis-cluster://[[user]:password@]host[:port][,host[:port]...]",
            )
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path, "" | "0") {
            return Err(Error::config("redis url: a cluster has database 0 only"));
        }
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        let endpoint = |host: &str| {
            if host.is_empty() {
                return Err(malformed());
            }
            Self::from_url(&format!("redis://{login}{host}"), scheme, Arc::clone(dialer))
                .map_err(|_| malformed())
        };
        hosts.split(',').map(endpoint).collect()
    }

    /// Returns the endpoint of another server in the same cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_address(&self, address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let address = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?);
        let label = address_label(&address, false).ok()?;
        Some(Self { location: Location::Fixed(address), label, ..self.clone() })
    }

    /// Returns the host of a server with a fixed address.
    #[cfg(feature = "cluster")]
    pub(crate) fn host(&self) -> String {
        match &self.location {
            Location::Fixed(ConnectionAddr::Tcp(host, _)) => host.clone(),
            _ => String::new(),
        }
    }

    /// Returns the provider of the login, if that is not in the URL.
    pub(crate) fn credentials(&self) -> Option<&Arc<dyn CredentialsProvider>> {
        self.credentials.as_ref()
    }

    /// Finds the location of the server, well within `time_limit`.
    pub(crate) async fn locate(
        &self,
        identity: &Identity,
        time_limit: Duration,
        stage: &Stage,
    ) -> Result<Server<'_>, TierCause> {
        match &self.location {
            Location::Fixed(address) => Ok(Server::Fixed(address)),
            Location::Watched(sentinels) => {
                stage.set(TierCause::NoSentinel);
                let reported = sentinels.find_primary(&self.dialer, identity, time_limit).await?;
                stage.set(TierCause::Timeout);
                Ok(Server::Sentinel(reported))
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
        let dial_failed = |cause| Unopened { cause, may_lack_resp3: false };
        let stream = self.dialer.dial(server.address(), identity, stage).await.map_err(dial_failed)?;
        let login = identity.login(&self.login).set_protocol(protocol);
        stream.log_in(&login, config).await.map_err(|error| {
            // A peer with another protocol is no Redis, or expects TLS.
            let hung_up = cause::has_hung_up(&error) || error.kind() == ErrorKind::Parse;
            let may_lack_resp3 = cause::may_lack_resp3(&error);
            let cause = match () {
                () if hung_up => TierCause::HungUp,
                () if may_lack_resp3 => TierCause::NoResp3,
                () => cause::of_error(&error),
            };
            Unopened { cause, may_lack_resp3 }
        })
    }

    /// Verifies that a server reported by a sentinel is the primary.
    pub(crate) async fn verify_primary(
        &self,
        server: &Server<'_>,
        connection: &mut Connection,
    ) -> Result<(), TierCause> {
        match (&self.location, server) {
            (Location::Watched(sentinels), Server::Sentinel(reported)) => {
                sentinels.verify_primary(reported, connection).await
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
            Self::Sentinel(reported) => &reported.primary,
        }
    }
}

impl Scheme {
    fn is_socket(self) -> bool {
        self.parser_scheme == "unix"
    }

    fn of(scheme: &str) -> Result<Self, Error> {
        let (parser_scheme, is_tls, kind) = match scheme {
            "redis" | "valkey" => ("redis", false, UrlKind::Server),
            "rediss" | "valkeys" => ("redis", true, UrlKind::Server),
            "redis+unix" | "valkey+unix" | "unix" => ("unix", false, UrlKind::Server),
            "redis-sentinel" => ("redis", false, UrlKind::Sentinels),
            "rediss-sentinel" => ("redis", true, UrlKind::Sentinels),
            "redis-cluster" => ("redis", false, UrlKind::Cluster),
            "rediss-cluster" => ("redis", true, UrlKind::Cluster),
            _ => return Err(Error::config("redis url: it must begin with redis://")),
        };
        Ok(Self { parser_scheme, is_tls, kind })
    }
}

fn check_syntax(rest: &str, is_socket: bool) -> Result<(), Error> {
    // A raw `/`, `?` or `#` in a password ends the authority early. The first half of the password would be
    // taken for the host or the port, which are shown. A socket has a path only, in which an `@` has no
    // special meaning.
    if is_socket && !rest.starts_with('/') {
        return Err(Error::config("redis url: expected unix:///path[?user=user&pass=password&db=number]"));
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
        Some(_) => {
            Err(Error::config("redis url: it must not contain a fragment, which is the part after `#`"))
        }
        None => Ok(()),
    }
}

fn tls(is_tls: bool, certificates: &Certificates) -> Result<Option<Tls>, Error> {
    if is_tls {
        return Tls::new(certificates).map(Some);
    }
    if certificates.is_empty() {
        return Ok(None);
    }
    Err(Error::config("redis url: it must begin with rediss://, because certificates need TLS"))
}

/// Parses `[[user]:password@]sentinels/name[/database]`.
fn parse_sentinels(rest: &str, given: &Given) -> Result<(Sentinels, RedisConnectionInfo), Error> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
    let sentinel_login = (given.sentinel_username.as_deref(), given.sentinel_password.as_deref());
    let sentinels = Sentinels::parse(hosts, name, sentinel_login)?;
    // The login is for the primary, so the host is a placeholder.
    let login = if login.is_empty() { String::new() } else { format!("{login}@") };
    let info = connection_info(&format!("redis://{login}primary/{database}"))?;
    Ok((sentinels, info.redis_settings().clone()))
}

fn connection_info(url: &str) -> Result<ConnectionInfo, Error> {
    url.into_connection_info().map_err(|_| {
        Error::config("redis url: expected redis://[[user]:password@]host[:port][/database number]")
    })
}

fn address_label(address: &ConnectionAddr, is_tls: bool) -> Result<String, Error> {
    match address {
        ConnectionAddr::Tcp(host, _) if is_tls && !Tls::is_valid_host(host) => {
            Err(Error::config("redis url: a certificate cannot be issued for such a host"))
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
    fn database_is_parsed_from_url() {
        let endpoint = parse("redis://localhost:6380/2");
        assert_eq!(endpoint.login.db(), 2);
        assert_eq!(format!("{endpoint:?}"), "localhost:6380");
    }

    #[test]
    fn socket_label_omits_query() {
        let endpoint = parse("unix:///run/redis.sock?pass=canary&db=1");
        assert_eq!(format!("{endpoint:?}"), "/run/redis.sock");
        assert_eq!((endpoint.login.db(), endpoint.login.password()), (1, Some("canary")));
    }

    #[test]
    fn socket_path_may_contain_at_sign() {
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
    fn sentinel_label_omits_login() {
        let endpoint = parse("redis-sentinel://user:can%2Fary@one,two:7/primary/3");
        assert_eq!(format!("{endpoint:?}"), "primary of one:26379,two:7");
        let login = &endpoint.login;
        assert_eq!((login.username(), login.password(), login.db()), (Some("user"), Some("can/ary"), 3));
    }
}
