//! Makes and loads the CA. Where its key is kept is the caller's matter; here it is only in memory.

use super::CaError;
use crate::disk;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::path::Path;
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// How long a root is valid: a machine is set up anew sooner than that.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// Clients whose clock is behind ours must not find a certificate from the future.
pub const BACKDATE: Duration = Duration::from_secs(3600);

/// A certificate authority, ready to sign.
pub struct Root {
    pub(super) issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    not_after: SystemTime,
}

impl Root {
    /// A new P-256 root that may sign only leaves (pathLen 0).
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(now: SystemTime, owner: &str) -> Result<Self, CaError> {
        let unfit = |e: rcgen::Error| CaError::Unfit(e.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unfit)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "locum");
        params.distinguished_name.push(DnType::CommonName, common_name(owner));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + ROOT_LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(unfit)?;
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self::assemble(pem, der, key)
    }

    /// Reads a CA certificate and its private key, both PEM, from one text.
    ///
    /// # Errors
    /// When either is missing or malformed, the certificate is no CA, or the key isn't its own.
    pub fn from_pem(pem: &[u8], place: &str) -> Result<Self, CaError> {
        let der = CertificateDer::from_pem_slice(pem)
            .map_err(|_| CaError::File { path: place.into(), why: "it holds no certificate".into() })?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| CaError::NoKey(place.into()))?;
        let key = KeyPair::try_from(&key).map_err(|_| CaError::NoKey(place.into()))?;
        let certificate_pem = to_pem(&der);
        Self::assemble(certificate_pem, der, key)
    }

    /// [`Root::from_pem`] from a file that no other user may read.
    pub fn from_file(path: &Path) -> Result<Self, CaError> {
        let fail = |why: String| CaError::File { path: path.display().to_string(), why };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path).map_err(|e| fail(e.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(fail(format!(
                    "others may read this CA's key; run: chmod 600 {}",
                    disk::shell_quoted(path)
                )));
            }
        }
        let pem = Zeroizing::new(std::fs::read(path).map_err(|e| fail(e.to_string()))?);
        Self::from_pem(&pem, &path.display().to_string())
    }

    fn assemble(certificate_pem: String, certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, CaError> {
        let unfit = |why: String| CaError::Unfit(why);
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|e| unfit(e.to_string()))?;
        if !parsed.is_ca() {
            return Err(unfit("its certificate may not sign others (basicConstraints CA is not set)".into()));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(unfit("its private key belongs to another certificate".into()));
        }
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| unfit(e.to_string()))?;
        Ok(Self { issuer, certificate_pem, certificate, not_after })
    }

    /// The certificate, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Certificate and key, for the place where the CA is kept.
    pub fn to_pem_with_key(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(self.issuer.key().serialize_pem());
        let mut out = Zeroizing::new(String::with_capacity(self.certificate_pem.len() + key.len()));
        out.push_str(&self.certificate_pem);
        out.push_str(&key);
        out
    }

    /// SHA-256 of the certificate, as browsers show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        digest.as_ref().iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
    }
}

fn common_name(owner: &str) -> String {
    let owner: String = owner.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    format!("locum CA {owner}").trim_end().into()
}

/// 127 random bits: unique among all that share an issuer, and positive (RFC 5280, section 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Unfit("the system gives no randomness".into()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn to_pem(der: &[u8]) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back_from_its_own_pem() {
        let made = Root::generate(SystemTime::now(), "box").unwrap();
        let read = Root::from_pem(made.to_pem_with_key().as_bytes(), "test").unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_eq!(made.certificate_pem().replace("\r\n", "\n"), read.certificate_pem());
    }

    #[test]
    fn what_is_no_ca_is_refused() {
        let a = Root::generate(SystemTime::now(), "").unwrap();
        let b = Root::generate(SystemTime::now(), "").unwrap();
        let mixed = format!("{}{}", a.certificate_pem(), b.issuer.key().serialize_pem());
        for (pem, why) in [
            ("", "no certificate"),
            (a.certificate_pem(), "no private key"),
            (&*b.issuer.key().serialize_pem(), "no certificate"),
            (&*mixed, "another certificate"),
        ] {
            let e = Root::from_pem(pem.as_bytes(), "test").err().unwrap().to_string();
            assert!(e.contains(why), "{e}");
        }
    }
}
