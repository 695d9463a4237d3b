//! The one thing that is asked of netfilter: TCP that is meant for elsewhere goes to the listeners that take it in (TPROXY,
//! which tracks no connections). The numbers are those of linux/netfilter/nf_tables.h.

use super::netlink::{Attribute, NetlinkRequest, NetlinkSocket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

const TABLE: &str = "locum";
const CHAIN: &str = "intake";

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const PREROUTING: u32 = 0;
/// That of `mangle`: before the route is chosen.
const PRIORITY: i32 = -150;
const ACCEPT: u32 = 1;
const TCP: u8 = 6;

const ADDRESS: u32 = 1;
const PORT: u32 = 2;

/// Leads connections to listeners on loopback, at this port of either family, but for those to loopback and to `own`.
///
/// # Errors
/// The kernel's: it has no nf_tables, or no TPROXY.
pub fn lead_to_listeners(port: u16, own: (Ipv4Addr, Ipv6Addr)) -> io::Result<()> {
    let v4 = {
        let to = |is_not: &[u8]| differs_at(16, is_not);
        let mut rule = vec![meta(META_NFPROTO), is(&[family(libc::NFPROTO_IPV4)]), meta(META_L4PROTO), is(&[TCP])];
        // the first byte is enough: 127.0.0.0/8
        rule.extend([to(&Ipv4Addr::LOCALHOST.octets()[..1]), to(&own.0.octets())].into_iter().flatten());
        rule.extend(lead(libc::NFPROTO_IPV4, &Ipv4Addr::LOCALHOST.octets(), port));
        rule
    };
    let v6 = {
        let to = |is_not: &[u8]| differs_at(24, is_not);
        let mut rule = vec![meta(META_NFPROTO), is(&[family(libc::NFPROTO_IPV6)]), meta(META_L4PROTO), is(&[TCP])];
        rule.extend([to(&Ipv6Addr::LOCALHOST.octets()), to(&own.1.octets())].into_iter().flatten());
        rule.extend(lead(libc::NFPROTO_IPV6, &Ipv6Addr::LOCALHOST.octets(), port));
        rule
    };
    NetlinkSocket::open(Some(rustix::net::netlink::NETFILTER))?.ask(&[
        NetlinkRequest::of_batch(BATCH_BEGIN, &header(0, SUBSYSTEM)),
        request(NEW_TABLE).with(Attribute::text(1, TABLE)),
        chain(),
        rule(v4),
        rule(v6),
        NetlinkRequest::of_batch(BATCH_END, &header(0, SUBSYSTEM)),
    ])
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn family(number: i32) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

fn request(kind: u16) -> NetlinkRequest {
    NetlinkRequest::new(SUBSYSTEM << 8 | kind, libc::NLM_F_CREATE, &header(family(libc::NFPROTO_INET), 0))
}

fn chain() -> NetlinkRequest {
    let hook = [Attribute::number(1, PREROUTING), Attribute::new(2, PRIORITY.to_be_bytes())];
    request(NEW_CHAIN)
        .with(Attribute::text(1, TABLE))
        .with(Attribute::text(3, CHAIN))
        .with(Attribute::nested(4, hook))
        .with(Attribute::number(5, ACCEPT))
        .with(Attribute::text(7, "filter"))
}

fn rule(expressions: Vec<Attribute>) -> NetlinkRequest {
    request(NEW_RULE)
        .with(Attribute::text(1, TABLE))
        .with(Attribute::text(2, CHAIN))
        .with(Attribute::nested(4, expressions))
}

fn expression(name: &str, data: impl IntoIterator<Item = Attribute>) -> Attribute {
    Attribute::nested(1, [Attribute::text(1, name), Attribute::nested(2, data)])
}

const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

/// Loads what is known of the packet.
fn meta(key: u32) -> Attribute {
    expression("meta", [Attribute::number(1, ADDRESS), Attribute::number(2, key)])
}

fn is(value: &[u8]) -> Attribute {
    compared(0, value)
}

fn compared(operator: u32, value: &[u8]) -> Attribute {
    let data = Attribute::nested(3, [Attribute::new(1, value)]);
    expression("cmp", [Attribute::number(1, ADDRESS), Attribute::number(2, operator), data])
}

/// The header of the network layer holds something else at this offset, in bytes.
fn differs_at(offset: u32, value: &[u8]) -> [Attribute; 2] {
    const NETWORK_HEADER: u32 = 1;
    let len = u32::try_from(value.len()).unwrap_or_default();
    let load = [(1, ADDRESS), (2, NETWORK_HEADER), (3, offset), (4, len)].map(|(kind, n)| Attribute::number(kind, n));
    [expression("payload", load), compared(1, value)]
}

fn lead(protocol: i32, address: &[u8], port: u16) -> [Attribute; 3] {
    let immediate = |register: u32, value: &[u8]| {
        expression("immediate", [Attribute::number(1, register), Attribute::nested(2, [Attribute::new(1, value)])])
    };
    let to = [(1, u32::from(family(protocol))), (2, ADDRESS), (3, PORT)].map(|(kind, n)| Attribute::number(kind, n));
    [immediate(ADDRESS, address), immediate(PORT, &port.to_be_bytes()), expression("tproxy", to)]
}
