//! The helper between `locum run` and a confined command: this program again, before it does anything else. It puts up the
//! walls around itself, hands the listeners inside them out, and starts the command.
//!
//! Three processes: the helper proper makes the namespaces and waits; the first process of the new PID namespace mounts, gives
//! up all rights and waits for whatever loses its parent; the command is its child. They are of one process group, so that the
//! terminal's signals reach the command as without us, and each dies with the one before it.
#![allow(unsafe_code, reason = "fork, in a process that has one thread")]

use super::channel::{Channel, HelperMessage, HelperOrder, Received};
use super::mounts::FailedStep;
use super::network::NamespaceListeners;
use super::plan::{ConfineLevel, ConfinePlan};
use super::{filter, landlock, mounts, network};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, UnshareFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The argument by which this program is its own helper. It gives nobody a right that he had not: what it does is open to every
/// program.
pub const HELPER: &str = "confined-helper";
/// When something failed before there was a command; what it was has been told by then.
const FAILED: u8 = 125;

/// Is the helper, where this process was started as that.
pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != HELPER) {
        return None;
    }
    let descriptor = arguments.next()?.to_str()?.parse().ok()?;
    let command: Vec<OsString> = arguments.collect();
    // it was started as /proc/self/exe, which says nothing in a list of processes
    let _ = rustix::thread::set_name(c"locum");
    let Ok(channel) = Channel::inherited(descriptor) else { return Some(ExitCode::from(FAILED)) };
    Some(match plan(&channel) {
        Some(plan) => match plan.level {
            ConfineLevel::Namespaces => in_namespaces(channel, &plan, &command),
            ConfineLevel::Filter => filtered(channel, &plan, &command),
        },
        // whoever was to say what to do is gone
        None => ExitCode::from(FAILED),
    })
}

/// The plan, which is in a file: there is no bound to what is to be hidden.
fn plan(channel: &Channel) -> Option<ConfinePlan> {
    let Received { descriptors, .. } = channel.receive::<HelperOrder>().ok()??;
    let file = File::from(descriptors.into_iter().next()?);
    serde_json::from_reader(BufReader::new(file)).ok()
}

fn step<T>(what: &str, done: Result<T, impl Into<io::Error>>) -> Result<T, FailedStep> {
    done.map_err(|error| FailedStep { step: what.into(), error: error.into() })
}

fn tell(channel: &Channel, failed: FailedStep) -> ExitCode {
    let message = HelperMessage::Failed { step: failed.step, error: failed.error.to_string() };
    // whoever is gone does not want to know
    let _ = channel.send(&message, &[]);
    ExitCode::from(FAILED)
}

/// Whether the order came to start the command.
fn is_ordered(channel: &Channel) -> bool {
    matches!(channel.receive::<HelperOrder>(), Ok(Some(_)))
}

fn filtered(channel: Channel, plan: &ConfinePlan, command: &[OsString]) -> ExitCode {
    let ready = step("give up all rights", renounce_rights(false))
        .and_then(|()| step("restrict connections", landlock::apply(plan.proxy_port)))
        .and_then(|()| step("filter system calls", filter::apply(plan.level)))
        .and_then(|()| step("change to the working folder", rustix::process::chdir(&plan.directory)))
        .and_then(|()| step("say so", channel.send(&HelperMessage::Ready { only_ports: None }, &[])));
    match ready {
        Err(failed) => tell(&channel, failed),
        Ok(()) if is_ordered(&channel) => start(&channel, command),
        Ok(()) => ExitCode::from(FAILED),
    }
}

fn in_namespaces(channel: Channel, plan: &ConfinePlan, command: &[OsString]) -> ExitCode {
    let made = make_namespaces(plan).and_then(|listeners| Ok((step("start a process", fork())?, listeners)));
    match made {
        Err(failed) => tell(&channel, failed),
        Ok((None, listeners)) => first_process(channel, plan, listeners, command),
        Ok((Some(first), listeners)) => {
            drop((channel, listeners));
            close_to_others();
            // they are meant for the command, which has its own
            ignore_signals();
            let code = wait_for(first).map_or(FAILED.into(), reported);
            ExitCode::from(u8::try_from(code & 0xff).unwrap_or(FAILED))
        }
    }
}

fn make_namespaces(plan: &ConfinePlan) -> Result<NamespaceListeners, FailedStep> {
    // SIGTERM, which a command of `run` gets when we are gone, is not for this process
    step("end with us", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC;
    // SAFETY: this process has one thread, and shares nothing that would be taken apart.
    let unshared = unsafe { rustix::thread::unshare_unsafe(flags) };
    step(
        "make namespaces",
        unshared.map_err(|e| match e {
            Errno::NOSPC => io::Error::other("user.max_user_namespaces is 0, or used up"),
            e => e.into(),
        }),
    )?;
    // the same user inside: files look as they are, and nobody is root who was not
    step("map the user", fs::write("/proc/self/setgroups", "deny"))?;
    step("map the user", fs::write("/proc/self/uid_map", format!("{user} {user} 1")))?;
    step("map the group", fs::write("/proc/self/gid_map", format!("{group} {group} 1")))?;
    step("set up the network", network::set_up(plan.proxy_port, &plan.services, &plan.ports))
}

/// What the first process of the PID namespace does. All that is left in the namespace ends with it.
fn first_process(
    channel: Channel,
    plan: &ConfinePlan,
    listeners: NamespaceListeners,
    command: &[OsString],
) -> ExitCode {
    let ready = wall_in(&channel, plan, &listeners);
    drop(listeners);
    let child = match ready {
        Err(failed) => return tell(&channel, failed),
        Ok(()) if !is_ordered(&channel) => return ExitCode::from(FAILED),
        Ok(()) => step("start the command", fork()),
    };
    match child {
        Err(failed) => tell(&channel, failed),
        Ok(None) => {
            let _ = channel.send(&HelperMessage::Started, &[]);
            start(&channel, command)
        }
        Ok(Some(child)) => {
            drop(channel);
            let code = wait_for(child).map_or(FAILED.into(), reported);
            ExitCode::from(u8::try_from(code & 0xff).unwrap_or(FAILED))
        }
    }
}

fn wall_in(channel: &Channel, plan: &ConfinePlan, listeners: &NamespaceListeners) -> Result<(), FailedStep> {
    step("end with the helper", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    mounts::set_up(plan)?;
    close_to_others();
    step("give up all rights", renounce_rights(true))?;
    step("filter system calls", filter::apply(plan.level))?;
    let mut descriptors = vec![listeners.dns_udp.as_fd(), listeners.dns_tcp.as_fd(), listeners.proxy.as_fd()];
    descriptors.extend(listeners.intake.iter().map(|listener| listener.as_fd()));
    let ready = HelperMessage::Ready { only_ports: listeners.only_ports.clone() };
    step("hand out the listeners", channel.send(&ready, &descriptors))
}

/// No process of the same user looks into this one, or changes what it does.
fn close_to_others() {
    // refused by no kernel that has namespaces
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Whoever is root inside has no more rights than others, and no program's file gives any. Outside a namespace of its own an
/// ordinary user may not change what is `bounded`, and has nothing to be bounded.
fn renounce_rights(bounded: bool) -> io::Result<()> {
    match bound_rights() {
        Err(Errno::PERM) if !bounded => {}
        done => done?,
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

fn bound_rights() -> Result<(), Errno> {
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED,
    )?;
    for capability in (0..CapabilitySet::all().bits().count_ones()).map(|bit| 1_u64 << bit) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(capability)) {
            // the kernel knows fewer of them
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Becomes the command; comes back only where that can't be started.
fn start(channel: &Channel, command: &[OsString]) -> ExitCode {
    close_ways_out();
    if let Some((program, arguments)) = command.split_first() {
        let error = Command::new(program).args(arguments).exec();
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        let _ = channel.send(&HelperMessage::NotStarted { errno }, &[]);
    }
    ExitCode::from(FAILED)
}

/// Closes what was inherited and leads outside: sockets, folders and devices. Files and pipes, as shells hand them on, stay, and
/// so do the three of every command.
fn close_ways_out() {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: whatever the number stands for is asked for its kind, and made to end at exec; nothing of ours is closed.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            let is_kept = libc::fstat(number, &mut stat) == 0
                && matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFIFO);
            if !is_kept {
                libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// The child's pid, or `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so that what the child finds is whole.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Waits for this child, and for whatever else is ours to wait for, of any group; `None` when it was waited for elsewhere.
fn wait_for(child: Pid) -> Option<WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return Some(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// How a shell says it.
fn reported(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|n| SIGNALLED + n)).unwrap_or(FAILED.into())
}

/// Added to a signal's number, where a process can't die by it.
const SIGNALLED: i32 = 128;

fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: no handler is run.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
