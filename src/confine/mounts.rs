//! The files of a confined command: the system's, less what is hidden, with locum's CA among the roots that the system trusts.
//! Nothing of it is left when the command has ended.

use super::plan::{ConfinePlan, TrustCovers};
use rustix::fs::{Access, CWD, access};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, move_mount, open_tree,
};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

/// Where clients look for the roots that the system trusts, each in one file: Debian and Alpine, Fedora, Alpine's OpenSSL.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
];
/// The same for Java.
const JAVA_STORES: &[&str] = &[
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/etc/ca-certificates/extracted/java-cacerts.jks",
];
/// Where OpenSSL looks for single certificates, by a hash of whose they are.
const HASHED_FOLDER: &str = "/etc/ssl/certs";
/// Files of that folder that are not links are copied up to this many bytes: they are bundles.
const MAX_COPIED: u64 = 4 * 1024 * 1024;

/// A step that failed, and why.
pub struct FailedStep {
    pub step: String,
    pub error: io::Error,
}

fn step<T>(what: impl Into<String>, done: Result<T, impl Into<io::Error>>) -> Result<T, FailedStep> {
    done.map_err(|error| FailedStep { step: what.into(), error: error.into() })
}

/// Changes what the mount namespace that this process is in shows: it has to be a new one, and the process the first of its
/// PID namespace. Ends in the command's working folder.
///
/// # Errors
/// What can't be mounted.
pub fn set_up(plan: &ConfinePlan) -> Result<(), FailedStep> {
    let apart = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("keep mounts apart from the system's", mount_change("/", apart))?;
    // what is to be seen, or written, through what comes over it
    let shown = clones(&plan.shown)?;
    let writable = clones(plan.only_writable.iter().flatten())?;
    if plan.only_writable.is_some() {
        step("make files read-only", read_only("/"))?;
        place(writable)?;
    }
    // after that, since /proc is written to by those who may
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    step("mount /proc", mount("proc", "/proc", "proc", flags, None))?;
    shield_kernel()?;
    resolve_by_us(&plan.resolv_conf)?;
    trust_us(&plan.trust)?;
    pin(&plan.hidden)?;
    plan.hidden.iter().try_for_each(|path| hide(path))?;
    plan.links.iter().try_for_each(|link| cover_link(link))?;
    place(shown)?;
    step("change to the working folder", rustix::process::chdir(&plan.directory))
}

/// A tree of mounts, taken as it is now.
struct MountTree {
    path: PathBuf,
    tree: OwnedFd,
    is_folder: bool,
}

fn clones<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Vec<MountTree>, FailedStep> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let clone = |path: &PathBuf| {
        let tree = step(format!("look at {}", path.display()), open_tree(CWD, path, flags))?;
        Ok(MountTree { is_folder: path.is_dir(), path: path.clone(), tree })
    };
    paths.into_iter().filter(|path| path.exists()).map(clone).collect()
}

/// Puts trees where they were, over what is there now; where nothing is, folders and files are made for it.
fn place(clones: Vec<MountTree>) -> Result<(), FailedStep> {
    for MountTree { path, tree, is_folder } in clones {
        let what = || format!("show {}", path.display());
        if !path.exists() {
            let folder = if is_folder { Some(path.as_path()) } else { path.parent() };
            step(what(), folder.map_or(Ok(()), make_folders))?;
            if !is_folder {
                step(what(), File::create(&path))?;
            }
        }
        step(what(), move_mount(&tree, "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH))?;
    }
    Ok(())
}

/// What of the kernel's files changes more than this command: control groups, and for root its settings. Shared memory is the
/// command's own, as its IPC is.
fn shield_kernel() -> Result<(), FailedStep> {
    if Path::new("/sys").is_dir() {
        step("make /sys read-only", read_only("/sys"))?;
    }
    if rustix::process::geteuid().is_root() {
        // a new /proc can't be mounted within once these are covered: for others they are closed as it is
        for path in ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"].iter().filter(|path| Path::new(path).is_dir()) {
            step(format!("make {path} read-only"), mount_bind_recursive(*path, *path))?;
            step(format!("make {path} read-only"), read_only(path))?;
        }
        hide(Path::new("/proc/sysrq-trigger"))?;
    }
    if Path::new("/dev/shm").is_dir() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        step("mount /dev/shm", mount("locum", "/dev/shm", "tmpfs", flags, Some(c"mode=1777")))?;
    }
    Ok(())
}

/// Makes a mount of each folder above what is hidden that could be moved away, and the cover with it: what is mounted is neither
/// renamed nor, without what is mounted below, mounted elsewhere.
fn pin(hidden: &[PathBuf]) -> Result<(), FailedStep> {
    let may_move = |path: &&Path| path.parent().is_some_and(|folder| access(folder, Access::WRITE_OK).is_ok());
    let above = hidden.iter().flat_map(|path| path.ancestors().skip(1)).filter(may_move);
    // in their order the outer ones come first
    for folder in above.collect::<BTreeSet<_>>() {
        match mount_bind_recursive(folder, folder) {
            // it was taken away in this moment, with what was to be hidden in it
            Err(Errno::NOENT) => {}
            done => step(format!("keep {} in its place", folder.display()), done)?,
        }
    }
    Ok(())
}

/// Covers a link itself, so that it isn't put somewhere else.
fn cover_link(link: &Path) -> Result<(), FailedStep> {
    let what = || format!("keep {} in its place", link.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let nothing = step(what(), open_tree(CWD, "/dev/null", flags))?;
    step(what(), move_mount(&nothing, "", CWD, link, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH))
}

fn make_folders(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// `mount_setattr(2)` with `AT_RECURSIVE`: what is mounted below is read-only too.
#[allow(unsafe_code, reason = "a system call that no crate at hand makes")]
fn read_only(path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: path and attributes are locals that outlive the call, and the size is theirs.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Names are asked of us. Without the file that is so by itself (resolv.conf(5)).
fn resolve_by_us(ours: &Path) -> Result<(), FailedStep> {
    match fs::canonicalize("/etc/resolv.conf") {
        Ok(path) if !ours.as_os_str().is_empty() => step("resolve names", mount_bind(ours, path)),
        _ => Ok(()),
    }
}

/// Puts files with our CA over those of the system.
fn trust_us(trust: &TrustCovers) -> Result<(), FailedStep> {
    if !trust.bundle.as_os_str().is_empty() {
        hash_folder(trust)?;
        cover(BUNDLES, &trust.bundle)?;
        cover(JAVA_STORES, &trust.java)?;
    }
    Ok(())
}

fn cover(targets: &[&str], by: &Path) -> Result<(), FailedStep> {
    let mut found: Vec<PathBuf> = targets.iter().filter_map(|target| fs::canonicalize(target).ok()).collect();
    found.sort();
    found.dedup();
    for target in found.into_iter().filter(|target| target.is_file()) {
        step(format!("put locum's CA into {}", target.display()), mount_bind(by, &target))?;
    }
    Ok(())
}

/// A copy of the folder of single certificates, with ours added: a mount can't add a file to a folder.
fn hash_folder(trust: &TrustCovers) -> Result<(), FailedStep> {
    let Ok(folder) = fs::canonicalize(HASHED_FOLDER) else { return Ok(()) };
    let what = || format!("put locum's CA into {}", folder.display());
    let copied = step(what(), Copied::of(&folder))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    step(what(), mount("locum", &folder, "tmpfs", flags, Some(c"mode=0755")))?;
    step(what(), copied.write(&folder))?;
    for (name, pem) in &trust.hashed {
        step(what(), fs::write(folder.join(name), pem))?;
    }
    Ok(())
}

/// What is in a folder, and below it.
struct Copied {
    links: Vec<(PathBuf, PathBuf)>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Copied {
    fn of(folder: &Path) -> io::Result<Self> {
        let mut copied = Self { links: Vec::new(), files: Vec::new() };
        copied.add(folder, Path::new(""), true)?;
        Ok(copied)
    }

    fn add(&mut self, folder: &Path, below: &Path, may_descend: bool) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, kind) = (below.join(entry.file_name()), entry.file_type()?);
            if kind.is_symlink() {
                self.links.push((name, fs::read_link(entry.path())?));
            } else if kind.is_dir() && may_descend {
                self.add(&entry.path(), &name, false)?;
            } else if kind.is_file() && entry.metadata()?.len() <= MAX_COPIED {
                // what this user may not read is nothing that clients of his read
                self.files.extend(fs::read(entry.path()).ok().map(|bytes| (name, bytes)));
            }
        }
        Ok(())
    }

    fn write(self, folder: &Path) -> io::Result<()> {
        let folders = self.files.iter().map(|(name, _)| name).chain(self.links.iter().map(|(name, _)| name));
        let folders: BTreeSet<_> = folders.filter_map(|name| name.parent()).collect();
        folders.iter().try_for_each(|below| fs::create_dir_all(folder.join(below)))?;
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes)?;
        }
        for (name, target) in &self.links {
            std::os::unix::fs::symlink(target, folder.join(name))?;
        }
        Ok(())
    }
}

/// An empty folder over a folder, and nothing over whatever else it is. What isn't there needs no hiding.
fn hide(path: &Path) -> Result<(), FailedStep> {
    let what = || format!("hide {}", path.display());
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let kind = metadata.file_type();
    let done = if metadata.is_dir() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("locum", path, "tmpfs", flags, Some(c"mode=0700"))
    } else if kind.is_file() || kind.is_socket() || kind.is_fifo() {
        mount_bind("/dev/null", path)
    } else {
        Ok(())
    };
    match done {
        // it was taken away in this moment
        Err(Errno::NOENT) => Ok(()),
        done => step(what(), done),
    }
}
