//! The messages of SOCKS5, from bytes of any kind: cut anywhere they are read as they are whole or not at all, whatever comes
//! behind, and the host of a request is one that can be written down and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locum::name::Host;
use locum::proxy::wire::socks5::{OfferedMethods, SocksFault, SocksLogin, SocksTarget};

/// What is told of each beginning of `bytes` is what is told of all of it, or that more has to come.
fn read_at_once<T: PartialEq>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, SocksFault>) {
    let whole = read(bytes);
    let len = if let Ok(Some((_, len))) = &whole { *len } else { bytes.len() };
    assert!(len <= bytes.len());
    for cut in 0..=bytes.len() {
        match read(&bytes[..cut]) {
            Ok(None) => assert!(cut < len || matches!(whole, Ok(None)), "at {cut}"),
            told => assert!(told == whole, "at {cut}"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    read_at_once(bytes, OfferedMethods::read);
    read_at_once(bytes, SocksLogin::read);
    read_at_once(bytes, SocksTarget::read);
    if let Ok(Some((SocksTarget { host, port }, _))) = SocksTarget::read(bytes) {
        assert!(port > 0 && host.to_string().parse::<Host>() == Ok(host));
    }
});
