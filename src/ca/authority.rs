//! Makes and loads the CA: a root that clients trust, and an intermediate below it that signs the leaves. Where its key is
//! kept is the caller's matter; here it is only in memory.

use super::constraints::{NameLimits, Scope, Subtree};
use super::error::CaError;
use crate::disk;
use crate::name::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{ASN1Time, X509Certificate};
use zeroize::{Zeroize as _, Zeroizing};

/// How long a CA is valid: a machine is set up anew sooner than that.
pub const LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// Clients whose clock is behind ours, by a time zone or two, must not find a certificate from the future.
pub const BACKDATE: Duration = Duration::from_secs(48 * 3600);

/// A certificate authority, ready to sign.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    /// From the one that signs leaves up to the one that the root has signed. Empty where the root signs leaves itself, as
    /// in what was made before there were intermediates.
    intermediates: Vec<CertificateDer<'static>>,
    /// Of root and intermediates: a host has to be within all of them.
    limits: Vec<NameLimits>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Authority {
    /// A new P-256 root (pathLen 1), and the one intermediate (pathLen 0) that it ever signs: its key is wiped then.
    /// Both are constrained to `scope`, since some clients (Java) don't look at the constraints of what they trust.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(now: SystemTime, owner: &str, scope: &Scope) -> Result<Self, CaError> {
        let unfit = |e: rcgen::Error| CaError::Unfit(e.to_string());
        let name = common_name(owner)?;
        let mut root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unfit)?;
        let root_params = params(&name, 1, scope, now)?;
        let root = root_params.self_signed(&root_key).map_err(unfit)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unfit)?;
        let mut below = params(&format!("{name} signer"), 0, scope, now)?;
        // for nothing but servers of TLS: no mail, no programs, no clients
        below.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let signed = below.signed_by(&key, &Issuer::from_params(&root_params, &root_key));
        root_key.zeroize();
        let intermediate = signed.map_err(unfit)?;
        Self::assemble(vec![intermediate.der().clone(), root.der().clone()], key)
    }

    /// Reads a private key and its CA certificate, with those above it in any order, all PEM, from one text.
    ///
    /// # Errors
    /// When either is missing or malformed, the certificate is no CA, or the key isn't its own.
    pub fn from_pem(pem: &[u8], place: &str) -> Result<Self, CaError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates
            .ok()
            .filter(|all| !all.is_empty())
            .ok_or_else(|| CaError::File { path: place.into(), why: "it holds no certificate".into() })?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| CaError::NoKey(place.into()))?;
        let key = KeyPair::try_from(&key).map_err(|_| CaError::NoKey(place.into()))?;
        Self::assemble(certificates, key)
    }

    /// [`Authority::from_pem`] from a file that no other user may read.
    pub fn from_file(path: &Path) -> Result<Self, CaError> {
        let fail = |why: String| CaError::File { path: path.display().to_string(), why };
        let mut file = disk::open_regular(path).map_err(|e| fail(e.to_string()))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(|e| fail(e.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(CaError::Exposed { path: disk::shell_quoted(path) });
            }
        }
        let mut pem = Zeroizing::new(Vec::new());
        file.read_to_end(&mut pem).map_err(|e| fail(e.to_string()))?;
        Self::from_pem(&pem, &path.display().to_string())
    }

    fn assemble(certificates: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, CaError> {
        let unfit = |why: String| CaError::Unfit(why);
        let parsed: Result<Vec<_>, _> = certificates.iter().map(|der| parse(der)).collect();
        let chain = chain(&parsed.map_err(unfit)?, key.public_key_raw());
        let Some(own) = chain.first() else {
            return Err(unfit("its private key belongs to another certificate".into()));
        };
        let issuer = Issuer::from_ca_cert_der(&certificates[*own], key).map_err(|e| unfit(e.to_string()))?;
        let (mut limits, mut not_before) = (Vec::new(), SystemTime::UNIX_EPOCH);
        let mut not_after = SystemTime::UNIX_EPOCH + LIFETIME * 1000;
        let mut ordered = Vec::with_capacity(chain.len());
        for der in chain.into_iter().map(|i| &certificates[i]) {
            let certificate = parse(der).map_err(unfit)?;
            if !certificate.is_ca() {
                return Err(unfit("its certificate may not sign others (basicConstraints CA is not set)".into()));
            }
            limits.extend(NameLimits::of(&certificate).map_err(unfit)?);
            let validity = certificate.validity();
            (not_before, not_after) =
                (not_before.max(time(validity.not_before)), not_after.min(time(validity.not_after)));
            ordered.push(der.clone());
        }
        let root = ordered.pop().ok_or_else(|| unfit("it holds no certificate".into()))?;
        Ok(Self { issuer, root_pem: to_pem(&root), root, intermediates: ordered, limits, not_before, not_after })
    }

    /// The root's certificate, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root's certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// What goes to clients behind a leaf, up to the root: they would do without that, but those that look for a pinned key
    /// look for it among what they are shown.
    pub fn shown(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.intermediates.iter().chain([&self.root])
    }

    /// Those between a leaf and the root.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }

    /// When the last of its certificates begins.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the first of its certificates ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether clients take a leaf of it for `host`.
    pub fn covers(&self, host: &Host) -> bool {
        self.limits.is_empty() || self.covers_all_of(&host.into())
    }

    /// The same for all hosts of `subtree`.
    pub fn covers_all_of(&self, subtree: &Subtree) -> bool {
        self.limits.iter().all(|limits| limits.allow(subtree))
    }

    /// The hosts that it is limited to, as the certificate that signs leaves has them; `None` where it has no limits.
    pub fn permitted(&self) -> Option<Vec<String>> {
        self.limits.first().map(NameLimits::permitted)
    }

    /// Certificates and key, for the place where the CA is kept.
    pub fn to_pem_with_key(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(self.issuer.key().serialize_pem());
        let certificates: String = self.intermediates.iter().map(to_pem).collect();
        let mut out = Zeroizing::new(String::with_capacity(self.root_pem.len() + certificates.len() + key.len()));
        out.push_str(&self.root_pem);
        out.push_str(&certificates);
        out.push_str(&key);
        out
    }

    /// SHA-256 of the root's certificate, as browsers show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.root);
        digest.as_ref().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }
}

fn params(name: &str, below: u8, scope: &Scope, now: SystemTime) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "locum");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = scope.constraints();
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + LIFETIME).into();
    Ok(params)
}

fn parse<'d>(der: &'d CertificateDer<'_>) -> Result<X509Certificate<'d>, String> {
    x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed).map_err(|e| e.to_string())
}

fn time(written: ASN1Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(written.timestamp()).unwrap_or(0))
}

/// The certificate that `key` belongs to, and those above it, as far as they are there. Nothing where it belongs to none.
fn chain(certificates: &[X509Certificate<'_>], key: &[u8]) -> Vec<usize> {
    let own = |c: &X509Certificate<'_>| c.public_key().subject_public_key.data.as_ref() == key;
    let mut chain: Vec<usize> = certificates.iter().position(own).into_iter().collect();
    while let Some(last) = chain.last().map(|last| &certificates[*last]) {
        let above = |c: &X509Certificate<'_>| c.subject().as_raw() == last.issuer().as_raw();
        match certificates.iter().enumerate().position(|(i, c)| !chain.contains(&i) && above(c)) {
            Some(next) if last.subject().as_raw() != last.issuer().as_raw() => chain.push(next),
            _ => break,
        }
    }
    chain
}

/// Not the same for any two, so that clients that trust an old and a new one don't take one for the other.
fn common_name(owner: &str) -> Result<String, CaError> {
    let owner: String = owner.chars().filter(|c| c.is_ascii_graphic()).take(30).collect();
    let mut unique = [0; 4];
    aws_lc_rs::rand::fill(&mut unique).map_err(|_| no_randomness())?;
    let owner = if owner.is_empty() { owner } else { owner + " " };
    Ok(format!("locum CA {owner}{:08x}", u32::from_be_bytes(unique)))
}

fn no_randomness() -> CaError {
    CaError::Unfit("the system gives no randomness".into())
}

/// 127 random bits: unique among all that share an issuer, and positive (RFC 5280, section 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| no_randomness())?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn to_pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        out.extend(line.iter().map(|b| char::from(*b)));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An authority as it was made before there were intermediates: a root that signs leaves itself.
    pub fn single() -> (String, Authority) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = params("locum CA old", 0, &Scope::Any, SystemTime::now()).unwrap();
        let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let authority = Authority::from_pem(pem.as_bytes(), "test").unwrap();
        (pem, authority)
    }

    fn new() -> Authority {
        Authority::generate(SystemTime::now(), "box", &Scope::Any).unwrap()
    }

    #[test]
    fn an_authority_reads_back_from_its_own_pem() {
        let made = new();
        let text = made.to_pem_with_key();
        assert_eq!((text.matches("BEGIN CERTIFICATE").count(), text.matches("PRIVATE KEY").count()), (2, 2));
        let read = Authority::from_pem(text.as_bytes(), "test").unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_eq!(made.intermediates(), read.intermediates());
        assert_eq!(made.certificate_pem(), read.certificate_pem());
    }

    #[test]
    fn what_was_kept_before_there_were_intermediates_still_signs() {
        let (pem, old) = single();
        assert!(old.intermediates().is_empty() && old.permitted().is_none());
        assert!(pem.replace("\r\n", "\n").starts_with(old.certificate_pem()));
        assert!(old.covers(&"any.example".parse().unwrap()));
    }

    #[test]
    fn what_is_no_ca_is_refused() {
        let (a, b) = (new(), new());
        let mixed = format!("{}{}", a.certificate_pem(), b.issuer.key().serialize_pem());
        for (pem, why) in [
            ("", "no certificate"),
            (a.certificate_pem(), "no private key"),
            (&*b.issuer.key().serialize_pem(), "no certificate"),
            (&*mixed, "another certificate"),
        ] {
            let e = Authority::from_pem(pem.as_bytes(), "test").err().unwrap().to_string();
            assert!(e.contains(why), "{e}");
        }
    }
}
