//! The certificate that the proxy's own port shows and its key, as files of the operator's: read at the start, and at each reload.

use super::AppError;
use crate::config::settings::Settings;
use crate::disk;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// A certificate that ends so soon is told of.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What the proxy's own port is verified by.
pub struct ListenerTls {
    pub(super) config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    /// The file of certificates, for clients to trust.
    pub pem: String,
}

impl ListenerTls {
    /// That of these settings, where there is one.
    ///
    /// # Errors
    /// A file can't be read or used, or others may read the key.
    pub fn of(settings: &Settings) -> Result<Option<Self>, AppError> {
        let (Some(certificate), Some(key)) = (&settings.proxy.tls_cert, &settings.proxy.tls_key) else {
            return Ok(None);
        };
        let fail = |path: &Path, why: String| AppError::ListenerTls { path: path.into(), why };
        let pem = std::fs::read_to_string(certificate).map_err(|e| fail(certificate, e.to_string()))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let chain = chain.map_err(|e| fail(certificate, e.to_string()))?;
        let leaf = chain.first().ok_or_else(|| fail(certificate, "it holds no certificate".into()))?.clone();
        let private = read_key(key).map_err(|why| fail(key, why))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|e| fail(key, e.to_string()))?;
        // no more than this is spoken with the proxy itself
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self { config: Arc::new(config), leaf, pem }))
    }

    /// The host by which a client of this machine reaches the proxy so that the certificate is the host's: the address where it
    /// names that, else `localhost` or the first name that it has.
    pub fn host(&self, listen: SocketAddr) -> Option<String> {
        let verified = rustls::server::ParsedCertificate::try_from(&self.leaf).ok()?;
        let names = |host: &str| {
            let name = ServerName::try_from(host.to_owned());
            name.is_ok_and(|name| rustls::client::verify_server_name(&verified, &name).is_ok())
        };
        let candidates = [listen.ip().to_string(), "localhost".into()];
        candidates.into_iter().find(|host| names(host)).or_else(|| {
            let (_, parsed) = x509_parser::parse_x509_certificate(&self.leaf).ok()?;
            let alternatives = parsed.subject_alternative_name().ok()??;
            alternatives.value.general_names.iter().find_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) if !name.contains('*') => Some((*name).to_owned()),
                _ => None,
            })
        })
    }

    /// What is to be told of when it ends: that it has, or will soon.
    pub fn ending(&self, now: SystemTime) -> Option<String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&self.leaf).ok()?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let left = (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).duration_since(now);
        match left {
            Err(_) => Some("the certificate of the proxy's own port has expired".into()),
            Ok(left) if left < ENDS_SOON => {
                let days = left.as_secs() / (24 * 60 * 60);
                Some(format!("the certificate of the proxy's own port expires in {days} days"))
            }
            Ok(_) => None,
        }
    }
}

/// What an operator does about a certificate that ends.
pub const RENEW: &str = "put a new one into the files of tls_cert and tls_key, then `locum reload`";

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let mode = std::fs::metadata(path).map_err(|e| e.to_string())?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("every user may read or write this key; run: chmod o-rwx {}", disk::shell_quoted(path)));
    }
    let pem = Zeroizing::new(std::fs::read(path).map_err(|e| e.to_string())?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "it holds no private key in PEM".into())
}
