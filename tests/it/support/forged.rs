//! A server whose certificate is signed by locum's own CA for whatever name, as a thief of its key would have it signed.

use locum::ca::Authority;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

pub struct Forged {
    pub port: u16,
}

impl Forged {
    /// Serves until the process ends.
    pub fn start(authority: &Authority, name: &str) -> Self {
        let config = Arc::new(config(authority, name));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(config.clone()).expect("a session");
                std::thread::spawn(move || {
                    let mut stream = StreamOwned::new(session, stream);
                    // whoever refuses the certificate, or asks for nothing, is gone by then
                    let mut asked = [0; 4096];
                    if stream.read(&mut asked).is_ok_and(|n| n > 0) {
                        let page = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\nit is taken";
                        let _ = stream.write_all(page.as_bytes());
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { port }
    }
}

fn config(authority: &Authority, name: &str) -> ServerConfig {
    let pem = authority.to_pem_with_key();
    let begin = pem.find("-----BEGIN PRIVATE KEY-----").expect("the key");
    let signs: &CertificateDer<'_> = authority.intermediates().first().expect("an intermediate");
    let issuer = Issuer::from_ca_cert_der(signs, KeyPair::from_pem(&pem[begin..]).expect("a key")).expect("an issuer");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    // OpenSSL would take an address there for a DNS name
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    params.distinguished_name.push(DnType::CommonName, if is_address { "a thief" } else { name });
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let now = std::time::SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(3600)).into();
    params.not_after = (now + std::time::Duration::from_secs(3600)).into();
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone(), signs.clone()], key)
        .expect("a configuration")
}
