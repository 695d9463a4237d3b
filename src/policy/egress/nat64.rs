//! IPv4 addresses inside IPv6 ones, where the network translates (NAT64): what is embedded is what is reached.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What `ipv4only.arpa` has for addresses (RFC 7050, section 8.2). As IPv6 they show the network's prefixes.
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// The lengths that a prefix may have, in bits (RFC 6052, section 2.2).
const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// A prefix under which the network's translator reaches IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat64Prefix {
    net: u128,
    /// One of [`LENGTHS`].
    bits: u8,
}

impl Nat64Prefix {
    /// The prefixes that the IPv6 addresses of `ipv4only.arpa` show: every one that they can be read by.
    pub fn learnt_from(addresses: &[Ipv6Addr]) -> Vec<Self> {
        let prefixes = addresses.iter().flat_map(|address| {
            let shown = LENGTHS.into_iter().filter(|bits| WELL_KNOWN.contains(&embedded(*address, *bits)));
            shown.map(|bits| Self { net: address.to_bits() & mask(bits), bits })
        });
        let mut found: Vec<Self> = Vec::new();
        for prefix in prefixes {
            if !found.contains(&prefix) {
                found.push(prefix);
            }
        }
        found
    }

    /// The IPv4 address that the translator makes of this one.
    pub fn translated(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        (address.to_bits() & mask(self.bits) == self.net).then(|| embedded(address, self.bits))
    }
}

fn mask(bits: u8) -> u128 {
    !(u128::MAX >> bits)
}

/// What stands behind a prefix of so many bits. Bits 64 to 71 are no part of it (RFC 6052, section 2.2).
fn embedded(address: Ipv6Addr, bits: u8) -> Ipv4Addr {
    let bits = u32::from(bits);
    let all = address.to_bits();
    let behind = if bits == 96 {
        all
    } else {
        let joined = (all >> 64) << 56 | all & ((1 << 56) - 1);
        joined >> (120 - 32 - bits)
    };
    Ipv4Addr::from_bits(behind as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// RFC 6052, section 2.4.
    #[test]
    fn an_address_stands_where_the_standard_has_it() {
        for (address, bits) in [
            ("2001:db8:c000:221::", 32),
            ("2001:db8:1c0:2:21::", 40),
            ("2001:db8:122:c000:2:2100::", 48),
            ("2001:db8:122:3c0:0:221::", 56),
            ("2001:db8:122:344:c0:2:2100::", 64),
            ("2001:db8:122:344::192.0.2.33", 96),
        ] {
            assert_eq!(embedded(v6(address), bits), Ipv4Addr::new(192, 0, 2, 33), "{address}");
        }
    }

    #[test]
    fn a_prefix_is_learnt_from_the_name_that_has_no_address_of_this_kind() {
        for (shown, asked, reached) in [
            ("2a00:1:2:3::c000:aa", "2a00:1:2:3::a00:1", Some([10, 0, 0, 1])),
            ("2a00:1:2:3::c000:ab", "2a00:1:2:4::a00:1", None),
            ("2a00:1:c000:aa::", "2a00:1:7f00:1::", Some([127, 0, 0, 1])),
            ("2a00:1:2:3:c0:0:aa00::", "2a00:1:2:3:a9:fea9:fe00::", Some([169, 254, 169, 254])),
            ("2a00:1:2:3::c000:ac", "2a00:1:2:3::a00:1", None),
        ] {
            let learnt = Nat64Prefix::learnt_from(&[v6(shown), v6(shown)]);
            assert!(learnt.len() <= 1, "{learnt:?}");
            let found = learnt.iter().find_map(|prefix| prefix.translated(v6(asked)));
            assert_eq!(found, reached.map(Ipv4Addr::from), "{shown} and {asked}");
        }
    }
}
