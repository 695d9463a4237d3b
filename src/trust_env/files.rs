//! The files that the variables name: a bundle of all roots, Java's trust store, the settings of wget, PHP and apt, which take
//! theirs from nowhere else, those of curl, which outrank variables, and what Node loads, since before version 24 it knows of no
//! proxy.

use super::names::CA_FILE;
use super::pkcs12;
use super::settings_files::{apt_first, apt_last, curl_proxy, curlrc, php_ini, wgetrc};
use crate::disk::{self, Rights};
use crate::system::roots;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The largest file of the user's that is read.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Where apt looks for the file that it reads behind all others.
const APT_MAIN: &str = "/etc/apt/apt.conf";

/// Paths of the files by which clients trust the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// PEM: the system's roots, the user's, and ours.
    pub bundle: PathBuf,
    /// PEM: the user's and ours, for who adds them to roots of its own.
    pub additions: PathBuf,
    /// The same as the bundle, as PKCS#12.
    pub trust_store: PathBuf,
    /// The settings of wget.
    pub wgetrc: PathBuf,
    /// A folder of settings for PHP.
    pub php_ini_dir: PathBuf,
    /// The folder of curl's settings.
    pub curl_home: PathBuf,
    /// The settings that apt reads first.
    pub apt_conf: PathBuf,
    /// What Node loads before a program.
    pub node_preload: PathBuf,
}

/// An error of a file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct TrustFilesError {
    /// The file.
    pub path: PathBuf,
    /// The system's reason.
    pub error: io::Error,
}

impl TrustFiles {
    /// Their names in a folder.
    pub fn below(dir: &Path) -> Self {
        Self {
            bundle: dir.join("ca-bundle.pem"),
            additions: dir.join("additional-cas.pem"),
            trust_store: dir.join("truststore.p12"),
            wgetrc: dir.join("wgetrc"),
            php_ini_dir: dir.join("php"),
            curl_home: dir.join("curl"),
            apt_conf: dir.join("apt").join("first.conf"),
            node_preload: dir.join("node_preload.cjs"),
        }
    }

    /// Writes them into `dir`, which has to be there and closed to others. `ours` is PEM, and may hold more than one
    /// certificate while the CA is being changed; `shared` is a file that is there for those who can't look into `dir`; `now` is
    /// what a variable says.
    ///
    /// # Errors
    /// A file that can't be written. One of the user's that can't be read is left out: clients that trusted it
    /// complain by themselves.
    pub fn write(
        dir: &Path,
        ours: &str,
        shared: Option<&Path>,
        now: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TrustFilesError> {
        let files = Self::below(dir);
        let own = own_ca_files(now);
        let mut others = roots::of_system(None);
        let is_stale = |c: &CertificateDer<'_>| own.contains(&files.bundle) && is_of_locum(c);
        others.extend(roots::of_variables().into_iter().filter(|certificate| !is_stale(certificate)));
        let certificates = certificates_of(others, &own, &files.bundle, ours);
        let bundle = pem(&certificates);
        put(&files.bundle, bundle.as_bytes())?;
        if let Some(path) = shared {
            fs::write(path, &bundle).map_err(|error| TrustFilesError { path: path.into(), error })?;
        }
        let additions = certificates_of(Vec::new(), &own, &files.bundle, ours);
        put(&files.additions, pem(&additions).as_bytes())?;
        put(&files.trust_store, &pkcs12::trust_store(&certificates))?;
        put(&files.node_preload, include_bytes!("node_preload.cjs"))?;
        files.write_settings(shared.unwrap_or(&files.bundle), now)?;
        Ok(files)
    }
}

impl TrustFiles {
    /// Has curl trust a proxy that speaks TLS by the bundle too, for which it reads no variable.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn trust_proxy(&self, now: &dyn Fn(&str) -> Option<String>) -> Result<(), TrustFilesError> {
        let text = curlrc(&own_curlrc(now)) + &curl_proxy(&self.bundle);
        put(&self.curl_home.join(".curlrc"), text.as_bytes())
    }

    /// Those of single clients, which can hold the user's passwords. `of_apt` is its bundle.
    fn write_settings(&self, of_apt: &Path, now: &dyn Fn(&str) -> Option<String>) -> Result<(), TrustFilesError> {
        let in_folder = |path: &Path, text: String| {
            let folder = path.parent().unwrap_or(path);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| TrustFilesError { path: folder.into(), error })?;
            put(path, text.as_bytes())
        };
        in_folder(&self.wgetrc, wgetrc(&own_wgetrc(now), &self.bundle))?;
        in_folder(&self.php_ini_dir.join("locum.ini"), php_ini(&self.bundle))?;
        in_folder(&self.curl_home.join(".curlrc"), curlrc(&own_curlrc(now)))?;
        let last = self.apt_conf.with_file_name("last.conf");
        let there = |path: PathBuf| path.is_file().then_some(path);
        let own = now("APT_CONFIG").filter(|v| !v.is_empty()).map(PathBuf::from).and_then(there);
        in_folder(&self.apt_conf, apt_first(own.as_deref(), &last))?;
        in_folder(&last, apt_last(there(APT_MAIN.into()).as_deref(), of_apt))
    }
}

/// The files of CA certificates that the user's variables name, each once. What they hold is to be trusted upstream
/// too, where the user sits behind a proxy that intercepts.
pub fn own_ca_files(now: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    for path in CA_FILE.iter().filter_map(|name| now(name)).filter(|v| !v.is_empty()).map(PathBuf::from) {
        if !out.contains(&path) {
            out.push(path);
        }
    }
    out
}

/// The variables of CA files that name a file which is not there, and that file.
pub fn missing_ca_files(now: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, PathBuf)> {
    let named = CA_FILE.iter().filter_map(|name| Some((*name, PathBuf::from(now(name).filter(|v| !v.is_empty())?))));
    named.filter(|(_, path)| !path.is_file()).collect()
}

/// All that a child trusts, each certificate once; ours first, so that it is seen at a glance. `bundle` is where they go: of
/// what a shell was given before, a CA of locum's that has been rotated away is trusted no longer.
fn certificates_of(
    system: Vec<CertificateDer<'static>>,
    own: &[PathBuf],
    bundle: &Path,
    ours: &str,
) -> Vec<CertificateDer<'static>> {
    let ours = in_pem(ours.as_bytes());
    let own = own.iter().filter_map(|path| Some((path, read(path).ok()?)));
    let own = own.flat_map(|(path, text)| {
        let is_ours = path.parent() == bundle.parent();
        in_pem(&text).into_iter().filter(move |certificate| !(is_ours && is_of_locum(certificate)))
    });
    let mut seen = HashSet::new();
    ours.into_iter().chain(own).chain(system).filter(|c| seen.insert(c.clone())).collect()
}

fn in_pem(text: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text).filter_map(Result::ok).collect()
}

/// Whether it names locum as its maker, as our CA does.
fn is_of_locum(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    parsed.subject().iter_organization().any(|organization| organization.as_str() == Ok("locum"))
}

/// PEM as RFC 7468 has it, 64 characters on a line.
fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut out = String::new();
    for certificate in certificates {
        let mut rest = STANDARD.encode(certificate);
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        while rest.len() > 64 {
            let tail = rest.split_off(64);
            out.push_str(&rest);
            out.push('\n');
            rest = tail;
        }
        out.push_str(&rest);
        out.push_str("\n-----END CERTIFICATE-----\n");
    }
    out
}

/// The settings that wget would have read had `WGETRC` not been changed.
fn own_wgetrc(now: &dyn Fn(&str) -> Option<String>) -> String {
    let named = now("WGETRC").filter(|v| !v.is_empty()).map(PathBuf::from);
    let path = named.or_else(|| now("HOME").map(|home| Path::new(&home).join(".wgetrc")));
    path.and_then(|p| read(&p).ok()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// The settings that curl would have read had `CURL_HOME` not been changed: the first file that is there.
fn own_curlrc(now: &dyn Fn(&str) -> Option<String>) -> String {
    let text = curlrc_places(now).iter().filter_map(|path| read(path).ok()).next();
    text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Where curl looks for its settings, in its order.
pub(super) fn curlrc_places(now: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    const PLACES: [(&str, &str); 5] = [
        ("CURL_HOME", ".curlrc"),
        ("XDG_CONFIG_HOME", "curlrc"),
        ("XDG_CONFIG_HOME", ".curlrc"),
        ("HOME", ".curlrc"),
        ("HOME", ".config/curlrc"),
    ];
    let place = |(name, file): &(&str, &str)| Some(Path::new(&now(name).filter(|v| !v.is_empty())?).join(file));
    PLACES.iter().filter_map(place).collect()
}

/// The whole of a file, up to a size that no file of settings has. A pipe, a folder and the like are none.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk::open_regular(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whole or not at all: children read these files at any time. For us alone: a wgetrc can hold the user's passwords.
fn put(path: &Path, bytes: &[u8]) -> Result<(), TrustFilesError> {
    disk::put(path, bytes, Rights::Private).map_err(|error| TrustFilesError { path: path.into(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::{Authority, Scope};
    use std::time::SystemTime;

    fn certificate(fill: u8) -> CertificateDer<'static> {
        CertificateDer::from(vec![fill; 100])
    }

    #[test]
    fn the_bundle_holds_ours_the_users_and_the_systems_each_once() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own.pem");
        fs::write(&own, format!("# mine\n{}", pem(&[certificate(2), certificate(3)]))).unwrap();
        let missing = dir.path().join("missing.pem");
        let bundle = dir.path().join("ca-bundle.pem");
        let all =
            certificates_of(vec![certificate(3), certificate(4)], &[own, missing], &bundle, &pem(&[certificate(1)]));
        assert_eq!(all, [1, 2, 3, 4].map(certificate));
        let text = pem(&all);
        assert!(text.lines().all(|l| l.len() <= 64));
        let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(read, all);
    }

    /// In a shell that has evaluated `locum env` already, the user's own file is the one that is written.
    #[test]
    fn a_ca_that_was_rotated_away_is_trusted_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = TrustFiles::below(dir.path()).bundle;
        let now = |name: &str| (name == "SSL_CERT_FILE").then(|| bundle.display().to_string());
        let new = || Authority::generate(SystemTime::now(), "test", &Scope::Any).unwrap();
        let (old, next) = (new(), new());
        fs::write(&bundle, pem(&[certificate(1)])).unwrap();
        let trusted = |ours: &str| {
            TrustFiles::write(dir.path(), ours, None, &now).unwrap();
            let held = in_pem(&fs::read(&bundle).unwrap());
            [old.certificate(), next.certificate(), &certificate(1)].map(|c| held.contains(c))
        };
        assert_eq!(trusted(old.certificate_pem()), [true, false, true]);
        assert_eq!(trusted(&format!("{}{}", old.certificate_pem(), next.certificate_pem())), [true, true, true]);
        assert_eq!(trusted(next.certificate_pem()), [false, true, true]);
    }

    #[test]
    fn the_files_are_written_for_us_alone_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let now = |name: &str| (name == "HOME").then(|| home.clone());
        for fill in [1, 2] {
            let files = TrustFiles::write(dir.path(), &pem(&[certificate(fill)]), None, &now).unwrap();
            let first = CertificateDer::from_pem_file(&files.bundle).unwrap();
            assert_eq!(first, certificate(fill));
            let mut names: Vec<_> =
                fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            assert_eq!(
                names,
                [
                    "additional-cas.pem",
                    "apt",
                    "ca-bundle.pem",
                    "curl",
                    "node_preload.cjs",
                    "php",
                    "truststore.p12",
                    "wgetrc"
                ]
            );
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                assert_eq!(fs::metadata(&files.wgetrc).unwrap().mode() & 0o777, 0o600);
            }
        }
    }
}
