//! The settings as the user gives them.

use std::{fmt, sync::Arc, time::Duration};

use cached_core::Error;

use crate::{
    cluster::Cluster,
    endpoint::{Endpoint, Target},
    settings::Settings,
    tier::RedisTier,
    tls::Certificates,
    way::Way,
};

/// Settings of a [`RedisTier`], made by [`RedisTier::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisTierBuilder {
    url: String,
    certificates: Certificates,
    sentinel_password: Option<String>,
    operation_timeout: Duration,
    write_timeout: Duration,
    connect_timeout: Duration,
    retry_min: Duration,
    retry_max: Duration,
    max_in_flight: usize,
}

impl RedisTierBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            certificates: Certificates::default(),
            sentinel_password: None,
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
    /// A caller waits for it, so it should be short against what a load takes. A lease that exceeds it may still be
    /// taken, and then lasts as long as if its holder had gone.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// The total time of one operation that writes: `fill`, `renew`, `release`, `delete` and `incr`, and of each
    /// step of `delete_matching` and `confirm`. Default: 1 s.
    ///
    /// A write that exceeds it may still take effect; a fill does only if its lease is still there.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The time from the start of a connection attempt until the server has answered over it, and the time
    /// that the server has to answer each later check of the connection. Default: 1 s.
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
        self.certificates.roots.push(pem.into());
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
        self.certificates.own = Some((certificate_pem.into(), key_pem.into()));
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
        self.sentinel_password = Some(password.into());
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
        for (name, duration) in [
            ("operation_timeout", self.operation_timeout),
            ("write_timeout", self.write_timeout),
            ("connect_timeout", self.connect_timeout),
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
        let target = Endpoint::parse(&self.url, &self.certificates, self.sentinel_password.as_deref())?;
        let settings = |endpoint| Settings {
            endpoint,
            read_timeout: self.operation_timeout,
            write_timeout: self.write_timeout,
            connect_timeout: self.connect_timeout,
            retry_min: self.retry_min,
            retry_max: self.retry_max,
            max_in_flight: self.max_in_flight,
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
