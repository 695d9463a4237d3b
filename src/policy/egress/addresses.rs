//! Addresses that may be dialled: the public ones, and those that the operator names. They are judged after a name was
//! resolved, since DNS may answer what it likes.

use super::nat64::Nat64Prefix;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

/// The rules on which addresses may be dialled. The default is the public ones alone.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    /// Addresses beyond the public ones.
    pub private_addresses: Arc<[AddressRule]>,
    /// Where this proxy itself listens: never dialled.
    pub own: Arc<[SocketAddr]>,
    /// Where the network translates to IPv4, as far as that is known. Shared by all clones.
    pub translated: Arc<RwLock<Vec<Nat64Prefix>>>,
}

impl AddressPolicy {
    /// Those of a name's addresses that may be dialled. Many names have a private one as well, for whoever is inside.
    ///
    /// # Errors
    /// The first of them, where none may.
    pub fn admitted(&self, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, IpAddr> {
        let admitted: Vec<_> = addresses.iter().copied().filter(|address| self.admits(*address)).collect();
        match addresses.first() {
            Some(refused) if admitted.is_empty() => Err(refused.ip()),
            _ => Ok(admitted),
        }
    }

    /// Whether this address may be dialled.
    pub fn admits(&self, address: SocketAddr) -> bool {
        let is_named = || self.private_addresses.iter().any(|rule| rule.covers(address));
        !self.is_own(address) && (self.is_public(address.ip()) || is_named())
    }

    /// Whether a connection `from` one address `to` another has come back to this proxy. Where it listens on every address
    /// of this machine only a connection tells which those are: it comes from the address that it goes to.
    pub fn is_to_itself(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let own = |own: &SocketAddr| own.ip().is_unspecified() && own.port() == to.port() && from.ip() == to.ip();
        self.own.iter().any(own)
    }

    /// Whether an address is public, and what the network makes of it is too.
    fn is_public(&self, ip: IpAddr) -> bool {
        let through = |v6: Ipv6Addr| {
            let prefixes = self.translated.read().unwrap_or_else(PoisonError::into_inner);
            prefixes.iter().filter_map(|prefix| prefix.translated(v6)).all(is_public_v4)
        };
        is_public(ip) && if let IpAddr::V6(v6) = ip { through(v6) } else { true }
    }

    /// Whether this proxy itself listens there.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == address.ip().to_canonical() || own.ip().is_unspecified() && !is_public(address.ip()))
        })
    }
}

/// A network or an address, on one port or on all, as in `private_addresses`: `127.0.0.1:11434`, `10.0.0.0/8`, `[::1]`,
/// `fd00::/8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRule {
    net: IpAddr,
    bits: u8,
    port: Option<u16>,
}

/// A text that is no address rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address; write \"127.0.0.1:11434\", \"10.0.0.0/8\" or \"[fd00::1]:443\"")]
pub struct AddressError(String);

impl AddressRule {
    /// The one service on this machine's loopback that it lists, where it does just that.
    pub fn loopback_service(&self) -> Option<SocketAddr> {
        let is_single = self.bits == if self.net.is_ipv4() { 32 } else { 128 };
        let port = self.port.filter(|_| is_single && self.net.is_loopback())?;
        Some(SocketAddr::new(self.net, port))
    }

    /// Whether the address is in this network, an IPv4 address mapped into IPv6 being the IPv4 address.
    pub fn covers(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.port.is_none_or(|p| p == address.port())
            && match (self.net, ip) {
                (IpAddr::V4(net), IpAddr::V4(ip)) => {
                    prefix(net.to_bits().into(), 32, self.bits) == prefix(ip.to_bits().into(), 32, self.bits)
                }
                (IpAddr::V6(net), IpAddr::V6(ip)) => {
                    prefix(net.to_bits(), 128, self.bits) == prefix(ip.to_bits(), 128, self.bits)
                }
                _ => false,
            }
    }
}

fn prefix(value: u128, width: u8, bits: u8) -> u128 {
    value.checked_shr((width - bits).into()).unwrap_or(0)
}

impl FromStr for AddressRule {
    type Err = AddressError;

    fn from_str(s: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(s.escape_debug().to_string());
        if let Ok(a) = s.parse::<SocketAddr>() {
            return Ok(Self { net: a.ip(), bits: width(a.ip()), port: Some(a.port()) });
        }
        let (net, bits) = match s.split_once('/') {
            Some((net, bits)) => (net, Some(bits.parse::<u8>().map_err(|_| bad())?)),
            None => (s, None),
        };
        let net = net.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(net);
        let net: IpAddr = net.parse().map_err(|_| bad())?;
        let bits = bits.unwrap_or(width(net));
        if bits > width(net) { Err(bad()) } else { Ok(Self { net, bits, port: None }) }
    }
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.net, port).fmt(f),
            None => write!(f, "{}/{}", self.net, self.bits),
        }
    }
}

/// Whether an address is on the public internet (the IANA special-purpose registries, RFC 6890):
/// what is not needs a rule in `private_addresses`.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Azure's services for the machine itself, its secrets among them: a public address that leads to the host.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        || a == 100 && (64..128).contains(&b)
        || a == 198 && (b == 18 || b == 19)
        || a == 192 && b == 0 && c == 0
        || a == 192 && b == 88 && c == 99
        || ip == AZURE_WIRE_SERVER)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    // what embeds an IPv4 address is as public as that: NAT64 (RFC 6052) and 6to4 (RFC 3056)
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(Ipv4Addr::from_bits(u32::from(s[6]) << 16 | u32::from(s[7])));
    }
    if s[0] == 0x2002 {
        return is_public_v4(Ipv4Addr::from_bits(u32::from(s[1]) << 16 | u32::from(s[2])));
    }
    // only 2000::/3 is global unicast; in it Teredo, ORCHID, benchmarking and documentation are not
    s[0] & 0xe000 == 0x2000
        && !(s[0] == 0x2001 && s[1] < 0x200)
        && !(s[0] == 0x2001 && s[1] == 0xdb8)
        && !(s[0] == 0x3fff && s[1] < 0x1000)
}

/// Whether an address is this machine's own, whatever name led to it.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass_by_themselves() {
        for (ip, public) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("127.77.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("100.63.0.1", true),
            ("8.64.0.1", true),
            ("198.19.0.1", false),
            ("198.20.0.1", true),
            ("8.18.0.1", true),
            ("192.0.0.192", false),
            ("192.0.1.1", true),
            ("192.1.0.1", true),
            ("8.0.0.1", true),
            ("192.88.99.1", false),
            ("192.88.98.1", true),
            ("192.87.99.1", true),
            ("8.88.99.1", true),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("198.18.0.1", false),
            ("168.63.129.16", false),
            ("168.63.129.17", true),
            ("::ffff:168.63.129.16", false),
            ("64:ff9b::a83f:8110", false),
            ("64:ff9b:1::808:808", false),
            ("::1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::808:808", true),
            ("2002:7f00:1::", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("2606:4700::1", true),
            ("2606:100::1", true),
            ("2001:4860::8888", true),
            ("2a00:db8::1", true),
            ("3fff:100::1", false),
            ("3fff:1000::1", true),
        ] {
            assert_eq!(is_public(ip.parse().unwrap()), public, "{ip}");
        }
    }

    #[test]
    fn the_proxy_itself_is_not_dialled_whatever_else_may_be() {
        let admitted = |own: &str, address: &str| {
            let own = [own.parse().unwrap()].into();
            let private_addresses = ["0.0.0.0/0".parse().unwrap()].into();
            let policy = AddressPolicy { own, private_addresses, ..AddressPolicy::default() };
            policy.admitted(&[address.parse().unwrap()]).is_ok()
        };
        for (own, address, admits) in [
            ("127.0.0.1:8787", "127.0.0.1:8787", false),
            ("127.0.0.1:8787", "[::ffff:127.0.0.1]:8787", false),
            ("127.0.0.1:8787", "127.0.0.1:8788", true),
            ("127.0.0.1:8787", "127.0.0.2:8787", true),
            ("0.0.0.0:8787", "10.0.0.5:8787", false),
            ("0.0.0.0:8787", "10.0.0.5:8788", true),
            ("0.0.0.0:8787", "8.8.8.8:8787", true),
        ] {
            assert_eq!(admitted(own, address), admits, "{own} {address}");
        }
    }

    #[test]
    fn of_a_name_that_is_half_private_the_other_half_may_be_dialled() {
        let private_addresses = ["10.0.0.0/8".parse().unwrap()].into();
        let own = ["8.8.8.8:8787".parse().unwrap()].into();
        let policy = AddressPolicy { private_addresses, own, ..AddressPolicy::default() };
        let list = |text: &[&str]| text.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        for (addresses, admitted) in [
            (&["1.1.1.1:443", "[fd00::1]:443"][..], Ok(&["1.1.1.1:443"][..])),
            (&["[fe80::1]:443", "[2606:4700::1]:443", "10.1.1.1:443"], Ok(&["[2606:4700::1]:443", "10.1.1.1:443"])),
            (&["8.8.8.8:8787", "1.1.1.1:8787"], Ok(&["1.1.1.1:8787"])),
            (&["8.8.8.8:8787"], Err("8.8.8.8")),
            (&["[fd00::1]:443", "127.0.0.1:443"], Err("fd00::1")),
            (&[], Ok(&[])),
        ] {
            let admitted = admitted.map(list).map_err(|ip: &str| ip.parse::<IpAddr>().unwrap());
            assert_eq!(policy.admitted(&list(addresses)), admitted, "{addresses:?}");
        }
    }

    #[test]
    fn what_the_network_translates_is_as_public_as_what_comes_of_it() {
        let policy = AddressPolicy::default();
        let admitted = |address: &str| policy.admits(SocketAddr::new(address.parse().unwrap(), 443));
        let (inside, outside) = ("2a00:1450:64::a00:1", "2a00:1450:64::808:808");
        assert!(admitted(inside) && admitted(outside), "nothing is known yet");
        *policy.translated.write().unwrap() = Nat64Prefix::learnt_from(&["2a00:1450:64::c000:aa".parse().unwrap()]);
        assert!(!admitted(inside) && admitted(outside) && admitted("2a00:1450:65::a00:1"));
    }

    #[test]
    fn address_rules() {
        for (rule, address, covered) in [
            ("127.0.0.1:11434", "127.0.0.1:11434", true),
            ("127.0.0.1:11434", "127.0.0.1:11435", false),
            ("127.0.0.1", "127.0.0.1:1", true),
            ("10.0.0.0/8", "10.255.0.1:80", true),
            ("10.0.0.0/8", "11.0.0.1:80", false),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:80", true),
            ("0.0.0.0/0", "192.168.0.1:80", true),
            ("fd00::/8", "[fd12::1]:80", true),
            ("[::1]", "[::1]:80", true),
            ("[::1]:81", "[::1]:80", false),
        ] {
            let (rule, address) = (rule.parse::<AddressRule>().unwrap(), address.parse().unwrap());
            assert_eq!(rule.covers(address), covered, "{rule} and {address}");
        }
        for bad in ["", "10.0.0.0/33", "localhost", "10.0.0/8", "::1/129", "1.2.3.4:99999"] {
            assert!(bad.parse::<AddressRule>().is_err(), "{bad}");
        }
    }
}
