//! The root certificates of this machine: the system's own, and those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name besides. A
//! company's CA alone is often all that these two hold; who trusted nobody else then could reach nothing else.

use rustls::pki_types::CertificateDer;

const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The system's, whatever the variables say. What can't be read is left out.
pub fn of_system() -> Vec<CertificateDer<'static>> {
    if !are_named() {
        return rustls_native_certs::load_native_certs().certs;
    }
    // that function would ask the variables alone
    #[cfg(all(unix, not(target_vendor = "apple")))]
    return openssl_probe::candidate_cert_dirs()
        .flat_map(|dir| rustls_native_certs::load_certs_from_paths(None, Some(dir)).certs)
        .collect();
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    Vec::new()
}

/// Those that the variables name, where they do.
pub fn of_variables() -> Vec<CertificateDer<'static>> {
    if are_named() { rustls_native_certs::load_native_certs().certs } else { Vec::new() }
}

fn are_named() -> bool {
    VARIABLES.iter().any(|name| std::env::var_os(name).is_some())
}
