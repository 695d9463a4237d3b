//! Mints a certificate per host and keeps the TLS configurations of the hosts seen last.

use super::{CaError, Root, root};
use crate::name::Host;
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
    root: Arc<Root>,
    key: KeyPair,
    signing_key: Arc<dyn rustls::sign::SigningKey>,
    template: ServerConfig,
    cache: Cache<Host, Leaf>,
}

#[derive(Clone)]
struct Leaf {
    config: Arc<ServerConfig>,
    renew_at: SystemTime,
}

#[derive(Debug)]
struct One(Arc<CertifiedKey>);

impl ResolvesServerCert for One {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl Leaves {
    /// One key serves all leaves of this process: it never leaves memory, and a fresh one per host would double the cost of a host.
    ///
    /// # Errors
    /// When the system gives no randomness, or the provider lacks the protocol versions.
    pub fn new(root: Arc<Root>, provider: Arc<CryptoProvider>) -> Result<Self, CaError> {
        let unfit = |e: &dyn std::fmt::Display| CaError::Unfit(e.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| unfit(&e))?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing_key = provider.key_provider.load_private_key(der).map_err(|e| unfit(&e))?;
        let mut template = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| unfit(&e))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        template.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // no resumption: a session begun for one host must never be taken up at another
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.send_tls13_tickets = 0;
        Ok(Self { root, key, signing_key, template, cache: Cache::new(KEPT_HOSTS) })
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The configuration to answer as `host`: made once, then kept until it is about to expire.
    ///
    /// # Errors
    /// When the host's name can't stand in a certificate.
    pub fn config(&self, host: &Host, now: SystemTime) -> Result<Arc<ServerConfig>, CaError> {
        let leaf = self.cache.get_or_insert_with(host, || self.mint(host, now))?;
        if now < leaf.renew_at {
            return Ok(leaf.config);
        }
        let leaf = self.mint(host, now)?;
        self.cache.insert(host.clone(), leaf.clone());
        Ok(leaf.config)
    }

    fn mint(&self, host: &Host, now: SystemTime) -> Result<Leaf, CaError> {
        let fail = |why: String| CaError::Mint { host: host.clone(), why };
        let not_before = now - root::BACKDATE;
        let not_after = (not_before + LEAF_LIFETIME).min(self.root.not_after());
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
        params.serial_number = Some(root::serial()?);
        params.not_before = not_before.into();
        params.not_after = not_after.into();
        let certificate = params.signed_by(&self.key, &self.root.issuer).map_err(|e| fail(e.to_string()))?;
        let chain = vec![certificate.der().clone()];
        let certified = Arc::new(CertifiedKey::new(chain, self.signing_key.clone()));
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(One(certified));
        Ok(Leaf { config: Arc::new(config), renew_at: not_after - RENEW_BEFORE.min(LEAF_LIFETIME / 2) })
    }
}

/// A common name holds 64 characters (RFC 5280, appendix A); a longer host is named by its SAN alone.
fn subject(host: &Host) -> String {
    let name = host.to_string();
    if name.len() <= 64 { name } else { "locum".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    fn leaves() -> Leaves {
        let root = Root::generate(SystemTime::now(), "test").unwrap();
        Leaves::new(Arc::new(root), Arc::new(rustls::crypto::aws_lc_rs::default_provider())).unwrap()
    }

    /// The certificate as a client gets it, by a handshake in memory.
    fn certificate(leaves: &Leaves, host: &Host) -> Vec<u8> {
        let config = leaves.config(host, SystemTime::now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(leaves.root().certificate().clone()).unwrap();
        let client =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = match host {
            Host::Dns(n) => n.to_string().try_into().unwrap(),
            Host::Ip(ip) => rustls::pki_types::ServerName::from(*ip),
        };
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = rustls::ServerConnection::new(config).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        client.peer_certificates().unwrap()[0].to_vec()
    }

    #[test]
    fn a_leaf_has_the_shape_that_strict_clients_ask_for() {
        let leaves = leaves();
        let mut serials = std::collections::HashSet::new();
        let long = format!("{}.example.com", "a".repeat(60));
        for host in ["api.example.com", "127.0.0.1", "[2001:db8::1]", &long, "xn--bcher-kva.example"] {
            let der = certificate(&leaves, &host.parse().unwrap());
            let (_, cert) = parse_x509_certificate(&der).unwrap();
            assert!(!cert.is_ca() && cert.basic_constraints().unwrap().unwrap().critical, "{host}");
            assert!(cert.key_usage().unwrap().unwrap().value.digital_signature());
            assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
            let ids: Vec<_> = cert.extensions().iter().map(|e| e.oid.to_id_string()).collect();
            assert!(ids.contains(&"2.5.29.35".into()), "authority key identifier");
            let validity = cert.validity();
            let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
            assert!(seconds <= LEAF_LIFETIME.as_secs() as i64);
            let san = cert.subject_alternative_name().unwrap().unwrap();
            let is_ip = matches!(san.value.general_names[0], GeneralName::IPAddress(_));
            assert_eq!(is_ip, matches!(host.parse::<Host>().unwrap(), Host::Ip(_)), "{host}");
            assert!(serials.insert(cert.raw_serial().to_vec()), "serials are unique");
        }
    }

    #[test]
    fn the_root_signs_leaves_only() {
        let leaves = leaves();
        let (_, cert) = parse_x509_certificate(leaves.root().certificate()).unwrap();
        let basic = cert.basic_constraints().unwrap().unwrap();
        assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint == Some(0));
        let usage = cert.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
        let ids: Vec<_> = cert.extensions().iter().map(|e| e.oid.to_id_string()).collect();
        assert!(ids.contains(&"2.5.29.14".into()), "subject key identifier");
    }

    #[test]
    fn a_host_is_minted_once_and_again_before_it_expires() {
        let leaves = leaves();
        let host: Host = "a.example".parse().unwrap();
        let now = SystemTime::now();
        let first = leaves.config(&host, now).unwrap();
        assert!(Arc::ptr_eq(&first, &leaves.config(&host, now).unwrap()));
        let later = leaves.config(&host, now + LEAF_LIFETIME - RENEW_BEFORE).unwrap();
        assert!(!Arc::ptr_eq(&first, &later));
        assert!(Arc::ptr_eq(&later, &leaves.config(&host, now + LEAF_LIFETIME - RENEW_BEFORE).unwrap()));
    }

    #[test]
    fn ten_thousand_hosts_are_not_kept() {
        let leaves = leaves();
        for i in 0..3000 {
            leaves.config(&format!("h{i}.example").parse().unwrap(), SystemTime::now()).unwrap();
        }
        assert!(leaves.cache.len() <= KEPT_HOSTS);
    }
}
