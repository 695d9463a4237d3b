//! The root certificates of this machine: the system's own, and those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name besides. A
//! company's CA alone is often all that these two hold; who trusted nobody else then could reach nothing else.
//!
//! To read the system's takes longer than all else at the start of a command, so what was read is kept, in this process and in
//! a file, for as long as the files that it came from are the same.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use rustls::pki_types::CertificateDer;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// Where they are kept in a folder.
const CACHE: &str = "roots.cache";
/// What a file of them begins with.
const MAGIC: &[u8] = b"locum roots 1\n";
/// The largest such file that is read, in bytes: a system has some 300 KB.
const MAX_CACHE: u64 = 16 << 20;
const HASH: usize = 32;

/// What was read last, and what it came from.
static LAST: Mutex<Option<(Vec<u8>, Vec<CertificateDer<'static>>)>> = Mutex::new(None);

/// The system's, whatever the variables say. What can't be read is left out. They are kept in `folder` where one is given that
/// is there and ours alone.
pub fn of_system(folder: Option<&Path>) -> Vec<CertificateDer<'static>> {
    let origin = origin();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, roots)) = last.as_ref().filter(|(of, _)| of.as_slice() == origin.as_ref()) {
        return roots.clone();
    }
    let cache = folder.map(|folder| folder.join(CACHE));
    let kept = cache.as_deref().and_then(|path| kept(path, origin.as_ref()));
    let roots = kept.unwrap_or_else(|| {
        let roots = read();
        if let Some(path) = &cache {
            keep(path, origin.as_ref(), &roots);
        }
        roots
    });
    *last = Some((origin.as_ref().to_vec(), roots.clone()));
    roots
}

/// Those that the variables name, where they do.
pub fn of_variables() -> Vec<CertificateDer<'static>> {
    if are_named() { rustls_native_certs::load_native_certs().certs } else { Vec::new() }
}

fn are_named() -> bool {
    VARIABLES.iter().any(|name| std::env::var_os(name).is_some())
}

fn read() -> Vec<CertificateDer<'static>> {
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

/// Which files they come from, and in which state: path, device, inode, size and times of each.
fn origin() -> Digest {
    let mut text = format!("{}\n", are_named());
    let mut add = |path: &Path| {
        let state = fs::metadata(path)
            .map(|m| (m.dev(), m.ino(), m.size(), (m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())));
        text.push_str(&format!("{path:?} {:?}\n", state.ok()));
    };
    #[cfg(all(unix, not(target_vendor = "apple")))]
    {
        openssl_probe::probe().cert_file.iter().for_each(|file| add(file));
        for dir in openssl_probe::candidate_cert_dirs() {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            paths.iter().for_each(|path| add(path));
        }
    }
    digest(&SHA256, text.as_bytes())
}

/// Those of a file that nobody else could have written, where it is of this origin and whole.
fn kept(path: &Path, origin: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).ok()?;
    let file = OpenOptions::new().read(true).custom_flags(no_link).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let is_ours_alone = |m: &fs::Metadata| m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o022 == 0;
    if !metadata.is_file() || !is_ours_alone(&metadata) || !is_ours_alone(&fs::symlink_metadata(path.parent()?).ok()?) {
        return None;
    }
    let mut bytes = Vec::new();
    File::take(file, MAX_CACHE).read_to_end(&mut bytes).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(origin)?;
    let (hash, mut rest) = rest.split_at_checked(HASH)?;
    if digest(&SHA256, rest).as_ref() != hash {
        return None;
    }
    let mut roots = Vec::new();
    while !rest.is_empty() {
        let (length, more) = rest.split_at_checked(4)?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        let (root, more) = more.split_at_checked(length)?;
        roots.push(CertificateDer::from(root.to_vec()));
        rest = more;
    }
    Some(roots)
}

/// Where it can't be kept it is read again the next time.
fn keep(path: &Path, origin: &[u8], roots: &[CertificateDer<'_>]) {
    let mut body = Vec::new();
    for root in roots {
        body.extend(u32::try_from(root.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(root);
    }
    let whole = [MAGIC, origin, digest(&SHA256, &body).as_ref(), &body].concat();
    let Some(mut file) = path.parent().and_then(|folder| tempfile::NamedTempFile::new_in(folder).ok()) else { return };
    if file.write_all(&whole).is_ok() {
        let _ = file.persist(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn roots() -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(vec![1; 300]), CertificateDer::from(vec![2; 70_000])]
    }

    #[test]
    fn what_was_kept_is_found_while_its_origin_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (path, origin) = (dir.path().join(CACHE), [7; HASH]);
        assert_eq!(kept(&path, &origin), None);
        keep(&path, &origin, &roots());
        assert_eq!(kept(&path, &origin), Some(roots()));
        assert_eq!(kept(&path, &[8; HASH]), None);
        keep(&path, &[8; HASH], &[]);
        assert_eq!(kept(&path, &[8; HASH]), Some(Vec::new()));
        // where there is no such folder it is not kept
        keep(&dir.path().join("none").join(CACHE), &origin, &roots());
    }

    #[test]
    fn what_others_could_have_written_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (path, origin) = (dir.path().join(CACHE), [7; HASH]);
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        keep(&path, &origin, &roots());
        for mode in [0o620, 0o602] {
            set(&path, mode);
            assert_eq!(kept(&path, &origin), None, "{mode:o}");
        }
        set(&path, 0o600);
        set(dir.path(), 0o770);
        assert_eq!(kept(&path, &origin), None);
        set(dir.path(), 0o700);
        assert_eq!(kept(&path, &origin), Some(roots()));
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(kept(&link, &origin), None);
    }

    #[test]
    fn a_broken_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (path, origin) = (dir.path().join(CACHE), [7; HASH]);
        keep(&path, &origin, &roots());
        let whole = fs::read(&path).unwrap();
        let put = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
        for cut in [0, 1, MAGIC.len(), MAGIC.len() + HASH, MAGIC.len() + 2 * HASH, whole.len() - 1] {
            put(&whole[..cut]);
            assert_eq!(kept(&path, &origin), None, "{cut}");
        }
        for at in [0, MAGIC.len() + HASH, MAGIC.len() + 2 * HASH, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            put(&changed);
            assert_eq!(kept(&path, &origin), None, "{at}");
        }
        put(&whole);
        assert_eq!(kept(&path, &origin), Some(roots()));
    }

    #[test]
    fn the_systems_own_are_the_same_from_either() {
        let dir = tempfile::tempdir().unwrap();
        let first = of_system(Some(dir.path()));
        assert_eq!(of_system(None), first);
        assert_eq!(read(), first);
    }
}
