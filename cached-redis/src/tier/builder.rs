//! The settings as the user gives them.

use std::{fmt, sync::Arc, time::Duration};

use cached_core::Error;

use crate::{
    cluster::Cluster,
    connect::{
        credentials::CredentialsProvider,
        endpoint::{Endpoint, Given, Target},
        settings::{Addresses, LONGEST, Settings},
    },
    tier::RedisTier,
    topology::Way,
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
    /// Starts with the defaults and the server's address:
    /// `redis://[[user]:password@]host[:port][/database number]`.
    ///
    /// The port defaults to 6379 and the database to 0. `valkey://` means the same; `unix:///path` is a socket.
    /// `rediss://` and `valkeys://` are TLS (feature `tls`): the server must have a certificate for the host of the URL, signed
    /// by a root of the system or by one that was [given](RedisTierBuilder::root_certificate), or be the one that was
    /// [pinned](RedisTierBuilder::certificate_pin).
    ///
    /// Behind a `?` there may be settings, which overrule those of the builder: `read_timeout=200ms` (this is
    /// [`operation_timeout`](RedisTierBuilder::operation_timeout)), `write_timeout=2s`, `connect_timeout=3s`, and `protocol=resp2`
    /// for a proxy that does not know RESP3 and hangs up, or `protocol=resp3` to accept nothing else. In RESP2 the server
    /// tells nothing of changes. Anything else behind the `?` is an error.
    ///
    /// `redis-sentinel://[[user]:password@]host[:port][,host[:port]…]/name[/database number]` names sentinels (feature
    /// `sentinel`; port 26379) and the primary that they watch over: each connection attempt asks them where it is, one
    /// after the other until one answers, and uses only a server that says itself that it is a primary. User and password are those of the primary. `rediss-sentinel://` is TLS to it and to the sentinels.
    ///
    /// `redis-cluster://[[user]:password@]host[:port][,host[:port]…]` names some servers of a Redis Cluster (feature `cluster`); they
    /// tell the others. There is a connection to each primary. `rediss-cluster://` is TLS to all of them.
    ///
    /// The rights that the user needs in each of these cases are listed in `docs/redis.md` of the repository, ready to be copied.
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

    /// The total time of one operation that comes before a load: `look`, `lease` and `exists`. Default: 50 ms.
    ///
    /// A caller waits for it, so it should be short against what a load takes, and longer than a round trip to Redis: with a
    /// Redis that is farther away than that, the breaker opens and stays open, and [`health`](RedisTier::health) says
    /// [`Slow`](cached_core::TierCause::Slow). A lease that exceeds it may still be taken, and then lasts as long as if its
    /// holder had gone. In the URL it is `?read_timeout=200ms`, which overrules this.
    ///
    /// A [large](cached_core::LARGE_VALUE) value takes its time to come, so this is longer by what its size takes at 16 MiB a second, and
    /// by 2 s at most.
    ///
    /// Operations that come before the outcome of the very first attempt to connect is known wait for that, for at
    /// most [`connect_timeout`](Self::connect_timeout), and have what is left of that besides.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// The total time of one operation that writes: `fill`, `renew`, `release`, `delete` and `incr`, and of each
    /// step of `delete_matching` and `confirm`. Default: 1 s.
    ///
    /// A write that exceeds it may still take effect; a fill does only if its lease is still there. In the URL it is
    /// `?write_timeout=2s`.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The time from the start of a connection attempt until the server has answered over it, and the time
    /// that the server has to answer each later check of the connection. Default: 1 s. In the URL it is
    /// `?connect_timeout=3s`.
    ///
    /// The first operations of a process wait for its first attempt, so that they can already hit, and so this is what a
    /// server that hangs at that moment costs them. One that refuses costs nothing, and after the first attempt none waits.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The shortest and the longest pause between two connection attempts. Default: 50 ms and 1 s.
    ///
    /// The pause doubles with each failure; a random part of up to one half is taken off, so that the clients
    /// of a server that comes back do not all arrive together.
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        self.retry_min = shortest;
        self.retry_max = longest;
        self
    }

    /// How many reads may wait for the server at the same time, and how many writes besides. What is too much fails at
    /// once, and counts as if it had taken too long. Default: 16,384.
    ///
    /// That is more than a server answers within the default [`operation_timeout`](Self::operation_timeout): who came
    /// after so many others would wait in vain. Without a limit, what waits for a server that hangs would fill the memory.
    pub fn max_in_flight(mut self, most: usize) -> Self {
        self.max_in_flight = most;
        self
    }

    /// Trusts the certificates in this PEM, and what they have signed, instead of the root certificates of the
    /// system. May be called more than once. Only for `rediss://`.
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

    /// The certificate by which this process proves who it is, followed by those that lead to its root, and the private
    /// key, both as PEM: for a server that asks for one (mutual TLS). Only for `rediss://`.
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
        self.given.certificates.own = Some((certificate_pem.into(), key_pem.into()));
        self
    }

    /// What the certificate of the server must be about, instead of the host of the URL: for a tunnel, or an address that is in
    /// no certificate. It is also the name that the server is told (SNI). It is for the sentinels and all servers of a
    /// cluster as well. Only for `rediss://`.
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

    /// Accepts the certificate with this SHA-256 and no other, whatever authority signed it, whatever host it is about and however
    /// old it is: for a server with a certificate of its own making. May be called more than once, as before a certificate is
    /// replaced. `openssl x509 -in server.pem -outform der | sha256sum` shows it. Only for `rediss://`.
    ///
    /// ```
    /// # fn main() -> Result<(), cached_core::Error> {
    /// # let print = [7; 32];
    /// let tier = cached_redis::RedisTier::builder("rediss://cache.internal:6379").certificate_pin(print).build()?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn certificate_pin(mut self, sha256: [u8; 32]) -> Self {
        self.given.certificates.pins.push(sha256);
        self
    }

    /// Accepts any certificate of the server. **Anything between this process and Redis can then read and change all that is
    /// cached, and learns the password.** A [pin](Self::certificate_pin) is as little work, and has none of that. A line on
    /// stderr says so once in a process. Only for `rediss://`.
    #[cfg(feature = "tls")]
    pub fn dangerous_accept_any_certificate(mut self) -> Self {
        self.given.certificates.is_unverified = true;
        self
    }

    /// Where the login of this process comes from at each connection attempt, instead of the URL: for tokens that live for a
    /// short time, and for passwords and client certificates that are rotated. See [`CredentialsProvider`] for an example.
    pub fn credentials(mut self, provider: impl CredentialsProvider) -> Self {
        self.given.credentials = Some(Arc::new(provider));
        self
    }

    /// Where the servers of a cluster are for this process, which may not be where they say: behind NAT, or port mappings of a
    /// container. It is called with each host and port that a server announces, and says where that is; `None` is there.
    /// Only for `redis-cluster://`, whose own addresses stay as they are.
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

    /// The user as which this process logs in at the sentinels, if it is not their default user. It needs a
    /// [`sentinel_password`](Self::sentinel_password) as well.
    #[cfg(feature = "sentinel")]
    pub fn sentinel_username(mut self, username: impl Into<String>) -> Self {
        self.given.sentinel_username = Some(username.into());
        self
    }

    /// The password that the sentinels themselves ask for, if they do; that in the URL is for the primary. Only for
    /// `redis-sentinel://`.
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

    /// Makes the tier. This does not connect and needs no runtime; the first operation starts the connection. (For
    /// `rediss://` without a [`root_certificate`](Self::root_certificate), it reads those of the system.)
    ///
    /// # Errors
    /// [`Error::is_config`] when the URL is malformed or asks for something unknown or not compiled in, when a PEM cannot be
    /// used, when a duration is zero, when nothing may be in flight, or when the shortest pause exceeds the longest. No error contains any part of the
    /// URL or of a PEM.
    pub fn build(self) -> Result<RedisTier, Error> {
        let (target, query) = Endpoint::parse(&self.url, &self.given)?;
        let read_timeout = query.read_timeout.unwrap_or(self.operation_timeout);
        let write_timeout = query.write_timeout.unwrap_or(self.write_timeout);
        let connect_timeout = query.connect_timeout.unwrap_or(self.connect_timeout).min(LONGEST);
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
            return Err(Error::config("max_in_flight: nothing could ever be asked"));
        }
        if self.addresses.0.is_some() && matches!(target, Target::One(_)) {
            return Err(Error::config("cluster_address_map: it is for redis-cluster:// only"));
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
        let way = match target {
            Target::One(endpoint) => Way::to_one(settings(endpoint)),
            Target::Cluster(seeds) => Way::Many(Cluster::new(settings, seeds)?),
        };
        Ok(RedisTier { way: Arc::new(way), confirms: Arc::default() })
    }
}

/// Without the URL, which may hold a password, and without the other secrets.
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
