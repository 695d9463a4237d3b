//! The network of a confined command: a namespace of its own in which every address is this machine's, so that each TCP
//! connection, whatever it is meant for, comes to a listener of ours that says where it was to go. Everything else but DNS on
//! loopback is unreachable, and said so at once.

use super::netlink::{Attribute, NetlinkRequest, NetlinkSocket};
use super::nftables;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Of the range for tests of network devices (RFC 2544, RFC 6815), which nobody routes. What goes out has it for its source:
/// a client that finds no address of its own asks for none of a name (`AI_ADDRCONFIG`).
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// A unique local address (RFC 4193), for the same purpose.
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xc0f, 0, 0, 0, 0, 0, 1);
/// Where connections are taken in: no program of the command can listen there, having no rights over low ports.
pub const INTAKE_PORT: u16 = 1;
const DNS_PORT: u16 = 53;

const LOOPBACK_INDEX: u32 = 1;
const BACKLOG: i32 = 1024;
/// Not in libc: the address of a listener may be any (ipv6(7) says nothing of it; linux/in6.h).
const IPV6_TRANSPARENT: i32 = 75;

/// Rules of routing (ip-rule(8)), by their place in the order.
const TO_LOOPBACK: u32 = 50;
const TO_OWN: u32 = 51;
const REFUSED: u32 = 100;
const EVERYTHING: u32 = 200;

/// What the namespace is listened in by.
pub struct NamespaceListeners {
    /// Take in what is meant for elsewhere; `getsockname` of a connection says for where.
    pub intake: Vec<TcpListener>,
    /// The proxy's own port, for clients that are told of it.
    pub proxy: TcpListener,
    /// DNS.
    pub dns_udp: UdpSocket,
    /// DNS, for answers that don't fit.
    pub dns_tcp: TcpListener,
    /// The ports beyond which the kernel refuses connections by itself; `None` where all are taken in.
    pub only_ports: Option<Vec<u16>>,
}

/// Sets up the network namespace that this process is in, which has to be new, and listens in it. `proxy_port` is where clients
/// are told the proxy is, `services` are addresses on loopback that are taken in as well, and `ports` those that are where the
/// kernel has no TPROXY.
///
/// # Errors
/// The kernel's.
pub fn set_up(proxy_port: u16, services: &[SocketAddr], ports: &[u16]) -> io::Result<NamespaceListeners> {
    route_all_to_loopback()?;
    let (mut intake, only_ports) = match transparent_listeners() {
        Ok(listeners) => (listeners, None),
        Err(_) => (listeners_per_port(ports)?, Some(ports.to_vec())),
    };
    for service in services {
        intake.push(TcpListener::bind(service)?);
    }
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(NamespaceListeners {
        intake,
        proxy: TcpListener::bind(local(proxy_port))?,
        dns_udp: UdpSocket::bind(local(DNS_PORT))?,
        dns_tcp: TcpListener::bind(local(DNS_PORT))?,
        only_ports,
    })
}

fn route_all_to_loopback() -> io::Result<()> {
    let mut socket = NetlinkSocket::open(None)?;
    socket.ask(&[link_up()])?;
    for own in [IpAddr::from(OWN_V4), OWN_V6.into()] {
        socket.ask(&[address(own), local_default(own)])?;
        let loopback = match own {
            IpAddr::V4(_) => (IpAddr::from(Ipv4Addr::new(127, 0, 0, 0)), 8),
            IpAddr::V6(_) => (IpAddr::from(Ipv6Addr::LOCALHOST), 128),
        };
        let single = if own.is_ipv4() { 32 } else { 128 };
        socket.ask(&[
            Rule { to: Some(loopback), ..Rule::at(TO_LOOPBACK, own) }.request(),
            Rule { to: Some((own, single)), ..Rule::at(TO_OWN, own) }.request(),
        ])?;
        // sent to nowhere it would not be answered, and whoever sent it would wait
        for (at, protocol) in (REFUSED..).zip([libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6]) {
            let protocol = u8::try_from(protocol).ok();
            socket.ask(&[Rule { protocol, action: FR_ACT_UNREACHABLE, ..Rule::at(at, own) }.request()])?;
        }
        // last: what was the first rule of all lets everything through to the local table
        socket.ask(&[Rule::at(EVERYTHING, own).request(), Rule::at(0, own).removal()])?;
    }
    Ok(())
}

fn family(address: IpAddr) -> u8 {
    u8::try_from(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `ip link set lo up`: `struct ifinfomsg`, rtnetlink(7).
fn link_up() -> NetlinkRequest {
    let up = u32::try_from(libc::IFF_UP).unwrap_or_default();
    let mut header = vec![0, 0, 0, 0];
    for field in [LOOPBACK_INDEX, up, up] {
        header.extend(field.to_ne_bytes());
    }
    NetlinkRequest::new(libc::RTM_NEWLINK, 0, &header)
}

/// `ip address add ADDRESS dev lo nodad`: `struct ifaddrmsg`.
fn address(own: IpAddr) -> NetlinkRequest {
    const NODAD: u8 = 2;
    let (prefix, flags) = if own.is_ipv4() { (32, 0) } else { (128, NODAD) };
    let mut header = vec![family(own), prefix, flags, 0];
    header.extend(LOOPBACK_INDEX.to_ne_bytes());
    let request = NetlinkRequest::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &header);
    request.with(Attribute::new(libc::IFA_LOCAL, octets(own))).with(Attribute::new(libc::IFA_ADDRESS, octets(own)))
}

/// `ip route add local default dev lo src OWN table local`: `struct rtmsg`.
fn local_default(own: IpAddr) -> NetlinkRequest {
    let mut header =
        vec![family(own), 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
    header.extend(0_u32.to_ne_bytes());
    let request = NetlinkRequest::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &header);
    request
        .with(Attribute::new(libc::RTA_OIF, LOOPBACK_INDEX.to_ne_bytes()))
        .with(Attribute::new(libc::RTA_PREFSRC, octets(own)))
}

// linux/fib_rules.h
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_UNREACHABLE: u8 = 7;
const FRA_DST: u16 = 1;
const FRA_PRIORITY: u16 = 6;
const FRA_IP_PROTO: u16 = 22;

/// A rule of routing: `struct fib_rule_hdr`.
struct Rule {
    family: u8,
    at: u32,
    to: Option<(IpAddr, u8)>,
    protocol: Option<u8>,
    action: u8,
}

impl Rule {
    /// One that looks in the local table, of the family of `address`.
    fn at(at: u32, address: IpAddr) -> Self {
        Self { family: family(address), at, to: None, protocol: None, action: FR_ACT_TO_TBL }
    }

    fn request(&self) -> NetlinkRequest {
        self.message(libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
    }

    fn removal(&self) -> NetlinkRequest {
        self.message(libc::RTM_DELRULE, 0)
    }

    fn message(&self, kind: u16, flags: i32) -> NetlinkRequest {
        let prefix = self.to.map_or(0, |(_, prefix)| prefix);
        let table = if self.action == FR_ACT_TO_TBL { libc::RT_TABLE_LOCAL } else { 0 };
        let mut header = vec![self.family, prefix, 0, 0, table, 0, 0, self.action];
        header.extend(0_u32.to_ne_bytes());
        let mut request =
            NetlinkRequest::new(kind, flags, &header).with(Attribute::new(FRA_PRIORITY, self.at.to_ne_bytes()));
        if let Some((to, _)) = self.to {
            request = request.with(Attribute::new(FRA_DST, octets(to)));
        }
        if let Some(protocol) = self.protocol {
            request = request.with(Attribute::new(FRA_IP_PROTO, [protocol]));
        }
        request
    }
}

/// One for each family; netfilter leads everything to them.
fn transparent_listeners() -> io::Result<Vec<TcpListener>> {
    let at = [SocketAddr::from((Ipv4Addr::LOCALHOST, INTAKE_PORT)), (Ipv6Addr::LOCALHOST, INTAKE_PORT).into()];
    let listeners = at.into_iter().map(|address| listener(address, true)).collect::<io::Result<_>>()?;
    nftables::lead_to_listeners(INTAKE_PORT, (OWN_V4, OWN_V6))?;
    Ok(listeners)
}

/// Listeners on all addresses: since each of them is local, that is all that is asked for at these ports.
fn listeners_per_port(ports: &[u16]) -> io::Result<Vec<TcpListener>> {
    let both = |port: u16| [SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), (Ipv6Addr::UNSPECIFIED, port).into()];
    ports.iter().flat_map(|port| both(*port)).map(|address| listener(address, false)).collect()
}

fn listener(address: SocketAddr, is_transparent: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if is_transparent {
        set_transparent(&socket, address)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// `IP_TRANSPARENT` of ip(7): connections to any address may be taken in.
#[allow(unsafe_code, reason = "an option that no crate at hand sets")]
fn set_transparent(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let (level, name) = match address {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        SocketAddr::V6(_) => (libc::SOL_IPV6, IPV6_TRANSPARENT),
    };
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the pointer is to a local of that length, and the call keeps nothing of it.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
