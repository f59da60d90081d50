//! Opening of streams, with or without TLS.
//!
//! The streams are opened here and not by redis-rs, so that a failed attempt can be attributed to its step.

use std::io;

use cached_core::TierCause;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo, RedisResult, aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    task::JoinSet,
};

use crate::connect::{
    cause::{self},
    connection::Connection,
    credentials::Identity,
    stage::Stage,
    tls::{Tls, TlsStream},
};

/// Opens streams to servers.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) tls: Option<Tls>,
}

/// A stream to a server to which no command was sent yet.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Dialer {
    /// Opens a stream to an address.
    pub(crate) async fn dial(
        &self,
        address: &ConnectionAddr,
        identity: &Identity,
        stage: &Stage,
    ) -> Result<Stream, TierCause> {
        match address {
            ConnectionAddr::Tcp(host, port) => {
                let stream = connect_tcp(host, *port, stage).await?;
                let Some(tls) = &self.tls else { return Ok(Stream::Tcp(stream)) };
                stage.set(TierCause::Tls);
                let stream = tls.handshake(host, stream, identity).await?;
                stage.set(TierCause::Timeout);
                Ok(Stream::Tls(Box::new(stream)))
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await;
                Ok(Stream::Unix(stream.map_err(|error| cause::of_io(&error))?))
            }
            _ => Err(TierCause::Unreachable),
        }
    }
}

impl Stream {
    /// Logs in over this stream, and returns the connection.
    pub(crate) async fn log_in(
        self,
        login: &RedisConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        // Servers before 7.2 and narrow ACLs refuse the command that names the client library.
        let login = login.clone().set_skip_set_lib_name();
        match self {
            Self::Tcp(stream) => log_in(stream, &login, config).await,
            Self::Tls(stream) => log_in(*stream, &login, config).await,
            #[cfg(unix)]
            Self::Unix(stream) => log_in(stream, &login, config).await,
        }
    }
}

async fn log_in(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    login: &RedisConnectionInfo,
    config: &AsyncConnectionConfig,
) -> RedisResult<Connection> {
    let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config.clone()).await?;
    Ok(Connection::spawn(connection, driver))
}

/// Connects to all addresses of a host concurrently, and returns the first stream.
async fn connect_tcp(host: &str, port: u16, stage: &Stage) -> Result<TcpStream, TierCause> {
    stage.set(TierCause::UnknownHost);
    let addresses = lookup_host((host, port)).await.map_err(|_| TierCause::UnknownHost)?;
    stage.set(TierCause::Timeout);
    let mut attempts = JoinSet::new();
    for address in addresses {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut cause = TierCause::UnknownHost;
    while let Some(outcome) = attempts.join_next().await {
        match outcome.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionAborted.into())) {
            Ok(stream) => {
                // Otherwise a small request may wait for the acknowledgement of the one before it.
                stream.set_nodelay(true).map_err(|error| cause::of_io(&error))?;
                return Ok(stream);
            }
            Err(error) => cause = cause::of_io(&error),
        }
    }
    Err(cause)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn tcp_stream_has_nodelay_set() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream =
            connect_tcp("127.0.0.1", listener.local_addr().unwrap().port(), &Stage::new()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
