//! The filter of system calls (seccomp(2)) that a confined command and all that it starts are under.

use super::plan::ConfineLevel;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};
use std::collections::BTreeMap;
use std::io;

/// What a socket is made of is told by its type's low bits; the others are flags.
const TYPE_MASK: u64 = 0xf;
/// Numbers of the x32 ABI: calls of x86-64 by other numbers, which no rule here would see.
const X32: u32 = 0x4000_0000;

/// Puts this thread, and what it starts, under the filters of a level. Gains of rights by a program's file end with it.
///
/// # Errors
/// The kernel's, or that this processor is unknown.
pub fn apply(level: ConfineLevel) -> io::Result<()> {
    for (errno, rules) in refusals(level) {
        apply_filter(&program(errno, rules)?).map_err(io::Error::other)?;
    }
    if cfg!(target_arch = "x86_64") {
        apply_filter(&no_x32()).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Of an argument, by its place: how it is compared, and with what.
type Condition = (u8, SeccompCmpOp, u64);
/// Of each system call those rules of which one has to match, all of whose conditions have to hold; without any rule the call is
/// always meant.
type Rules = BTreeMap<i64, Vec<Vec<Condition>>>;

fn program(errno: i32, rules: Rules) -> io::Result<BpfProgram> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let compiled = |conditions: Vec<Condition>| {
        let conditions = conditions.into_iter().map(|(argument, operator, value)| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    // one that can't be compiled is an error, and never left out
    let rules = rules.into_iter().map(|(call, rules)| {
        Ok((call, rules.into_iter().map(compiled).collect::<Result<Vec<_>, seccompiler::BackendError>>()?))
    });
    let rules = rules.collect::<Result<BTreeMap<_, _>, seccompiler::BackendError>>().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

/// What is refused, by the error that a program gets.
fn refusals(level: ConfineLevel) -> [(i32, Rules); 3] {
    [(libc::ENOSYS, not_there()), (libc::EAFNOSUPPORT, other_sockets(level)), (libc::EPERM, not_permitted(level))]
}

/// It does by itself what the filter would refuse to be asked for.
fn not_there() -> Rules {
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register]
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect()
}

/// Families and kinds of sockets that lead elsewhere than to the proxy.
fn other_sockets(level: ConfineLevel) -> Rules {
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let mut rules: Vec<Vec<Condition>> = vec![known.map(|family| differs(0, family)).into()];
    // of netlink only what tells of addresses and routes
    rules.push(vec![equals(0, libc::AF_NETLINK), differs(2, libc::NETLINK_ROUTE)]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        rules.push(vec![equals(0, family), has_bits(1, TYPE_MASK, libc::SOCK_RAW)]);
        if level == ConfineLevel::Filter {
            // Landlock knows TCP alone, and not its kind with several paths
            let others = [libc::SOCK_DGRAM, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP];
            rules.extend(others.map(|kind| vec![equals(0, family), has_bits(1, TYPE_MASK, kind)]));
            rules.push(vec![equals(0, family), differs(2, 0), differs(2, libc::IPPROTO_TCP)]);
        }
    }
    BTreeMap::from([(libc::SYS_socket, rules)])
}

fn not_permitted(level: ConfineLevel) -> Rules {
    // what is typed into the terminal is read by whoever started us
    // (the type of these numbers differs between C libraries)
    let requests = [libc::TIOCSTI, libc::TIOCLINUX].map(|request| u32::try_from(request).unwrap_or_default());
    let terminal = requests.map(|request| vec![equals(1, request)]).to_vec();
    let keyrings = [libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key].map(|call| (call, Vec::new()));
    let mut rules = BTreeMap::from_iter(keyrings);
    rules.insert(libc::SYS_ioctl, terminal);
    if level == ConfineLevel::Filter {
        let others = [libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd];
        rules.extend(others.map(|call| (call, Vec::new())));
        // a connection that is opened by what is sent on it: no call to connect is seen
        let opens = |flags| vec![vec![has_bits(flags, FAST_OPEN, libc::MSG_FASTOPEN)]];
        rules.extend([(libc::SYS_sendto, opens(3)), (libc::SYS_sendmsg, opens(2)), (libc::SYS_sendmmsg, opens(3))]);
    }
    rules
}

const FAST_OPEN: u64 = libc::MSG_FASTOPEN as u64;

fn equals(argument: u8, value: impl Into<i64>) -> Condition {
    (argument, SeccompCmpOp::Eq, value.into().cast_unsigned())
}

fn differs(argument: u8, value: impl Into<i64>) -> Condition {
    (argument, SeccompCmpOp::Ne, value.into().cast_unsigned())
}

fn has_bits(argument: u8, mask: u64, value: impl Into<i64>) -> Condition {
    (argument, SeccompCmpOp::MaskedEq(mask), value.into().cast_unsigned())
}

/// What seccompiler has no word for: any call by a number of x32 is refused.
fn no_x32() -> BpfProgram {
    const NUMBER_OF_CALL: u32 = 0;
    let statement = |code: u32, k: u32, jump: u8| sock_filter { code: code as u16, jt: jump, jf: 0, k };
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER_OF_CALL, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(), 0),
    ]
}
