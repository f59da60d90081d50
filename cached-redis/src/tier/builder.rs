//! The builder of a [`RedisTier`], with the settings as the application gives them.

use std::{fmt, sync::Arc, time::Duration};

use cached_core::Error;

use crate::{
    cluster::Cluster,
    connect::{
        credentials::CredentialsProvider,
        endpoint::{Endpoint, Given, UrlTarget},
        settings::{Addresses, MAX_DURATION, Settings},
    },
    tier::RedisTier,
    topology::Topology,
};

/// Settings of a [`RedisTier`], made by [`RedisTier::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisTierBuilder {
    url: String,
    given: Given,
    addresses: Addresses,
    operation_timeout: Duration,
    write_timeout: Duration,
    connect_timeout: Duration,
    retry_min: Duration,
    retry_max: Duration,
    max_in_flight: usize,
}

impl RedisTier {
    /// Creates a builder with the default settings for the server at `url`.
    ///
    /// `redis://[[user]:password@]host[:port][/database number]` names one server. The port defaults to 6379
    /// and the database to 0. `valkey://` is equivalent; `unix:///path` is a socket. `rediss://` and
    /// `valkeys://` use TLS (feature `tls`). Then the server must have a certificate for the host of the URL,
    /// signed by a root of the system or by a [given](RedisTierBuilder::root_certificate) one; or it must
    /// have the [pinned](RedisTierBuilder::certificate_pin) certificate.
    ///
    /// After a `?` there may be settings, which override those of the builder: `read_timeout=200ms` (this is
    /// [`operation_timeout`](RedisTierBuilder::operation_timeout)), `write_timeout=2s` and
    /// `connect_timeout=3s`. `protocol=resp2` is for a proxy that does not support RESP3 and hangs up;
    /// `protocol=resp3` accepts nothing else. In RESP2 the server pushes no changes. Any other setting is an
    /// error.
    ///
    /// `redis-sentinel://[[user]:password@]host[:port][,host[:port]…]/name[/database number]` names sentinels
    /// (feature `sentinel`; port 26379) and the primary that they monitor. Each connection attempt asks them
    /// for its address, one after the other until one answers. It uses only a server that reports itself to
    /// be a primary. User and password are those of the primary; the builder sets those of the sentinels
    /// (`sentinel_username`, `sentinel_password`). `rediss-sentinel://` uses TLS to the primary and to the
    /// sentinels.
    ///
    /// `redis-cluster://[[user]:password@]host[:port][,host[:port]…]` names some servers of a Redis Cluster
    /// (feature `cluster`), from which the others are discovered. There is a connection to each primary.
    /// `rediss-cluster://` uses TLS to all of them.
    ///
    /// A login is in front of the first host, once for all hosts. In a user or a password, `/`, `?`, `#`, `@`
    /// and `%` are percent-encoded: the password `p@ss` is `p%40ss`.
    ///
    /// The rights that the user needs in each of these cases are listed in `docs/redis.md` of the repository,
    /// ready to be copied.
    pub fn builder(url: impl Into<String>) -> RedisTierBuilder {
        RedisTierBuilder::new(url.into())
    }
}

impl RedisTierBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            given: Given::default(),
            addresses: Addresses::default(),
            operation_timeout: Duration::from_millis(50),
            write_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(1),
            max_in_flight: 16_384,
        }
    }

    /// Sets the total time of an operation that precedes a load. Default: 50 ms.
    ///
    /// These operations are `lookup`, `lease` and `exists`. A caller waits for them, so the time should be
    /// short compared to a load, and longer than a round trip to Redis. If Redis is farther away, the breaker
    /// opens and stays open, and [`health`](RedisTier::health) reports
    /// [`Slow`](cached_core::TierCause::Slow). A lease that exceeds the time may still be taken, and then
    /// lasts as long as if its holder had died. In the URL it is `?read_timeout=200ms`, which overrides this.
    ///
    /// For a [large](cached_core::tier::LARGE_VALUE) value, the time is extended by the transfer time of its size
    /// at 16 MiB per second, and by 2 s at most.
    ///
    /// Operations that come before the outcome of the very first connection attempt wait for it, for at most
    /// [`connect_timeout`](Self::connect_timeout). The rest of that time then belongs to them as well.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets the total time of an operation that writes. Default: 1 s.
    ///
    /// These operations are `fill`, `renew`, `release`, `delete` and `incr`, and each step of
    /// `delete_matching` and `confirm`. A write that exceeds the time may still take effect; a fill does so
    /// only if its lease is still there. In the URL it is `?write_timeout=2s`.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// Sets the time limit from the start of a connection attempt to the first answer.
    ///
    /// Default: 1 s. The server has the same time to answer each later check of the connection. In the URL it
    /// is `?connect_timeout=3s`.
    ///
    /// The first operations of a process wait for its first attempt, so that they can already hit. So this is
    /// their cost if the server hangs at that moment. A server that refuses costs nothing, and after the
    /// first attempt no operation waits for a connection.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the pauses between connection attempts. Default: from 50 ms to 1 s.
    ///
    /// The pause doubles with each failure, from the shortest to the longest. A random part of up to one half
    /// is subtracted, so that the clients of a recovering server do not all arrive together.
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        self.retry_min = shortest;
        self.retry_max = longest;
        self
    }

    /// Sets how many reads, and how many writes, may wait at a time. Default: 16,384.
    ///
    /// Further operations fail at once, and a rejected read counts as a slow one. The default is more than a
    /// server answers within the default [`operation_timeout`](Self::operation_timeout): further operations
    /// would wait in vain. Without a limit, operations that wait for a hung server would fill the memory.
    pub fn max_in_flight(mut self, limit: usize) -> Self {
        self.max_in_flight = limit;
        self
    }

    /// Trusts the certificates in this PEM instead of the root certificates of the system.
    ///
    /// Certificates that they have signed are trusted as well. May be called more than once. Only for
    /// `rediss://`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = cached_redis::RedisTier::builder("rediss://cache.internal:6379")
    ///     .root_certificate(std::fs::read("ca.pem")?)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.given.certificates.roots.push(pem.into());
        self
    }

    /// Sets the certificate and private key of this process, both as PEM (mutual TLS).
    ///
    /// They are for a server that requests a client certificate. The PEM has the certificate first, followed
    /// by those that lead to its root. Only for `rediss://`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = cached_redis::RedisTier::builder("rediss://cache.internal:6379")
    ///     .client_certificate(std::fs::read("client.pem")?, std::fs::read("client.key")?)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn client_certificate(
        mut self,
        certificate_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        self.given.certificates.client_certificate = Some((certificate_pem.into(), key_pem.into()));
        self
    }

    /// Sets the name that the server's certificate must be for, instead of the URL's host.
    ///
    /// This is for a tunnel, or an address that is in no certificate. The name is also sent to the server
    /// (SNI). It applies to the sentinels and to all servers of a cluster as well. Only for `rediss://`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = cached_redis::RedisTier::builder("rediss://localhost:6380")
    ///     .server_name("cache.internal")
    ///     .root_certificate(std::fs::read("ca.pem")?)
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.given.certificates.server_name = Some(name.into());
        self
    }

    /// Accepts the certificate with this SHA-256 fingerprint and no other.
    ///
    /// Its issuer, host name and age do not matter: this is for a server with a self-signed certificate. May
    /// be called more than once, for instance before a certificate is replaced.
    /// `openssl x509 -in server.pem -outform der | sha256sum` shows the fingerprint. Only for `rediss://`.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// # let fingerprint = [7; 32];
    /// let tier = cached_redis::RedisTier::builder("rediss://cache.internal:6379").certificate_pin(fingerprint).build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn certificate_pin(mut self, sha256: [u8; 32]) -> Self {
        self.given.certificates.pins.push(sha256);
        self
    }

    /// Accepts any certificate of the server.
    ///
    /// **Anything between this process and Redis can then read and change all that is cached, and learns the
    /// password.** A [pin](Self::certificate_pin) is as little work, and has none of these risks. A line on
    /// stderr warns once for each process. Only for `rediss://`.
    #[cfg(feature = "tls")]
    pub fn dangerous_accept_any_certificate(mut self) -> Self {
        self.given.certificates.is_unverified = true;
        self
    }

    /// Sets the provider of the login, which is asked at each connection attempt.
    ///
    /// It replaces the login of the URL. This is for short-lived tokens, and for passwords and client
    /// certificates that are rotated. See [`CredentialsProvider`] for an example.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.given.credentials = Some(Arc::new(provider));
        self
    }

    /// Maps the addresses that the servers of a cluster announce.
    ///
    /// This process may have to reach them elsewhere: behind NAT, or port mappings of a container. The
    /// function gets each host and port that a server announces, and returns the address to use; `None` keeps
    /// the announced one. Only for `redis-cluster://`. The addresses in the URL are not mapped.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// let tier = cached_redis::RedisTier::builder("redis-cluster://127.0.0.1:17000")
    ///     .cluster_address_map(|_host, port| Some(("127.0.0.1".to_owned(), port + 10_000)))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "cluster")]
    pub fn cluster_address_map(
        mut self,
        map: impl Fn(&str, u16) -> Option<(String, u16)> + Send + Sync + 'static,
    ) -> Self {
        self.addresses = Addresses(Some(Arc::new(map)));
        self
    }

    /// Sets the user for the login at the sentinels, if it is not their default user.
    ///
    /// It needs a [`sentinel_password`](Self::sentinel_password) as well.
    #[cfg(feature = "sentinel")]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.given.sentinel_username = Some(username.into());
        self
    }

    /// Sets the password that the sentinels themselves require.
    ///
    /// The password in the URL is for the primary. Only for `redis-sentinel://`.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// let tier = cached_redis::RedisTier::builder("redis-sentinel://:secret@one:26379,two:26379/primary")
    ///     .sentinel_password("another secret")
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "sentinel")]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.given.sentinel_password = Some(password.into());
        self
    }

    /// Builds the tier, without connecting.
    ///
    /// This needs no runtime; the first operation starts the connection. For `rediss://` without a
    /// [`root_certificate`](Self::root_certificate), it reads those of the system.
    ///
    /// # Errors
    /// [`Error::is_config`] if the URL is malformed or asks for something unknown or not compiled in, or if a
    /// PEM cannot be used. Also if a duration or `max_in_flight` is zero, if the shortest pause exceeds the
    /// longest, or if `cluster_address_map` is set without `redis-cluster://`. No error contains any part of
    /// the URL or of a PEM.
    pub fn build(self) -> Result<RedisTier, Error> {
        let (target, query) = Endpoint::parse(&self.url, &self.given)?;
        let read_timeout = query.read_timeout.unwrap_or(self.operation_timeout);
        let write_timeout = query.write_timeout.unwrap_or(self.write_timeout);
        let connect_timeout = query.connect_timeout.unwrap_or(self.connect_timeout).min(MAX_DURATION);
        for (name, duration) in [
            ("operation_timeout", read_timeout),
            ("write_timeout", write_timeout),
            ("connect_timeout", connect_timeout),
            ("retry", self.retry_min),
        ] {
            if duration.is_zero() {
                return Err(Error::config(format!("{name}: the duration must not be zero")));
            }
        }
        if self.retry_min > self.retry_max {
            return Err(Error::config("retry: the shortest pause must not exceed the longest"));
        }
        if self.max_in_flight == 0 {
            return Err(Error::config("max_in_flight: it must not be 0, because no command could be sent"));
        }
        if self.addresses.0.is_some() && matches!(target, UrlTarget::One(_)) {
            return Err(Error::config("cluster_address_map: only redis-cluster:// supports it"));
        }
        let settings = |endpoint| Settings {
            endpoint,
            protocol: query.protocol.unwrap_or_default(),
            addresses: self.addresses.clone(),
            read_timeout,
            write_timeout,
            connect_timeout,
            check_timeout: connect_timeout,
            retry_min: self.retry_min,
            retry_max: self.retry_max,
            max_in_flight: self.max_in_flight,
            has_substitute: false,
        };
        let topology = match target {
            UrlTarget::One(endpoint) => Topology::standalone(settings(endpoint)),
            UrlTarget::Cluster(seeds) => Topology::Cluster(Cluster::new(settings, seeds)?),
        };
        Ok(RedisTier { topology: Arc::new(topology), barrier_queue: Arc::default() })
    }
}

/// Omits the URL, which may hold a password, and the other secrets.
impl fmt::Debug for RedisTierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTierBuilder")
            .field("operation_timeout", &self.operation_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("retry", &(self.retry_min..=self.retry_max))
            .field("max_in_flight", &self.max_in_flight)
            .finish_non_exhaustive()
    }
}
