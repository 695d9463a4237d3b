//! TLS towards the upstream: which roots, versions and protocols are demanded. Verification can't be switched off.

use super::UpstreamError;
use super::protocol::AlpnOffer;
use crate::disk;
use crate::io::read_ahead::ReadAhead;
use crate::name::{Host, Origin};
use crate::system::roots;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A file of extra roots that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {why}")]
pub struct RootsError {
    pub path: PathBuf,
    pub why: String,
}

/// Ready-made client configurations, one for each offer; they share roots and session cache.
#[derive(Clone)]
pub struct Tls {
    http1: TlsConnector,
    http2: TlsConnector,
    both: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 only.
    pub fn new(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let with = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self { http1: with(&[b"http/1.1"]), http2: with(&[b"h2"]), both: with(&[b"h2", b"http/1.1"]) })
    }

    /// A TLS connection over `stream` to exactly `origin`'s host.
    ///
    /// # Errors
    /// Whatever is wrong with the certificate, in words; and a handshake that takes over ten seconds.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        origin: &Origin,
        stream: S,
        offer: AlpnOffer,
    ) -> Result<TlsStream<ReadAhead<S>>, TlsFailure> {
        let connector = match offer {
            AlpnOffer::Http1 => &self.http1,
            AlpnOffer::Http2 => &self.http2,
            AlpnOffer::Both => &self.both,
        };
        let name = server_name(&origin.host).map_err(|why| fail(origin, why))?;
        let handshake = connector.connect(name, ReadAhead::new(stream));
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => {
                let error = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
                let no_protocol =
                    matches!(error, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)));
                let why = error.map_or_else(|| format!("the TLS handshake was cut ({e})"), explain);
                let error = UpstreamError::Tls { origin: origin.clone(), why };
                Err(TlsFailure { error, no_protocol })
            }
            Err(_) => {
                let seconds = HANDSHAKE_TIMEOUT.as_secs();
                Err(UpstreamError::TlsTimeout { origin: origin.clone(), seconds }.into())
            }
        }
    }
}

/// A handshake that failed.
pub struct TlsFailure {
    pub error: UpstreamError,
    /// The upstream speaks none of the protocols that were offered.
    pub no_protocol: bool,
}

impl From<UpstreamError> for TlsFailure {
    fn from(error: UpstreamError) -> Self {
        Self { error, no_protocol: false }
    }
}

fn fail(origin: &Origin, why: String) -> TlsFailure {
    UpstreamError::Tls { origin: origin.clone(), why }.into()
}

fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Dns(name) => {
            ServerName::try_from(name.to_string()).map_err(|_| "its name can't stand in a certificate".into())
        }
    }
}

/// What is wrong with an upstream's TLS, in the words of whoever has to mend it.
fn explain(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(why) = error else { return format!("TLS failed: {error}") };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host".into()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody we trust ([proxy] upstream_ca adds a root)".into()
        }
        CertificateError::Revoked => "its certificate is revoked".into(),
        other => format!("its certificate is refused: {other}"),
    }
}

/// The system's roots, or Mozilla's where the system has none, those that the environment names, and those of `extra`.
/// What was read of the system's is kept in `state`.
///
/// # Errors
/// An extra file that can't be read or holds no certificate.
pub fn roots(extra: &[PathBuf], state: Option<&Path>) -> Result<RootCertStore, RootsError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots::of_system(state));
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store.add_parsable_certificates(roots::of_variables());
    for path in extra {
        add(&mut store, path)?;
    }
    Ok(store)
}

fn add(store: &mut RootCertStore, path: &Path) -> Result<(), RootsError> {
    let fail = |why: String| RootsError { path: path.into(), why };
    let mut count = 0;
    let file = disk::open_regular(path).map_err(|e| fail(e.to_string()))?;
    for certificate in CertificateDer::pem_reader_iter(file) {
        let certificate = certificate.map_err(|e| fail(e.to_string()))?;
        store.add(certificate).map_err(|e| fail(e.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(fail("it holds no PEM certificate".into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Scheme;
    use tokio::net::TcpStream;

    /// Time stands still but where all wait, so the limit is reached at once.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_never_ends_is_told_as_such() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(silent.local_addr().unwrap()).await.unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = Tls::new(RootCertStore::empty(), provider).unwrap();
        let origin = Origin::parse(Scheme::Https, "api.tool.example").unwrap();
        let error = tls.connect(&origin, tcp, AlpnOffer::Http1).await.err().unwrap().error;
        assert!(matches!(error, UpstreamError::TlsTimeout { .. }), "{error}");
        assert!(error.to_string().contains("api.tool.example did not finish the TLS handshake"), "{error}");
    }
}
