//! The login of this process, requested anew for each connection.

use std::{fmt, future::Future, sync::Arc};

use async_trait::async_trait;
use cached_core::TierCause;

use crate::connect::stage::Stage;

/// Error of a provider of credentials.
///
/// The error is never shown, because its text may hold a secret. The cause is [`TierCause::Credentials`].
pub type CredentialsError = Box<dyn std::error::Error + Send + Sync>;

/// Provider of the login of this process, called for each connection.
///
/// A provider suits tokens with a short lifetime, and passwords and certificates that are rotated. If the
/// server ends a connection because its token has expired, the connection is replaced at once, with the
/// credentials that the provider returns then.
///
/// The provider is called once for each attempt, within the
/// [connect timeout](crate::RedisTierBuilder::connect_timeout). While Redis cannot be reached, that is about
/// once a second, so the provider should return the same token as long as it is valid. Its errors and panics
/// count as a failed attempt.
///
/// An async closure is a provider:
///
/// ```
/// use std::time::Duration;
///
/// use cached_redis::{Credentials, RedisTier};
///
/// # struct Signer;
/// # impl Signer { async fn token(&self, _: Duration) -> Result<String, std::io::Error> { Ok(String::new()) } }
/// # fn example(signer: std::sync::Arc<Signer>) -> Result<(), cached_core::Error> {
/// let tier = RedisTier::builder("redis://cache.internal:6379")
///     .credentials(move || {
///         let signer = signer.clone();
///         async move {
///             // As for ElastiCache with IAM, where a token can be used for 15 minutes.
///             let token = signer.token(Duration::from_secs(900)).await?;
///             Ok(Credentials::new().username("app").password(token))
///         }
///     })
///     .build()?;
/// # Ok(()) }
/// ```
#[async_trait]
pub trait CredentialsProvider: Send + Sync + 'static {
    /// Returns the current login.
    async fn credentials(&self) -> Result<Credentials, CredentialsError>;
}

#[async_trait]
impl<F, R> CredentialsProvider for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<Credentials, CredentialsError>> + Send,
{
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self().await
    }
}

/// Credentials that a process presents to a server.
///
/// `Debug` shows which parts are set, and no part itself.
#[derive(Clone, Default)]
#[must_use]
pub struct Credentials {
    username: Option<String>,
    password: Option<String>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl Credentials {
    /// Creates credentials without a user, a password or a certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the user; without one it is `default`.
    pub fn username(self, username: impl Into<String>) -> Self {
        Self { username: Some(username.into()), ..self }
    }

    /// Sets the password, or the token in its place.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// Sets the certificate and the private key, for TLS only.
    ///
    /// They have the format of [`client_certificate`](crate::RedisTierBuilder::client_certificate), and
    /// replace those.
    #[cfg(feature = "tls")]
    pub fn client_certificate(
        self,
        certificate_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        Self { certificate: Some((certificate_pem.into(), key_pem.into())), ..self }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username.is_some())
            .field("password", &self.password.is_some())
            .field("client_certificate", &self.certificate.is_some())
            .finish()
    }
}

/// Credentials for one attempt, or nothing if there is no provider.
#[derive(Debug, Default)]
pub(crate) struct Identity(Option<Credentials>);

impl Identity {
    /// Requests the credentials, if there is a provider.
    pub(crate) async fn request(
        provider: Option<&Arc<dyn CredentialsProvider>>,
        stage: &Stage,
    ) -> Result<Self, TierCause> {
        let Some(provider) = provider.map(Arc::clone) else { return Ok(Self::default()) };
        stage.set(TierCause::Credentials);
        // In a separate task, so that a panic of the provider does not end the task that connects.
        let task = AbortOnDrop(tokio::spawn(async move { provider.credentials().await }));
        let credentials = task.outcome().await.ok_or(TierCause::Credentials)?;
        stage.set(TierCause::Timeout);
        Ok(Self(Some(credentials)))
    }

    /// Returns `login` with the user and the password from the provider, if there are any.
    pub(crate) fn login(&self, login: &redis::RedisConnectionInfo) -> redis::RedisConnectionInfo {
        let mut login = login.clone();
        let Some(credentials) = &self.0 else { return login };
        if let Some(username) = &credentials.username {
            login = login.set_username(username);
        }
        if let Some(password) = &credentials.password {
            login = login.set_password(password);
        }
        login
    }

    /// Returns the certificate and its key from the provider.
    #[cfg(feature = "tls")]
    pub(crate) fn certificate(&self) -> Option<(&[u8], &[u8])> {
        let (certificate, key) = self.0.as_ref()?.certificate.as_ref()?;
        Some((certificate, key))
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<Result<Credentials, CredentialsError>>);

impl AbortOnDrop {
    async fn outcome(mut self) -> Option<Credentials> {
        (&mut self.0).await.ok()?.ok()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
