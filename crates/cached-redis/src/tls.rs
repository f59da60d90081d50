//! Connections over TLS.
//!
//! redis-rs would set TLS up with the provider of cryptography of the whole process, and panics if there is none or a
//! choice of two. This module makes the stream itself: with the application's provider if it has installed one, or
//! else with one of its own, which it installs nowhere. So the roots are also read once, not at each connection.

use std::{fmt, io, sync::Arc};

use cached_core::Error;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult, aio::MultiplexedConnection};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use crate::connection::Connection;

/// What the user gives for TLS, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// Whom to trust, instead of the roots of the system.
    pub(crate) roots: Vec<Vec<u8>>,
    /// A certificate of our own, with those that lead to its root, and its key.
    pub(crate) own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.own.is_none()
    }
}

/// Makes connections over TLS. Whoever is at the other end must prove that he is who was asked for.
pub(crate) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Every error text is fixed: what the parser says may quote the PEM.
    pub(crate) fn new(certificates: &Certificates) -> Result<Self, Error> {
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::config("tls: the installed provider of cryptography has no usable cipher"))?
            .with_root_certificates(roots(&certificates.roots)?);
        let config = match &certificates.own {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = own(chain, key)?;
                config.with_client_auth_cert(chain, key).map_err(|_| {
                    Error::config(
                        "client_certificate: the key cannot be used, or belongs to another certificate",
                    )
                })?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Whether a certificate can be about `host`.
    pub(crate) fn can_name(host: &str) -> bool {
        ServerName::try_from(host).is_ok()
    }

    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> RedisResult<Connection> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = dial(host, port).await?;
        // Without it a small request may wait for the acknowledgement of the one before it.
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(name, stream).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
        Ok(Connection::driven(connection, driver))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Tries all addresses of a host at once, and takes the one that answers first.
async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    for address in lookup_host((host, port)).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    while let Some(outcome) = attempts.join_next().await {
        if let Ok(Ok(stream)) = outcome {
            return Ok(stream);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn roots(given: &[Vec<u8>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if given.is_empty() {
        // Some may be of a kind that is not understood; the others count.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(Error::config(
                "tls: this system has no root certificates: give one with root_certificate",
            ));
        }
        return Ok(store);
    }
    for pem in given {
        let refused = |_| Error::config("root_certificate: it holds a certificate that cannot be used");
        for certificate in chain(pem, "root_certificate")? {
            store.add(certificate).map_err(refused)?;
        }
    }
    Ok(store)
}

fn own(
    chain_pem: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = chain(chain_pem, "client_certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::config("client_certificate: the key is not a private key in PEM"))?;
    Ok((chain, key))
}

/// All certificates in a PEM, of which there must be one.
fn chain(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if certificates.is_empty() {
        return Err(Error::config(format!("{name}: expected one or more certificates in PEM")));
    }
    Ok(certificates)
}
