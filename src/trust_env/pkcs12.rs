//! A PKCS#12 file (RFC 7292) of trusted certificates, as Java reads them; neither keys nor encryption, since
//! certificates are public.
//!
//! Without encryption it needs no password, so that `javax.net.ssl.trustStorePassword` can stay unset, and without
//! the MAC it needs no key derivation. The JVM takes such a file since Java 8.

use rustls::pki_types::CertificateDer;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, DERWriterSeq, Tag};

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const CERT_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
/// Oracle's attribute, without which the JVM takes a certificate for part of a key's chain and trusts nothing.
const TRUSTED_KEY_USAGE: &[u64] = &[2, 16, 840, 1, 113_894, 746_875, 1, 1];
const ANY_EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37, 0];

/// The file's bytes; each certificate is trusted for everything.
pub fn trust_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let bags = yasna::construct_der(|w| {
        w.write_sequence_of(|w| {
            for (i, certificate) in certificates.iter().enumerate() {
                w.next().write_sequence(|w| bag(w, certificate, &format!("locum-{i}")));
            }
        });
    });
    let contents = yasna::construct_der(|w| w.write_sequence_of(|w| data(w.next(), &bags)));
    yasna::construct_der(|w| {
        w.write_sequence(|w| {
            w.next().write_u8(3);
            data(w.next(), &contents);
        });
    })
}

/// A ContentInfo that holds plain bytes.
fn data(w: DERWriter<'_>, bytes: &[u8]) {
    w.write_sequence(|w| {
        oid(w.next(), DATA);
        w.next().write_tagged(Tag::context(0), |w| w.write_bytes(bytes));
    });
}

/// A SafeBag with one certificate. The JVM keeps one entry for each alias, so aliases have to differ.
fn bag(w: &mut DERWriterSeq<'_>, certificate: &[u8], alias: &str) {
    oid(w.next(), CERT_BAG);
    w.next().write_tagged(Tag::context(0), |w| {
        w.write_sequence(|w| {
            oid(w.next(), X509_CERTIFICATE);
            w.next().write_tagged(Tag::context(0), |w| w.write_bytes(certificate));
        });
    });
    w.next().write_set_of(|w| {
        w.next().write_sequence(|w| {
            oid(w.next(), FRIENDLY_NAME);
            w.next().write_set_of(|w| w.next().write_bmp_string(alias));
        });
        w.next().write_sequence(|w| {
            oid(w.next(), TRUSTED_KEY_USAGE);
            w.next().write_set_of(|w| oid(w.next(), ANY_EXTENDED_KEY_USAGE));
        });
    });
}

fn oid(w: DERWriter<'_>, components: &[u64]) {
    w.write_oid(&ObjectIdentifier::from_slice(components));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_is_in_it_whole() {
        let certificates = [vec![1; 10], vec![2; 300]].map(CertificateDer::from);
        let store = trust_store(&certificates);
        let held = yasna::parse_der(&store, |r| {
            let contents = r.read_sequence(|r| {
                assert_eq!(r.next().read_u8()?, 3);
                content(r.next())
            })?;
            let bags = yasna::parse_der(&contents, |r| r.collect_sequence_of(content))?;
            yasna::parse_der(&bags[0], |r| r.collect_sequence_of(certificate))
        });
        let held = held.unwrap();
        assert_eq!(held.iter().map(|(c, _)| c.as_slice()).collect::<Vec<_>>(), [&[1; 10][..], &[2; 300]]);
        assert_ne!(held[0].1, held[1].1, "the attributes hold the alias");
    }

    fn content(r: yasna::BERReader<'_, '_>) -> yasna::ASN1Result<Vec<u8>> {
        r.read_sequence(|r| {
            assert_eq!(r.next().read_oid()?, ObjectIdentifier::from_slice(DATA));
            r.next().read_tagged(Tag::context(0), |r| r.read_bytes())
        })
    }

    fn certificate(r: yasna::BERReader<'_, '_>) -> yasna::ASN1Result<(Vec<u8>, Vec<u8>)> {
        r.read_sequence(|r| {
            r.next().read_oid()?;
            let certificate = r.next().read_tagged(Tag::context(0), |r| {
                r.read_sequence(|r| {
                    r.next().read_oid()?;
                    r.next().read_tagged(Tag::context(0), |r| r.read_bytes())
                })
            })?;
            Ok((certificate, r.next().read_der()?))
        })
    }
}
