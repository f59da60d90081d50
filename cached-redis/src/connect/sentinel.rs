//! Discovery of the primary through Redis Sentinel.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cached_core::{Error, TierCause};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    RedisResult, Value,
};
use tokio::time::timeout;

use crate::connect::{
    cause::{self},
    connection::Connection,
    credentials::Identity,
    dialer::Dialer,
    stage::Stage,
};

/// Port of a sentinel that is given without one.
const DEFAULT_PORT: u16 = 26_379;

/// The sentinels that monitor a primary.
#[derive(Debug)]
pub(crate) struct Sentinels {
    addresses: Vec<ConnectionAddr>,
    /// Name of the primary in the configuration of the sentinels.
    name: String,
    login: RedisConnectionInfo,
    /// Index of the sentinel to query first.
    first_index: AtomicUsize,
}

/// Address of the primary, as reported by a sentinel.
#[derive(Clone, Debug)]
pub(crate) struct PrimaryAddress {
    pub(crate) primary: ConnectionAddr,
    /// Index of the sentinel that reported it.
    sentinel: usize,
}

impl Sentinels {
    /// Parses `host[:port][,host[:port]…]` and the name of the primary.
    ///
    /// No error quotes any of them.
    pub(crate) fn parse(
        hosts: &str,
        name: &str,
        (username, password): (Option<&str>, Option<&str>),
    ) -> Result<Self, Error> {
        // The characters that Sentinel allows in a name.
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Error::config("redis url: the name of the primary is missing or invalid"));
        }
        let addresses = hosts.split(',').map(parse_sentinel).collect::<Result<_, _>>()?;
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2);
        if username.is_some() && password.is_none() {
            return Err(Error::config("sentinel_username: sentinel_password must be set as well"));
        }
        if let Some(password) = password {
            login = login.set_password(password);
        }
        if let Some(username) = username {
            login = login.set_username(username);
        }
        Ok(Self { addresses, name: name.to_owned(), login, first_index: AtomicUsize::new(0) })
    }

    /// Returns the name and the addresses for display.
    pub(crate) fn label(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        format!("{} of {}", self.name, addresses.join(","))
    }

    pub(crate) fn addresses(&self) -> &[ConnectionAddr] {
        &self.addresses
    }

    /// Queries the sentinels in turn, and returns the first address that one of them reports.
    ///
    /// Each sentinel gets an equal share of `time_limit`, and one more share is left for the connection to the
    /// primary.
    pub(crate) async fn find_primary(
        &self,
        dialer: &Dialer,
        identity: &Identity,
        time_limit: Duration,
    ) -> Result<PrimaryAddress, TierCause> {
        let mut cause = TierCause::NoSentinel;
        let count = self.addresses.len();
        let share = time_limit / u32::try_from(count + 1).unwrap_or(u32::MAX);
        let first_index = self.first_index.load(Ordering::Relaxed);
        for sentinel in (first_index..first_index + count).map(|index| index % count) {
            // Until `verify_primary` succeeds, the next attempt starts at the next sentinel: if this address makes
            // the attempt hang, it must not do so again.
            self.first_index.store((sentinel + 1) % count, Ordering::Relaxed);
            match timeout(share, self.query_sentinel(sentinel, dialer, identity)).await {
                Ok(Ok(Some((host, port)))) => {
                    return Ok(PrimaryAddress { primary: ConnectionAddr::Tcp(host, port), sentinel });
                }
                Ok(Ok(None)) => cause = TierCause::NoPrimary,
                Ok(Err(TierCause::AuthenticationRequired | TierCause::WrongPassword)) => {
                    cause = TierCause::SentinelPassword;
                }
                // The last cause counts, except for that of a sentinel that could not be reached.
                Ok(Err(
                    TierCause::Refused | TierCause::Unreachable | TierCause::HungUp | TierCause::Lost,
                ))
                | Err(_) => {}
                Ok(Err(other)) => cause = other,
            }
        }
        Err(cause)
    }

    async fn query_sentinel(
        &self,
        sentinel: usize,
        dialer: &Dialer,
        identity: &Identity,
    ) -> Result<Option<(String, u16)>, TierCause> {
        let of_error = |error| cause::of_error(&error);
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let stream = dialer.dial(&self.addresses[sentinel], identity, &Stage::new()).await?;
        let mut connection = stream.log_in(&self.login, &config).await.map_err(of_error)?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        command.query_async(&mut *connection).await.map_err(of_error)
    }

    /// Queries the role of the server itself, because a sentinel may be outdated.
    ///
    /// If the server is the primary, the next attempt starts with the same sentinel.
    pub(crate) async fn verify_primary(
        &self,
        reported: &PrimaryAddress,
        connection: &mut Connection,
    ) -> Result<(), TierCause> {
        let role: RedisResult<Vec<Value>> = redis::cmd("ROLE").query_async(&mut **connection).await;
        let role = role.map_err(|error| cause::of_error(&error))?;
        if !matches!(&role[..], [Value::BulkString(role), ..] if role == b"master") {
            return Err(TierCause::NoPrimary);
        }
        self.first_index.store(reported.sentinel, Ordering::Relaxed);
        Ok(())
    }
}

fn parse_sentinel(host: &str) -> Result<ConnectionAddr, Error> {
    // The port follows the bracket of an IPv6 address.
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let url = if has_port { format!("redis://{host}") } else { format!("redis://{host}:{DEFAULT_PORT}") };
    let info = url.into_connection_info().ok();
    info.map(|info| info.addr().clone()).ok_or_else(|| {
        Error::config("redis url: expected redis-sentinel://host[:port][,host[:port]...]/name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentinel_port_has_default() {
        let label = |hosts: &str| Sentinels::parse(hosts, "a-primary.1", (None, None)).unwrap().label();
        assert_eq!(label("one"), "a-primary.1 of one:26379");
        assert_eq!(label("one,two:7,[::1],[::2]:8"), "a-primary.1 of one:26379,two:7,::1:26379,::2:8");
    }
}
