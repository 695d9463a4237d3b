//! Mints a certificate per host and keeps the TLS configurations of the hosts seen last.

use super::authority::{self, Authority};
use super::error::CaError;
use crate::name::Host;
use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// From `notBefore` to `notAfter`.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// A leaf with less than this left is minted anew.
const RENEW_BEFORE: Duration = Duration::from_secs(24 * 3600);
/// Hosts whose configuration is kept; the ones used least are forgotten.
const KEPT_HOSTS: usize = 1024;

/// The certificates that locum answers with.
pub struct Leaves {
    signers: ArcSwap<LeafSigners>,
    key: KeyPair,
    signing_key: Arc<dyn rustls::sign::SigningKey>,
    template: ServerConfig,
}

/// The authority that signs, and the one to follow it: that one already signs for hosts that the first doesn't cover,
/// since nobody could reach those otherwise.
struct LeafSigners {
    current: LeafSigner,
    next: Option<LeafSigner>,
}

struct LeafSigner {
    authority: Arc<Authority>,
    cache: Cache<Host, Leaf>,
}

impl LeafSigner {
    fn new(authority: Arc<Authority>) -> Self {
        Self { authority, cache: Cache::new(KEPT_HOSTS) }
    }
}

impl LeafSigners {
    fn of(&self, host: &Host) -> Option<&LeafSigner> {
        [Some(&self.current), self.next.as_ref()].into_iter().flatten().find(|s| s.authority.covers(host))
    }
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    renew_at: SystemTime,
}

#[derive(Debug)]
struct FixedCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for FixedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl Leaves {
    /// One key serves all leaves of this process: it never leaves memory, and a fresh one per host would double the
    /// cost of a host.
    ///
    /// # Errors
    /// When the system gives no randomness, or the provider lacks the protocol versions.
    pub fn new(authority: Arc<Authority>, provider: Arc<CryptoProvider>) -> Result<Self, CaError> {
        let unfit = |e: &dyn std::fmt::Display| CaError::Unfit(e.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| unfit(&e))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing_key = provider.key_provider.load_private_key(der).map_err(|e| unfit(&e))?;
        let mut template = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| unfit(&e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        template.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // no resumption: a session begun for one host must never be taken up at another
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.send_tls13_tickets = 0;
        let signers = ArcSwap::from_pointee(LeafSigners { current: LeafSigner::new(authority), next: None });
        Ok(Self { signers, key, signing_key, template })
    }

    /// From now on `current` signs, and `next` what only that one covers.
    pub fn sign_by(&self, current: Arc<Authority>, next: Option<Arc<Authority>>) {
        self.signers
            .store(Arc::new(LeafSigners { current: LeafSigner::new(current), next: next.map(LeafSigner::new) }));
    }

    /// Whether clients would take a leaf for `host`, by the name constraints of the CA.
    pub fn covers(&self, host: &Host) -> bool {
        self.signers.load().of(host).is_some()
    }

    /// The configuration to answer as `host`: made once, then kept until it is about to expire.
    ///
    /// # Errors
    /// When the host's name can't stand in a certificate, or the CA doesn't cover it.
    pub fn config(&self, host: &Host, now: SystemTime) -> Result<Arc<ServerConfig>, CaError> {
        let signers = self.signers.load();
        let signer = signers.of(host).ok_or_else(|| CaError::NotCovered(host.clone()))?;
        let leaf = signer.cache.get_or_insert_with(host, || self.mint(&signer.authority, host, now))?;
        if now < leaf.renew_at {
            return Ok(leaf.config);
        }
        let leaf = self.mint(&signer.authority, host, now)?;
        signer.cache.insert(host.clone(), leaf.clone());
        Ok(leaf.config)
    }

    /// To answer the handshake of a client that asked for a host that no leaf can be had for: with an alert, which tells it
    /// more than a connection that breaks off.
    pub fn nobody(&self) -> Arc<ServerConfig> {
        Arc::new(self.template.clone())
    }

    fn mint(&self, authority: &Authority, host: &Host, now: SystemTime) -> Result<Leaf, CaError> {
        let fail = |why: String| CaError::Mint { host: host.clone(), why };
        // some clients take no leaf that is older than who signed it
        let not_before = (now - authority::BACKDATE).max(authority.not_before());
        let not_after = (not_before + LEAF_LIFETIME).min(authority.not_after());
        if not_after <= now {
            return Err(fail("the CA has expired".into()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject(host));
        params.subject_alt_names = vec![match host {
            Host::Ip(ip) => SanType::IpAddress(*ip),
            Host::Dns(name) => {
                SanType::DnsName(name.to_string().try_into().map_err(|e: rcgen::Error| fail(e.to_string()))?)
            }
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(authority::serial()?);
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        let certificate = params.signed_by(&self.key, &authority.issuer).map_err(|e| fail(e.to_string()))?;
        let chain = [certificate.der()].into_iter().chain(authority.shown()).cloned().collect();
        let certified = Arc::new(CertifiedKey::new(chain, self.signing_key.clone()));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(FixedCertificate(certified));
        Ok(Leaf { config: Arc::new(config), renew_at: not_after - RENEW_BEFORE.min(LEAF_LIFETIME / 2) })
    }
}

/// A common name holds 64 characters (RFC 5280, appendix A); a longer host is named by its SAN alone. So is an address: to
/// OpenSSL a common name beside it would be a DNS name, and outside of the CA's name constraints.
fn subject(host: &Host) -> String {
    match host {
        Host::Dns(name) if name.len() <= 64 => name.to_string(),
        _ => "locum".into(),
    }
}

#[cfg(test)]
mod tests;
