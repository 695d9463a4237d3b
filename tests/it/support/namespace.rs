//! A network of a test's own: nobody else is there, so that ports can be chosen and rules of the firewall loaded.

use super::doors::ELSEWHERE;
use super::locum::{finish, told};
use super::{Home, Serve};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc;

/// The user that locum runs as there; the test's own is the agent's.
const LOCUMS_USER: u32 = 65534;

/// Runs `work` in a network namespace of its own, with loopback and an address that leads nowhere. What it starts is there too:
/// threads, and programs.
pub fn inside(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        enter_new();
        ip(&["address", "add", &format!("{}/32", Ipv4Addr::from(ELSEWHERE)), "dev", "lo"]);
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A second network, joined to the one that it is made in by a cable.
pub struct Elsewhere {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Elsewhere {
    /// One in which a machine has the address `host`, the first of its network; the other end of the cable has the second.
    pub fn of(host: Ipv4Addr) -> Self {
        let (work, given) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, number) = mpsc::channel();
        std::thread::spawn(move || {
            enter_new();
            tell.send(own_thread()).expect("the test");
            given.iter().for_each(|work| work());
        });
        let there = number.recv().expect("a network");
        let near = Ipv4Addr::from(u32::from(host) + 1);
        ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &there]);
        ip(&["address", "add", &format!("{near}/24"), "dev", "near"]);
        ip(&["link", "set", "near", "up"]);
        let elsewhere = Self { work };
        elsewhere.run(move || {
            ip(&["address", "add", &format!("{host}/24"), "dev", "far"]);
            ip(&["link", "set", "far", "up"]);
        });
        elsewhere
    }

    /// What `work` gives, done there.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, done) = mpsc::channel();
        self.work.send(Box::new(move || drop(tell.send(work())))).expect("its thread");
        done.recv().expect("an end")
    }
}

/// The number of this thread, as the system counts them.
fn own_thread() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("a thread");
    link.file_name().expect("a number").to_string_lossy().into_owned()
}

/// Moves this thread into a network of its own.
fn enter_new() {
    // SAFETY: it touches no memory, and moves this thread alone.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    ip(&["link", "set", "lo", "up"]);
}

/// Runs `ip` of iproute2.
pub fn ip(args: &[&str]) {
    let output = finish(Command::new("ip").args(args));
    assert!(output.status.success(), "ip {args:?}: {}", told(&output));
}

/// The service of a home whose `[proxy]` has [`transparent`], as a user of its own, and the rules that `locum env --nft` prints.
pub fn serve(home: Home) -> Serve {
    let output = finish(&mut home.locum(&["env", "--nft"]));
    assert!(output.status.success(), "{}", told(&output));
    let rules = home.path().join("rules.nft");
    std::fs::write(&rules, &output.stdout).expect("a file");
    let loaded = finish(home.command("nft").arg("-f").arg(&rules));
    assert!(loaded.status.success(), "{}", told(&loaded));
    // where the tests are built this user may not come
    let program = home.path().join("locum");
    std::fs::copy(env!("CARGO_BIN_EXE_locum"), &program).expect("a copy of the program");
    let owned = finish(home.command("chown").arg("-R").arg(LOCUMS_USER.to_string()).arg(home.path()));
    assert!(owned.status.success(), "{}", told(&owned));
    let mut command = home.command("setpriv");
    command
        .arg(format!("--reuid={LOCUMS_USER}"))
        .arg("--clear-groups")
        .arg(&program)
        .arg("--config")
        .arg(home.config())
        .arg("--state")
        .arg(home.state())
        .arg("serve");
    Serve::of(home, &mut command)
}

/// Lines of `[proxy]` for a transparent listener whose agents run as the test's own user.
pub fn transparent() -> String {
    format!("transparent = \"127.0.0.1:8789\"\nuids = [{}]\n", rustix::process::geteuid().as_raw())
}
