//! Making connections, over TLS or not.

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, io::tcp::TcpSettings,
};

use crate::{connection::Connection, tls::Tls};

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) tls: Option<Tls>,
}

impl Dialer {
    /// A connection that has logged in.
    pub(crate) async fn open(
        &self,
        address: &ConnectionAddr,
        login: &RedisConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        let info = info(address, login)?;
        match (&self.tls, address) {
            (Some(tls), ConnectionAddr::Tcp(host, port)) => {
                tls.connect(host, *port, info.redis_settings(), config.clone()).await
            }
            (_, _) => {
                let client = Client::open(info)?;
                client.get_multiplexed_async_connection_with_config(config).await.map(Connection::from)
            }
        }
    }
}

fn info(address: &ConnectionAddr, login: &RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
    // Without TCP_NODELAY a small request may wait for the acknowledgement of the one before it.
    let tcp = TcpSettings::default().set_nodelay(true);
    // Naming the library on every connection is refused by servers before 7.2 and by narrow ACLs.
    let login = login.clone().set_skip_set_lib_name();
    Ok(address.clone().into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_requests_are_sent_at_once() {
        let address = ConnectionAddr::Tcp("localhost".to_owned(), 1);
        let info = info(&address, &RedisConnectionInfo::default().set_db(2)).unwrap();
        assert!(info.tcp_settings().nodelay());
        assert_eq!(info.redis_settings().db(), 2);
    }
}
