//! Causes for which a shared tier is not used, or only in part.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Cause for which a shared tier is not used, or only in part.
///
/// It holds no address, no user name and no password. `Display` describes in one line the fault and the thing
/// to check. [`name`](Self::name) is a short, stable identifier. More causes may come.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::TierCause;
///
/// let cause = TierCause::NotPermitted("client|tracking".to_owned());
/// assert_eq!(cause.name(), "not_permitted");
/// assert_eq!(cause.to_string(), "the user may not run `client|tracking`: the documentation lists the needed rights");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TierCause {
    /// No task can be spawned here, or the runtime on which the connection was made has ended.
    NoRuntime,
    /// A server is not connected yet, such as one that has just joined a cluster.
    Connecting,
    /// The host's name cannot be resolved.
    UnknownHost,
    /// Nothing listens at the address.
    Refused,
    /// There is no route to the address.
    Unreachable,
    /// The server did not answer within the connect timeout.
    Timeout,
    /// The connection was closed, or sent data that cannot be parsed.
    Lost,
    /// The server accepted the connection, and closed it instead of answering.
    HungUp,
    /// The TLS handshake failed, for example because the port does not use TLS.
    Tls,
    /// The certificate of the server was rejected.
    Certificate(CertificateFault),
    /// The server rejected the certificate of this process, or asked for one that is not configured.
    ClientCertificate,
    /// The provider of credentials returned an error, or took too long.
    Credentials,
    /// The user is unknown to the server, or the password is wrong.
    WrongPassword,
    /// The server asks for a password, and none is configured.
    AuthenticationRequired,
    /// The server accepts connections from its own machine only.
    ProtectedMode,
    /// The server has reached its limit of clients.
    TooManyClients,
    /// There is no database with this number.
    NoSuchDatabase,
    /// The user may not run this command, which is in lower case.
    ///
    /// The text is `keys` if the user may run the command, but not on these keys.
    NotPermitted(String),
    /// The server is part of a cluster, but is configured as a standalone server.
    IsCluster,
    /// The server is not part of a cluster, but is configured as one.
    NoCluster,
    /// No sentinel answered.
    NoSentinel,
    /// The sentinels ask for a password, or for another one.
    SentinelPassword,
    /// The sentinels know no primary of this name, or name a server that is not a primary.
    NoPrimary,
    /// The server does not support RESP3, which pushes of changes need.
    NoResp3,
    /// The server sends no pushes of changes although tracking is on, or they do not arrive.
    NoTracking,
    /// The server rejects writes: it is a replica.
    ReadOnly,
    /// The server is still loading its data.
    Loading,
    /// The server is a replica that has lost its primary.
    PrimaryDown,
    /// The cluster does not have all of its slots, or the server is cut off from the others.
    ClusterDown,
    /// The server cannot run the scripts that store values: it is older than Redis 6.0, or has no scripts.
    TooOld,
    /// The server has no memory left for writes.
    Full,
    /// Answers take longer than a caller waits: the server hangs, is slow, or is far away.
    Slow,
    /// The server refused with this error code.
    Code(String),
}

/// Fault of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CertificateFault {
    /// The certificate was not signed by a trusted authority.
    UnknownIssuer,
    /// The certificate is for another host.
    WrongName,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet, or a clock is wrong.
    NotYetValid,
    /// The certificate is not one of those that were pinned.
    NotPinned,
    /// The certificate has another fault.
    Unusable,
}

impl TierCause {
    /// Returns a short, stable name for labels and alerts, such as `wrong_password`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoRuntime => "no_runtime",
            Self::Connecting => "connecting",
            Self::UnknownHost => "unknown_host",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::HungUp => "hung_up",
            Self::Tls => "tls",
            Self::Certificate(_) => "certificate",
            Self::ClientCertificate => "client_certificate",
            Self::Credentials => "credentials",
            Self::WrongPassword => "wrong_password",
            Self::AuthenticationRequired => "authentication_required",
            Self::ProtectedMode => "protected_mode",
            Self::TooManyClients => "too_many_clients",
            Self::NoSuchDatabase => "no_such_database",
            Self::NotPermitted(_) => "not_permitted",
            Self::IsCluster => "is_cluster",
            Self::NoCluster => "no_cluster",
            Self::NoSentinel => "no_sentinel",
            Self::SentinelPassword => "sentinel_password",
            Self::NoPrimary => "no_primary",
            Self::NoResp3 => "no_resp3",
            Self::NoTracking => "no_tracking",
            Self::ReadOnly => "read_only",
            Self::Loading => "loading",
            Self::PrimaryDown => "primary_down",
            Self::ClusterDown => "cluster_down",
            Self::TooOld => "too_old",
            Self::Full => "full",
            Self::Slow => "slow",
            Self::Code(_) => "code",
        }
    }
}

impl fmt::Display for TierCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRuntime => "its connection needs a tokio runtime with time and I/O, and there is none",
            Self::Connecting => "one of its servers is not connected yet",
            Self::UnknownHost => "the host's name cannot be resolved",
            Self::Refused => "the connection is refused: nothing listens at this address",
            Self::Unreachable => "there is no route to the address",
            Self::Timeout => "the server did not answer within the connect timeout",
            Self::Lost => "the connection was lost",
            Self::HungUp => {
                "the server closed the connection instead of answering: is it Redis, and does the port expect TLS?"
            }
            Self::Tls => "the TLS handshake failed: does the port expect TLS?",
            Self::Certificate(fault) => return write!(f, "the server's certificate is not accepted: {fault}"),
            Self::ClientCertificate => "the server rejected the client certificate of this process, or requires one",
            Self::Credentials => "the provider of credentials returned an error, or took too long",
            Self::WrongPassword => "the user or the password is wrong",
            Self::AuthenticationRequired => "the server requires a password, and none is configured",
            Self::ProtectedMode => "the server is in protected mode: it needs a password, or a `bind` address",
            Self::TooManyClients => "the server has reached its limit of clients (`maxclients`)",
            Self::NoSuchDatabase => "the server has no database with this number",
            Self::NotPermitted(what) if what == "keys" => {
                "the user may not use these keys: it needs the pattern `namespace:*`"
            }
            Self::NotPermitted(command) => {
                return write!(f, "the user may not run `{command}`: the documentation lists the needed rights");
            }
            Self::IsCluster => "the server is part of a cluster: use redis-cluster://",
            Self::NoCluster => "the server is not part of a cluster: use redis://",
            Self::NoSentinel => "no sentinel answered",
            Self::SentinelPassword => "the sentinels require a password, or a different one",
            Self::NoPrimary => "the sentinels know no primary of this name, or name a server that is not a primary",
            Self::NoResp3 => "the connection uses RESP2, over which the server cannot push changes",
            Self::NoTracking => "the pushes of changes from the server do not arrive",
            Self::ReadOnly => "the server is a replica and rejects writes",
            Self::Loading => "the server is still loading its data",
            Self::PrimaryDown => "the server is a replica that has lost its primary",
            Self::ClusterDown => "the cluster does not have all of its slots, or the server is cut off from it",
            Self::TooOld => {
                "the server cannot run the scripts that store values: it is older than Redis 6.0, or has no scripts"
            }
            Self::Full => "the server has no memory left (`maxmemory`)",
            Self::Slow => {
                "answers take longer than a caller waits: the server hangs, is slow, or is farther away than the read timeout allows"
            }
            Self::Code(code) => return write!(f, "the server refused with {code}"),
        })
    }
}

/// Lets callers propagate the cause with `?`.
impl std::error::Error for TierCause {}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "it was signed by an authority that is not trusted",
            Self::WrongName => "it is for another host",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::NotPinned => "it is not one of those that were pinned",
            Self::Unusable => "it cannot be used",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_name_equals_its_serialized_name() {
        for cause in [
            TierCause::HungUp,
            TierCause::NoResp3,
            TierCause::Certificate(CertificateFault::WrongName),
            TierCause::NotPermitted("eval".to_owned()),
            TierCause::Code("MISCONF".to_owned()),
        ] {
            let json = serde_json::to_value(&cause).unwrap();
            let name = json.as_str().or_else(|| json.as_object()?.keys().next().map(String::as_str));
            assert_eq!(name, Some(cause.name()));
            assert_eq!(serde_json::from_value::<TierCause>(json.clone()).unwrap(), cause);
        }
    }
}
