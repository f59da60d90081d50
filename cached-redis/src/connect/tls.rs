//! Connections over TLS.
//!
//! redis-rs would set up TLS with the cryptography provider of the process, and panics if there is none or a
//! choice of two. This module opens the stream itself: with the provider that the application has installed,
//! or else with a provider that it does not install. So the root certificates are also read once, and not for
//! each connection.

use std::{
    fmt, io,
    sync::{Arc, Once},
};

use cached_core::{CertificateFault, Error, TierCause};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
        SignatureScheme, SupportedCipherSuite,
        client::{
            WebPkiServerVerifier,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{
            CryptoProvider,
            hash::{Hash, HashAlgorithm},
            ring, verify_tls12_signature, verify_tls13_signature,
        },
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};

use crate::connect::credentials::Identity;

pub(crate) type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// TLS settings given by the user, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// Root certificates to trust instead of those of the system.
    pub(crate) roots: Vec<Vec<u8>>,
    /// Certificate of this process with the chain to its root, and its key.
    pub(crate) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Name that the server's certificate must have instead of the host.
    pub(crate) server_name: Option<String>,
    /// SHA-256 of the only certificates that are accepted, if there are any.
    pub(crate) pins: Vec<[u8; 32]>,
    /// Set if any certificate is accepted.
    pub(crate) is_unverified: bool,
}

impl Certificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty()
            && self.client_certificate.is_none()
            && self.server_name.is_none()
            && self.pins.is_empty()
            && !self.is_unverified
    }
}

/// Opens connections over TLS, to servers that prove their identity as the settings require.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    server_name: Option<ServerName<'static>>,
    /// Connector with the client certificate of the settings, if there is one.
    connector: TlsConnector,
}

impl Tls {
    /// Creates the TLS setup.
    ///
    /// Every error text is fixed, as the parser's own texts may quote the PEM.
    pub(crate) fn new(certificates: &Certificates) -> Result<Self, Error> {
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let verifier = verifier(certificates, &provider)?;
        let server_name = certificates.server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name
            .map_err(|_| Error::config("server_name: a certificate cannot be issued for such a name"))?;
        let client_certificate =
            certificates.client_certificate.as_ref().map(|(chain, key)| (&chain[..], &key[..]));
        let connector = connector(&provider, &verifier, client_certificate)?;
        Ok(Self { provider, verifier, server_name, connector })
    }

    /// Returns whether a certificate can be issued for `host`.
    pub(crate) fn is_valid_host(host: &str) -> bool {
        ServerName::try_from(host).is_ok()
    }

    /// Negotiates TLS over a stream to `host`.
    pub(crate) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
        identity: &Identity,
    ) -> Result<TlsStream, TierCause> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| TierCause::Tls)?,
        };
        let stream = match identity.certificate() {
            None => self.connector.connect(name, stream).await,
            Some(client_certificate) => {
                let connector = connector(&self.provider, &self.verifier, Some(client_certificate));
                connector.map_err(|_| TierCause::Credentials)?.connect(name, stream).await
            }
        };
        stream.map_err(|error| cause(&error).unwrap_or(TierCause::Tls))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Returns the cause of a TLS error; `None` for any other error.
///
/// A server that does not accept the certificate of this process may report that only at a later read.
pub(crate) fn cause(error: &io::Error) -> Option<TierCause> {
    use CertificateFault as Fault;
    let fault = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => match error {
            // `BadSignature`: the issuer only has the name of a trusted one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Fault::NotYetValid,
            CertificateError::ApplicationVerificationFailure => Fault::NotPinned,
            _ => Fault::Unusable,
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // The server could not verify a signature of this process, or of its authority.
            | AlertDescription::DecryptError,
        ) => return Some(TierCause::ClientCertificate),
        _ => return Some(TierCause::Tls),
    };
    Some(TierCause::Certificate(fault))
}

fn connector(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<dyn ServerCertVerifier>,
    client_pem: Option<(&[u8], &[u8])>,
) -> Result<TlsConnector, Error> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::config("tls: the installed cryptography provider has no usable cipher suite"))?
        // The verifier is as strict as the settings require.
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier));
    let config = match client_pem {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let (chain, key) = parse_client_certificate(chain, key)?;
            config.with_client_auth_cert(chain, key).map_err(|_| {
                Error::config("client_certificate: the key cannot be used, or belongs to another certificate")
            })?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the verifier for the certificate of the server.
fn verifier(
    certificates: &Certificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let Certificates { roots: root_pems, pins, is_unverified, .. } = certificates;
    if *is_unverified {
        if !pins.is_empty() || !root_pems.is_empty() {
            return Err(Error::config(
                "dangerous_accept_any_certificate: root_certificate and certificate_pin must not be set, \
                 because nothing is verified",
            ));
        }
        warn_once();
        return Ok(Arc::new(Unverified(Arc::clone(provider))));
    }
    if !pins.is_empty() {
        if !root_pems.is_empty() {
            return Err(Error::config(
                "certificate_pin: root_certificate must not be set as well, because a pin replaces it",
            ));
        }
        let sha256 = sha256(provider).ok_or_else(|| {
            Error::config("certificate_pin: the installed cryptography provider has no SHA-256")
        })?;
        return Ok(Arc::new(Pinned { pins: pins.clone(), sha256, provider: Arc::clone(provider) }));
    }
    let roots = Arc::new(root_store(root_pems)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    Ok(verifier.map_err(|_| Error::config("tls: the root certificates cannot be used"))?)
}

/// Warns on stderr, once per process and independent of the log level.
fn warn_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        eprintln!(
            "cached-aside: DANGER: the certificate of Redis is not verified \
             (dangerous_accept_any_certificate): an attacker on the network can read and change cached \
             values, and read the password"
        );
    });
}

fn sha256(provider: &CryptoProvider) -> Option<&'static dyn Hash> {
    let hash = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    };
    provider.cipher_suites.iter().map(hash).find(|hash| hash.algorithm() == HashAlgorithm::SHA256)
}

/// Accepts the pinned certificates.
///
/// The signature proves as usual that the server has the key.
struct Pinned {
    pins: Vec<[u8; 32]>,
    sha256: &'static dyn Hash,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = self.sha256.hash(end_entity);
        if self.pins.iter().any(|pin| pin[..] == *fingerprint.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn root_store(pems: &[Vec<u8>]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if pems.is_empty() {
        // Certificates of an unknown kind are skipped; the others count.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(Error::config(
                "tls: this system has no root certificates: set one with root_certificate",
            ));
        }
        return Ok(store);
    }
    for pem in pems {
        let refused = |_| Error::config("root_certificate: it holds a certificate that cannot be used");
        for certificate in parse_certificates(pem, "root_certificate")? {
            store.add(certificate).map_err(refused)?;
        }
    }
    Ok(store)
}

fn parse_client_certificate(
    chain_pem: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = parse_certificates(chain_pem, "client_certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::config("client_certificate: the key is not a private key in PEM"))?;
    Ok((chain, key))
}

/// Returns all certificates in a PEM. Fails if there are none.
fn parse_certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if certificates.is_empty() {
        return Err(Error::config(format!("{name}: expected one or more certificates in PEM")));
    }
    Ok(certificates)
}
