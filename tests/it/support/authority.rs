//! The authority that the upstreams' certificates come from, good ones and bad ones.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

/// The names that a good upstream answers to.
pub const NAMES: [&str; 10] = [
    "localhost",
    "127.0.0.1",
    "198.51.100.1",
    "api.openai.com",
    "api.anthropic.com",
    "api.github.com",
    "api.tool.example",
    "api.other.example",
    "git.tool.example",
    "registry.tool.example",
];

const DAY: Duration = Duration::from_secs(24 * 3600);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// The one that locum is told to trust.
pub static TRUSTED: LazyLock<Authority> = LazyLock::new(|| Authority::new("the tests' own"));

/// The one that a company's proxy has its certificate from.
pub static PROXY_OWN: LazyLock<Authority> = LazyLock::new(|| Authority::new("a company's"));

/// What an upstream shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    Good,
    Expired,
    NotYetValid,
    WrongHost,
    SelfSigned,
    /// From the authority of a company's proxy.
    OfProxy,
    /// From an authority that nobody trusts.
    Untrusted,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - 30 * DAY).into();
        params.not_after = (SystemTime::now() + 30 * DAY).into();
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}

/// A CA with its key, both PEM, that is good between two days from now.
pub fn ca_for_days(from: i64, to: i64) -> String {
    let day = |days: i64| match u32::try_from(days) {
        Ok(ahead) => SystemTime::now() + DAY * ahead,
        Err(_) => SystemTime::now() - DAY * u32::try_from(-days).expect("some days"),
    };
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (day(from).into(), day(to).into());
    format!("{}{}", params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// A good certificate and its key, as `certificate.pem` and `key.pem` in `folder`, for servers that are no part of this.
pub fn write(folder: &Path) {
    let (certificate, key) = issue(Certificate::Good);
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).expect("a file");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
}

/// A server's configuration that shows `certificate` and speaks `alpn`.
pub fn server(certificate: Certificate, alpn: &[&str]) -> ServerConfig {
    let (certificate, key) = issue(certificate);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn issue(certificate: Certificate) -> (rcgen::Certificate, KeyPair) {
    let now = SystemTime::now();
    let names: &[&str] = if certificate == Certificate::WrongHost { &["elsewhere.example"] } else { &NAMES };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "an upstream of the tests");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = match certificate {
        Certificate::Expired => ((now - 3 * DAY).into(), (now - DAY).into()),
        Certificate::NotYetValid => ((now + DAY).into(), (now + 3 * DAY).into()),
        _ => ((now - DAY).into(), (now + DAY).into()),
    };
    let key = KeyPair::generate().expect("a key");
    let signed = match certificate {
        Certificate::SelfSigned => params.self_signed(&key),
        Certificate::OfProxy => params.signed_by(&key, &PROXY_OWN.issuer),
        Certificate::Untrusted => params.signed_by(&key, &Authority::new("a stranger's").issuer),
        _ => params.signed_by(&key, &TRUSTED.issuer),
    };
    (signed.expect("a certificate"), key)
}
