//! Connections over TLS, and connections that must not be established.

use std::{
    fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cached_core::{
    CertificateFault, TierCause, TierError,
    tier::{LeaseMode, Tier},
};
use cached_redis::{Credentials, RedisTier, RedisTierBuilder};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use redis_harness::{Proxy, RedisServer, eventually, eventually_async};

use crate::{
    settings::{assert_error_hides_credentials, assert_no_credentials, config_error},
    support::{
        MINUTE, Recorder, attach, builder, bytes, debug_field, delete, feed, fill, lease, lease_request, put,
        tier_fill, token, wait_until_down, wait_until_up,
    },
};

/// Certificate authority of one test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its private key.
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

/// Folder of one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cached-aside-tls-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the options of a server with a certificate for `name`.
fn options(
    authority: &Authority,
    folder: &Folder,
    name: &str,
    requires_client_certificate: bool,
) -> Vec<String> {
    let signed = authority.sign(name);
    [
        "--tls-ca-cert-file",
        &folder.write("ca.pem", &authority.pem),
        "--tls-cert-file",
        &folder.write("server.pem", &signed.certificate),
        "--tls-key-file",
        &folder.write("server.key", &signed.key),
        "--tls-auth-clients",
        if requires_client_certificate { "yes" } else { "no" },
    ]
    .map(str::to_owned)
    .to_vec()
}

/// A server with a certificate, and the authority that signed it.
pub(crate) struct Secured {
    pub(crate) server: RedisServer,
    pub(crate) authority: Authority,
    folder: Folder,
}

impl Secured {
    /// Starts a server with a certificate for `name`. With `asks`, clients need a certificate as well.
    pub(crate) fn start(name: &str, requires_client_certificate: bool) -> Self {
        let (authority, folder) = (Authority::new(), Folder::new());
        let options = options(&authority, &folder, name, requires_client_certificate);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        Self { server: RedisServer::start_with_tls(&options), authority, folder }
    }

    /// Returns the options of another server with a certificate of the same authority.
    #[cfg(feature = "sentinel")]
    pub(crate) fn options(&self, name: &str, requires_client_certificate: bool) -> Vec<String> {
        options(&self.authority, &self.folder, name, requires_client_certificate)
    }

    fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}/", self.server.tls_port())
    }

    fn builder(&self) -> RedisTierBuilder {
        builder(&self.url()).root_certificate(&*self.authority.pem)
    }

    fn tier(&self) -> RedisTier {
        self.builder().build().unwrap()
    }
}

/// Asserts that a tier with these settings tries repeatedly to reach the server at `port`, and fails.
async fn assert_stays_down(
    port: u16,
    scheme: &str,
    settings: impl FnOnce(RedisTierBuilder) -> RedisTierBuilder,
) {
    let proxy = Proxy::start(port);
    let url = format!("{scheme}://127.0.0.1:{}/", proxy.port());
    // Two sides with different protocols may each wait for the other.
    let builder = builder(&url).connect_timeout(Duration::from_millis(500));
    let tier = settings(builder).build().unwrap();
    eventually_async("the tier tries again and again", async || {
        assert!(matches!(tier.exists("key").await, Err(TierError::Unavailable)));
        proxy.connections() >= 3
    })
    .await;
    wait_until_down(&tier).await;
    assert!(format!("{tier:?}").contains("Down"), "{tier:?}");
}

#[tokio::test]
async fn server_with_a_certificate_of_the_given_authority_is_used() {
    let secured = Secured::start("127.0.0.1", false);
    let tier = secured.tier();
    put(&tier, "key", vec![7; 100_000], MINUTE).await.unwrap();
    assert_eq!(bytes(&tier, "key").await, Some(vec![7; 100_000]));
    assert_eq!(secured.server.cli(&["EXISTS", "key"]), "1");
}

#[tokio::test]
async fn certificate_may_contain_a_host_name() {
    let secured = Secured::start("localhost", false);
    let url = format!("valkeys://localhost:{}/2", secured.server.tls_port());
    // An authority that signed nothing does no harm.
    let builder = builder(&url).root_certificate(Authority::new().pem);
    let tier = builder.root_certificate(&*secured.authority.pem).build().unwrap();
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
}

#[tokio::test]
async fn client_certificate_is_accepted() {
    let secured = Secured::start("127.0.0.1", true);
    let own = secured.authority.sign("a client");
    let tier = secured.builder().client_certificate(own.certificate, own.key).build().unwrap();
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
    assert_eq!(bytes(&tier, "key").await, Some(vec![1]));
}

#[tokio::test]
async fn server_that_requires_a_certificate_refuses_other_clients() {
    let secured = Secured::start("127.0.0.1", true);
    let port = secured.server.tls_port();
    let trusting = |builder: RedisTierBuilder| builder.root_certificate(&*secured.authority.pem);
    assert_stays_down(port, "rediss", trusting).await;
    let foreign = Authority::new().sign("a client");
    let with_foreign = |builder| trusting(builder).client_certificate(foreign.certificate, foreign.key);
    assert_stays_down(port, "rediss", with_foreign).await;
}

#[tokio::test]
async fn certificate_of_another_authority_is_refused() {
    let secured = Secured::start("127.0.0.1", false);
    let port = secured.server.tls_port();
    assert_stays_down(port, "rediss", |builder| builder.root_certificate(Authority::new().pem)).await;
    // No authority of the system has signed the certificate either, if the system has any.
    if let Err(error) = RedisTier::builder("rediss://localhost/").build() {
        assert!(error.to_string().contains("set one with root_certificate"), "{error}");
        return;
    }
    assert_stays_down(port, "rediss", |builder| builder).await;
}

#[tokio::test]
async fn certificate_of_another_host_is_refused() {
    let secured = Secured::start("elsewhere.example", false);
    let trusting = |builder: RedisTierBuilder| builder.root_certificate(&*secured.authority.pem);
    assert_stays_down(secured.server.tls_port(), "rediss", trusting).await;
}

#[tokio::test]
async fn connection_fails_when_only_one_side_uses_tls() {
    let secured = Secured::start("127.0.0.1", false);
    let trusting = |builder: RedisTierBuilder| builder.root_certificate(&*secured.authority.pem);
    assert_stays_down(secured.server.port(), "rediss", trusting).await;
    assert_stays_down(secured.server.tls_port(), "redis", |builder| builder).await;
}

#[tokio::test]
async fn hung_handshake_is_abandoned() {
    let secured = Secured::start("127.0.0.1", false);
    let tier = secured.builder().connect_timeout(Duration::from_millis(200)).build().unwrap();
    secured.server.freeze();
    assert_eq!(tier.exists("key").await, Err(TierError::Unavailable));
    assert!(!tier.ready());
    secured.server.thaw();
    wait_until_up(&tier).await;
}

#[tokio::test]
async fn lost_tls_connection_is_replaced() {
    let mut secured = Secured::start("127.0.0.1", false);
    let tier = secured.tier();
    for _ in 0..2 {
        wait_until_up(&tier).await;
        secured.server.kill();
        wait_until_down(&tier).await;
        secured.server.restart();
    }
    wait_until_up(&tier).await;
    put(&tier, "key", vec![1], MINUTE).await.unwrap();
}

#[tokio::test]
async fn changes_are_pushed_over_tls() {
    let secured = Secured::start("127.0.0.1", false);
    let (tier, recorder) = (secured.tier(), std::sync::Arc::new(Recorder::default()));
    attach(&tier, recorder.clone());
    wait_until_up(&tier).await;
    put(&tier, "ns:key", vec![1], MINUTE).await.unwrap();
    assert!(bytes(&tier, "ns:key").await.is_some());
    recorder.take();

    secured.server.cli(&["DEL", "ns:key"]);
    recorder.wait_for_change("ns:key").await;
    assert_eq!(debug_field(&*feed(&tier).await, "is_tracked"), "true");
}

#[test]
fn dropping_the_tier_ends_a_connection_that_cannot_be_written_to() {
    let secured = Secured::start("127.0.0.1", false);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tier = secured.builder().write_timeout(Duration::from_millis(200)).build().unwrap();
    runtime.block_on(wait_until_up(&tier));
    secured.server.freeze();
    // More than the system buffers for a process that does not read.
    let large = tier_fill("key", token(), vec![0; 64 << 20], MINUTE);
    assert_eq!(runtime.block_on(fill(&tier, large)), Err(TierError::Timeout));
    drop(tier);
    eventually("no task is left", || runtime.metrics().num_alive_tasks() == 0);
}

#[tokio::test]
async fn tls_credentials_are_never_shown() {
    let secured = Secured::start("127.0.0.1", true);
    secured.server.cli(&["ACL", "SETUSER", "canaryuser", "on", ">canarypass", "~*", "&*", "+@all"]);
    let own = secured.authority.sign("a client");
    // A line of the private key, which must not appear anywhere.
    let secret = own.key.lines().nth(1).unwrap().to_owned();
    let url = format!("rediss://canaryuser:canarypass@127.0.0.1:{}/", secured.server.tls_port());
    let builder = builder(&url).root_certificate(&*secured.authority.pem);
    let builder = builder.client_certificate(own.certificate, own.key);
    let assert_clean = |text: String| {
        assert_no_credentials(&text);
        assert!(!text.contains(&secret) && !text.contains("PRIVATE") && !text.contains("BEGIN"), "{text}");
    };
    assert_clean(format!("{builder:?} {builder:#?}"));
    let tier = builder.build().unwrap();
    let mine = token();
    lease(&tier, lease_request("key", mine, LeaseMode::Always)).await.unwrap();
    assert_eq!(fill(&tier, tier_fill("key", mine, vec![1], MINUTE)).await, Ok(true));
    delete(&tier, "key").await.unwrap();
    assert_clean(format!("{tier:?} {tier:#?}"));
}

#[test]
fn invalid_pem_is_refused_without_being_quoted() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let broken = "-----BEGIN CERTIFICATE-----\ncanarypass!\n-----END CERTIFICATE-----\n";
    // Well-formed PEM that contains no certificate.
    let hollow = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5cGFzcw==\n-----END CERTIFICATE-----\n";
    let unknown = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5cGFzcw==\n-----END PRIVATE KEY-----\n";
    let builder = || RedisTier::builder("rediss://canaryuser:canarypass@localhost/");
    for (name, builder) in [
        ("root_certificate", builder().root_certificate("")),
        ("root_certificate", builder().root_certificate("canarypass")),
        ("root_certificate", builder().root_certificate(broken)),
        ("root_certificate", builder().root_certificate(hollow)),
        ("root_certificate", builder().root_certificate(&*one.key)),
        ("root_certificate", builder().root_certificate(format!("{}{broken}", authority.pem))),
        ("client_certificate", builder().client_certificate("canarypass", &*one.key)),
        ("client_certificate", builder().client_certificate(broken, &*one.key)),
        ("client_certificate", builder().client_certificate(&*one.certificate, "canarypass")),
        ("client_certificate", builder().client_certificate(&*one.certificate, unknown)),
        ("client_certificate", builder().client_certificate(&*one.certificate, &*one.certificate)),
        ("client_certificate", builder().client_certificate(&*one.certificate, &*other.key)),
    ] {
        let error = config_error(builder);
        assert_error_hides_credentials(&error);
        let text = error.to_string();
        assert!(text.contains(name) && !text.contains("BEGIN") && !text.contains("Y2Fu"), "{text}");
    }
}

#[test]
fn url_cannot_disable_verification() {
    for fragment in ["#insecure", "/0#insecure", "/#", "/#anything"] {
        let url = format!("rediss://canaryuser:canarypass@localhost{fragment}");
        let error = config_error(RedisTier::builder(url));
        assert_error_hides_credentials(&error);
        assert_eq!(error.to_string().contains("certificate_pin"), fragment.contains("insecure"), "{error}");
    }
}

#[test]
fn certificates_without_tls_are_refused() {
    let authority = Authority::new();
    let own = authority.sign("a client");
    for url in ["redis://canaryuser:canarypass@localhost/", "unix:///run/redis.sock"] {
        let builder = || RedisTier::builder(url);
        for builder in [
            builder().root_certificate(&*authority.pem),
            builder().client_certificate(&*own.certificate, &*own.key),
        ] {
            let error = config_error(builder);
            assert_error_hides_credentials(&error);
            assert!(error.to_string().contains("rediss://"), "{error}");
        }
    }
}

#[test]
fn host_that_is_invalid_in_a_certificate_is_refused() {
    for host in ["under_score..example", "-"] {
        let authority = Authority::new();
        let url = format!("rediss://canaryuser:canarypass@{host}/");
        assert_error_hides_credentials(&config_error(
            RedisTier::builder(url).root_certificate(authority.pem),
        ));
    }
}

/// Returns the SHA-256 of the server's certificate.
fn fingerprint(secured: &Secured) -> [u8; 32] {
    use tokio_rustls::rustls::{
        SupportedCipherSuite,
        crypto::{hash::HashAlgorithm, ring},
        pki_types::{CertificateDer, pem::PemObject},
    };

    let pem = fs::read(secured.folder.0.join("server.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let suites = ring::default_provider().cipher_suites;
    let mut hashes = suites.iter().filter_map(|suite| match suite {
        SupportedCipherSuite::Tls13(suite) => Some(suite.common.hash_provider),
        SupportedCipherSuite::Tls12(_) => None,
    });
    let sha256 = hashes.find(|hash| hash.algorithm() == HashAlgorithm::SHA256).unwrap();
    sha256.hash(&certificate).as_ref().try_into().unwrap()
}

async fn failure_cause(builder: RedisTierBuilder) -> TierCause {
    let tier = builder.build().unwrap();
    let cause = tier.connected().await.expect_err("it must not come about");
    assert_eq!(tier.health().cause.as_ref(), Some(&cause));
    cause
}

#[tokio::test]
async fn server_name_overrides_the_host_of_the_url() {
    let secured = Secured::start("cache.internal", false);
    let tier = secured.builder().server_name("cache.internal").build().unwrap();
    wait_until_up(&tier).await;
    let wrong_name = TierCause::Certificate(CertificateFault::WrongName);
    assert_eq!(failure_cause(secured.builder()).await, wrong_name);
    assert_eq!(failure_cause(secured.builder().server_name("another.internal")).await, wrong_name);
    assert_error_hides_credentials(&config_error(secured.builder().server_name("canary pass")));
    assert_error_hides_credentials(&config_error(
        RedisTier::builder("redis://localhost").server_name("cache.internal"),
    ));
}

#[tokio::test]
async fn pinned_certificate_needs_no_authority_and_no_name() {
    let secured = Secured::start("cache.internal", false);
    let right = fingerprint(&secured);
    let wrong = [7; 32];
    for pins in [&[right][..], &[wrong, right]] {
        let builder = pins.iter().fold(builder(&secured.url()), |builder, pin| builder.certificate_pin(*pin));
        let tier = builder.build().unwrap();
        wait_until_up(&tier).await;
        put(&tier, "key", vec![1], MINUTE).await.unwrap();
    }
    let not_pinned = TierCause::Certificate(CertificateFault::NotPinned);
    assert_eq!(failure_cause(builder(&secured.url()).certificate_pin(wrong)).await, not_pinned);
    config_error(secured.builder().certificate_pin(right));
    config_error(RedisTier::builder("redis://localhost").certificate_pin(right));
}

#[tokio::test]
async fn verification_is_disabled_only_explicitly() {
    let secured = Secured::start("cache.internal", false);
    let tier = builder(&secured.url()).dangerous_accept_any_certificate().build().unwrap();
    wait_until_up(&tier).await;
    config_error(secured.builder().dangerous_accept_any_certificate());
    config_error(RedisTier::builder("redis://localhost").dangerous_accept_any_certificate());
}

#[tokio::test]
async fn certificate_and_tls_faults_report_their_cause() {
    let (secured, other) = (Secured::start("127.0.0.1", false), Authority::new());
    let unknown = builder(&secured.url()).root_certificate(&*other.pem);
    assert_eq!(failure_cause(unknown).await, TierCause::Certificate(CertificateFault::UnknownIssuer));

    let asking = Secured::start("127.0.0.1", true);
    assert_eq!(failure_cause(asking.builder()).await, TierCause::ClientCertificate);
    let stranger = other.sign("a client");
    let stranger = asking.builder().client_certificate(&*stranger.certificate, &*stranger.key);
    assert_eq!(failure_cause(stranger).await, TierCause::ClientCertificate);

    // Each side may wait for the other one.
    let brief = |url: String| builder(&url).connect_timeout(Duration::from_millis(500));
    let plain = format!("rediss://127.0.0.1:{}/", secured.server.port());
    assert_eq!(failure_cause(brief(plain).root_certificate(&*secured.authority.pem)).await, TierCause::Tls);
    let secret = format!("redis://127.0.0.1:{}/", secured.server.tls_port());
    assert_eq!(failure_cause(brief(secret)).await, TierCause::HungUp);
}

#[tokio::test]
async fn client_certificate_is_requested_at_each_connection() {
    let secured = Secured::start("127.0.0.1", true);
    let (stranger, known) = (Authority::new().sign("a client"), secured.authority.sign("a client"));
    let current = std::sync::Arc::new(std::sync::Mutex::new(stranger));
    let given = current.clone();
    let provider = move || {
        let current = given.lock().unwrap();
        let credentials = Credentials::new().client_certificate(&*current.certificate, &*current.key);
        async move { Ok(credentials) }
    };
    let tier = secured.builder().credentials(provider).build().unwrap();
    assert_eq!(tier.connected().await, Err(TierCause::ClientCertificate));
    *current.lock().unwrap() = known;
    wait_until_up(&tier).await;
    let no_pem = || async { Ok(Credentials::new().client_certificate("canarypass", "canarypass")) };
    assert_eq!(failure_cause(secured.builder().credentials(no_pem)).await, TierCause::Credentials);
}
