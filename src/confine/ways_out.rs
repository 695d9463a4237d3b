//! What a confined command does not find: sockets by which it could have others act for it outside, and keyrings.
//!
//! A folder is hidden where that is known to hold such sockets, since one that is made later is hidden with it; of other sockets
//! those that are there when the command starts.

use rustix::fs::{Access, access};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

/// Folders of services and of sessions, where they are.
const FOLDERS: &[&str] = &[
    "/run/dbus",
    "/run/systemd",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/libvirt",
    "/run/lxd",
    "/run/incus",
    "/run/pcscd",
    "/run/avahi-daemon",
    "/run/nscd",
    "/run/snapd",
    "/run/screen",
    "/tmp/.X11-unix",
    "/tmp/.ICE-unix",
    "/tmp/.font-unix",
];
/// Sockets that may have been brought into a container, whose network does not know of them.
const SOCKETS: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd.sock",
    "/run/snapd.socket",
    "/run/snapd-snap.socket",
    "/run/buildkit/buildkitd.sock",
    "/var/lib/lxd/unix.socket",
    "/var/lib/incus/unix.socket",
];
/// Beginnings of folders below the one for temporary files, each followed by something that is made up.
const TEMPORARY: &[&str] =
    &["ssh-", "tmux-", "gpg-", "dbus-", "ksocket-", "orbit-", "keyring-", "kde-", "screen-", "locum-run-"];
/// So many entries of a folder, and of those below it, are looked at for sockets.
const MOST_LOOKED_AT: usize = 5_000;
/// Keyrings, below the user's folder for data.
const KEYRINGS: &[&str] = &["keyrings", "kwalletd"];
/// Variables that name a socket, or a folder of such: those of ssh, gpg, tmux, D-Bus, Docker and of desktops.
const VARIABLES: &[&str] = &[
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    "TMUX",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SYSTEM_BUS_ADDRESS",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "PULSE_SERVER",
    "WAYLAND_DISPLAY",
    "VSCODE_IPC_HOOK_CLI",
    "VSCODE_GIT_IPC_HANDLE",
];

/// The ways out that are there now. `now` is what a variable says; `directory` is the command's working folder.
pub fn hidden(now: &dyn Fn(&str) -> Option<String>, directory: &Path) -> Vec<PathBuf> {
    let variable = |name: &str| now(name).filter(|value| !value.is_empty());
    let runtime = format!("/run/user/{}", rustix::process::getuid().as_raw());
    let mut all: Vec<PathBuf> = FOLDERS.iter().chain(SOCKETS).map(PathBuf::from).collect();
    all.push(runtime.into());
    all.extend(variable("XDG_RUNTIME_DIR").map(PathBuf::from));
    all.extend(VARIABLES.iter().filter_map(|name| variable(name)).filter_map(|value| named_by(&value)));
    let home = variable("HOME").map(PathBuf::from);
    let data = variable("XDG_DATA_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".local/share")));
    all.extend(KEYRINGS.iter().filter_map(|name| Some(data.as_ref()?.join(name))));
    for folder in BTreeSet::from([std::env::temp_dir(), "/tmp".into()]) {
        // tmux takes no other place for its sockets, now or later
        let tmux = folder.join(format!("tmux-{}", rustix::process::getuid().as_raw()));
        let _ = fs::DirBuilder::new().mode(0o700).create(tmux);
        all.extend(temporary(&folder));
        all.extend(sockets_below(&folder, 2));
    }
    all.extend(sockets());
    all.extend(sockets_below(Path::new("/run"), 3));
    all.extend(sockets_below(directory, 2));
    if let Some(home) = &home {
        all.extend(sockets_below(home, 2));
    }
    all
}

/// The path in a variable: `unix:path=/run/bus,guid=…`, `unix:///run/docker.sock`, `/tmp/tmux-0/default,12,0`, or just it.
fn named_by(value: &str) -> Option<PathBuf> {
    let value = value.strip_prefix("unix:").unwrap_or(value);
    let value = value.strip_prefix("path=").unwrap_or(value);
    let path = value.split([',', ';', ':']).next()?;
    let path = PathBuf::from(if path.starts_with("//") { &path[1..] } else { path });
    path.is_absolute().then_some(path)
}

fn temporary(folder: &Path) -> Vec<PathBuf> {
    let is_one = |name: &str| TEMPORARY.iter().any(|beginning| name.starts_with(beginning));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).map(|entry| entry.path()).collect()
}

/// The sockets by path that somebody listens on in this network namespace (unix(7) says nothing of `/proc/net/unix`; its last
/// column is the path).
fn sockets() -> Vec<PathBuf> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let paths = table.lines().skip(1).filter_map(|line| line.find(" /").map(|at| PathBuf::from(&line[at + 1..])));
    paths.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Sockets in a folder and so many levels below it: the system tells of a socket by the path that it was first given, if that.
fn sockets_below(folder: &Path, levels: usize) -> Vec<PathBuf> {
    let (mut found, mut looked_at) = (Vec::new(), 0);
    // the nearest first
    let mut folders = VecDeque::from([(folder.to_path_buf(), levels)]);
    while let Some((folder, levels)) = folders.pop_front() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > MOST_LOOKED_AT {
                return found;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_socket() => found.push(entry.path()),
                Ok(kind) if kind.is_dir() && levels > 0 => folders.push_back((entry.path(), levels - 1)),
                _ => {}
            }
        }
    }
    found
}

/// The links on the way to these paths that whoever runs this could put elsewhere.
pub fn links<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Vec<PathBuf> {
    let may_change = |path: &Path| path.parent().is_some_and(|folder| access(folder, Access::WRITE_OK).is_ok());
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let found = paths.flat_map(|path| path.ancestors()).filter(|path| is_link(path) && may_change(path));
    found.map(Path::to_path_buf).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Paths to hide and those to show all the same, as they are behind links; what is below a hidden folder is hidden already.
pub fn settled(hidden: Vec<PathBuf>, allowed: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let real = |path: &PathBuf| fs::canonicalize(path).ok();
    let allowed: BTreeSet<PathBuf> = allowed.iter().filter_map(real).collect();
    let hidden: BTreeSet<PathBuf> = hidden.iter().filter_map(real).filter(|path| !allowed.contains(path)).collect();
    let is_below = |path: &PathBuf| path.ancestors().skip(1).any(|folder| hidden.contains(folder));
    let shown = allowed.into_iter().filter(|path| is_below(path)).collect();
    (hidden.iter().filter(|path| !is_below(path)).cloned().collect(), shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn variables_name_their_sockets_in_many_ways() {
        for (value, path) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/tmp/dbus-x,guid=12", Some("/tmp/dbus-x")),
            ("unix:///run/user/1000/docker.sock", Some("/run/user/1000/docker.sock")),
            ("unix:/run/pulse/native", Some("/run/pulse/native")),
            ("/tmp/tmux-1000/default,123,0", Some("/tmp/tmux-1000/default")),
            ("/tmp/gpg/S.gpg-agent:123:1", Some("/tmp/gpg/S.gpg-agent")),
            ("tcp://127.0.0.1:2375", None),
            ("wayland-0", None),
            ("", None),
        ] {
            assert_eq!(named_by(value), path.map(PathBuf::from), "{value}");
        }
    }

    #[test]
    fn sockets_are_found_and_folders_hide_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir(at("session")).unwrap();
        let _sockets = ["alone", "session/bus", "session/db"].map(|name| UnixListener::bind(at(name)).unwrap());
        let found: Vec<PathBuf> = sockets().into_iter().filter(|path| path.starts_with(&root)).collect();
        assert_eq!(found, [at("alone"), at("session/bus"), at("session/db")]);
        let hidden = [found, vec![at("session"), at("missing")]].concat();
        let settled = settled(hidden, &[at("session/db")]);
        assert_eq!(settled, (vec![at("alone"), at("session")], vec![at("session/db")]));
    }
}
