//! Certificates under the names by which OpenSSL finds them in a folder (`openssl rehash`): a hash of whose they are.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;
use yasna::models::ObjectIdentifier;

const END: &str = "-----END CERTIFICATE-----\n";

/// Each certificate of a PEM text, as file name and PEM. One that can't be read is left out.
pub fn hashed(pem: &str) -> Vec<(String, String)> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    let named = pem.split_inclusive(END).filter_map(|pem| {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
        let hash = hash(parsed.subject())?;
        let count = counts.entry(hash).or_default();
        *count += 1;
        Some((format!("{hash:08x}.{}", *count - 1), pem.to_owned()))
    });
    named.collect()
}

/// `X509_NAME_hash` of OpenSSL: SHA-1 over the name in its canonical form, of which the first four bytes count.
fn hash(name: &X509Name<'_>) -> Option<u32> {
    let mut canonical = Vec::new();
    for set in name.iter_rdn() {
        let mut attributes = Vec::new();
        for attribute in set.iter() {
            let kind: Vec<u64> = attribute.attr_type().iter()?.collect();
            let value = folded(attribute.as_str().ok()?);
            attributes.push(yasna::construct_der(|writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_oid(&ObjectIdentifier::from_slice(&kind));
                    writer.next().write_utf8_string(&value);
                });
            }));
        }
        canonical.extend(yasna::construct_der(|writer| {
            writer.write_set_of(|writer| attributes.iter().for_each(|attribute| writer.next().write_der(attribute)));
        }));
    }
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &canonical);
    Some(u32::from_le_bytes(digest.as_ref().get(..4)?.try_into().ok()?))
}

/// Lower case, and one space where there are more.
fn folded(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, Scope};
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::SystemTime;

    #[test]
    fn openssl_calls_it_the_same() {
        let authority = |name: &str| Authority::generate(SystemTime::now(), name, &Scope::Any).unwrap();
        for name in ["a machine", "Another  Machine, with spaces", "maschine-ä"] {
            let authority = authority(name);
            let pem = authority.certificate_pem();
            let mut openssl = Command::new("openssl")
                .args(["x509", "-noout", "-subject_hash"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            openssl.stdin.take().unwrap().write_all(pem.as_bytes()).unwrap();
            let said = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
            let (file, text) = &hashed(pem)[0];
            assert_eq!(*file, format!("{}.0", said.trim()), "{name}");
            assert_eq!(text.lines().next(), Some("-----BEGIN CERTIFICATE-----"));
        }
    }
}
