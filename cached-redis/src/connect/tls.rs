//! Connections over TLS.
//!
//! redis-rs would set TLS up with the provider of cryptography of the whole process, and panics if there is none or a
//! choice of two. This module makes the stream itself: with the application's provider if it has installed one, or
//! else with one of its own, which it installs nowhere. So the roots are also read once, not at each connection.

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

/// What the user gives for TLS, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// Whom to trust, instead of the roots of the system.
    pub(crate) roots: Vec<Vec<u8>>,
    /// A certificate of our own, with those that lead to its root, and its key.
    pub(crate) own: Option<(Vec<u8>, Vec<u8>)>,
    /// What the server's certificate must be about, instead of its host.
    pub(crate) server_name: Option<String>,
    /// SHA-256 of the only certificates that are accepted, if there are any.
    pub(crate) pins: Vec<[u8; 32]>,
    /// Any certificate is accepted.
    pub(crate) is_unverified: bool,
}

impl Certificates {
    pub(crate) fn is_empty(&self) -> bool {
        self.roots.is_empty()
            && self.own.is_none()
            && self.server_name.is_none()
            && self.pins.is_empty()
            && !self.is_unverified
    }
}

/// Makes connections over TLS. The other end must prove that it is the one that was asked for, as the settings say.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    server_name: Option<ServerName<'static>>,
    /// With the certificate that was given, if one was.
    connector: TlsConnector,
}

impl Tls {
    /// Every error text is fixed: what the parser says may quote the PEM.
    pub(crate) fn new(certificates: &Certificates) -> Result<Self, Error> {
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let verifier = verifier(certificates, &provider)?;
        let server_name = certificates.server_name.clone().map(ServerName::try_from).transpose();
        let server_name =
            server_name.map_err(|_| Error::config("server_name: no certificate can be about such a name"))?;
        let own = certificates.own.as_ref().map(|(chain, key)| (&chain[..], &key[..]));
        let connector = connector(&provider, &verifier, own)?;
        Ok(Self { provider, verifier, server_name, connector })
    }

    /// Whether a certificate can be about `host`.
    pub(crate) fn can_name(host: &str) -> bool {
        ServerName::try_from(host).is_ok()
    }

    /// Agrees on TLS over a connection to `host`.
    pub(crate) async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
        identity: &Identity,
    ) -> Result<TlsStream, TierCause> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(|_| TierCause::Tls)?,
        };
        let secured = match identity.certificate() {
            None => self.connector.connect(name, stream).await,
            Some(own) => {
                let connector = connector(&self.provider, &self.verifier, Some(own));
                connector.map_err(|_| TierCause::Credentials)?.connect(name, stream).await
            }
        };
        secured.map_err(|error| cause(&error).unwrap_or(TierCause::Tls))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What an error of TLS means; `None` if it is none. A server that does not accept our certificate may say so only
/// when something is read.
pub(crate) fn cause(error: &io::Error) -> Option<TierCause> {
    use CertificateFault as Fault;
    let fault = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => match error {
            // By one that only is called like one that is trusted.
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
            // What it could not verify was signed by us, or by our authority.
            | AlertDescription::DecryptError,
        ) => return Some(TierCause::ClientCertificate),
        _ => return Some(TierCause::Tls),
    };
    Some(TierCause::Certificate(fault))
}

fn connector(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<dyn ServerCertVerifier>,
    own_pem: Option<(&[u8], &[u8])>,
) -> Result<TlsConnector, Error> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::config("tls: the installed provider of cryptography has no usable cipher"))?
        // It verifies as the settings say.
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier));
    let config = match own_pem {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            let (chain, key) = own(chain, key)?;
            config.with_client_auth_cert(chain, key).map_err(|_| {
                Error::config("client_certificate: the key cannot be used, or belongs to another certificate")
            })?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// How the certificate of the server is verified.
fn verifier(
    certificates: &Certificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let Certificates { roots: given, pins, is_unverified, .. } = certificates;
    if *is_unverified {
        if !pins.is_empty() || !given.is_empty() {
            return Err(Error::config(
                "dangerous_accept_any_certificate: there is nothing to verify with a root or a pin then",
            ));
        }
        warn_once();
        return Ok(Arc::new(Unverified(Arc::clone(provider))));
    }
    if !pins.is_empty() {
        if !given.is_empty() {
            return Err(Error::config("certificate_pin: it stands in the place of a root certificate"));
        }
        let sha256 = sha256(provider).ok_or_else(|| {
            Error::config("certificate_pin: the installed provider of cryptography has no SHA-256")
        })?;
        return Ok(Arc::new(Pinned { pins: pins.clone(), sha256, provider: Arc::clone(provider) }));
    }
    let roots = Arc::new(roots(given)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    Ok(verifier.map_err(|_| Error::config("tls: the root certificates cannot be used"))?)
}

/// Once in a process, whatever the log is set to.
fn warn_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        eprintln!(
            "cached-aside: DANGER: the certificate of Redis is not verified (dangerous_accept_any_certificate): \
             anything in between can read and change what is cached, and learns the password"
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

/// Accepts certain certificates. That the server has the key to it is proven by its signature, as always.
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
        let print = self.sha256.hash(end_entity);
        if self.pins.iter().any(|pin| pin[..] == *print.as_ref()) {
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

/// Accepts every certificate, and every signature.
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
