//! Netlink requests (netlink(7)), each acknowledged by the kernel before the next is made.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::io;
use std::os::fd::OwnedFd;

/// The largest answer: an error with the request that it is about.
const ANSWER: usize = 16 * 1024;

/// A request: a header of its family, and attributes.
pub struct NetlinkRequest {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl NetlinkRequest {
    /// One of this kind that asks for an acknowledgement. `flags` are those beyond that.
    pub fn new(kind: u16, flags: i32, header: &[u8]) -> Self {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags).unwrap_or_default();
        Self { kind, flags, body: header.to_vec() }
    }

    /// One that is not acknowledged: it only opens or ends a batch.
    pub fn of_batch(kind: u16, header: &[u8]) -> Self {
        Self { kind, flags: u16::try_from(libc::NLM_F_REQUEST).unwrap_or_default(), body: header.to_vec() }
    }

    /// Adds an attribute.
    pub fn with(mut self, attribute: Attribute) -> Self {
        attribute.write(&mut self.body);
        self
    }

    fn is_acknowledged(&self) -> bool {
        i32::from(self.flags) & libc::NLM_F_ACK != 0
    }

    /// Its bytes, as `struct nlmsghdr` and what follows it.
    fn write(&self, sequence: u32, out: &mut Vec<u8>) {
        let len = u32::try_from(16 + self.body.len()).unwrap_or(u32::MAX);
        out.extend(len.to_ne_bytes());
        out.extend(self.kind.to_ne_bytes());
        out.extend(self.flags.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0_u32.to_ne_bytes());
        out.extend(&self.body);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// An attribute: a number and a value, which may be attributes itself.
pub struct Attribute {
    kind: u16,
    value: Vec<u8>,
}

impl Attribute {
    /// A plain value.
    pub fn new(kind: u16, value: impl Into<Vec<u8>>) -> Self {
        Self { kind, value: value.into() }
    }

    /// A text, which ends in NUL.
    pub fn text(kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        Self { kind, value }
    }

    /// A number in the order of the network, as netfilter has it.
    pub fn number(kind: u16, number: u32) -> Self {
        Self { kind, value: number.to_be_bytes().to_vec() }
    }

    /// One that holds others.
    pub fn nested(kind: u16, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        let mut value = Vec::new();
        attributes.into_iter().for_each(|attribute| attribute.write(&mut value));
        Self { kind: kind | u16::try_from(libc::NLA_F_NESTED).unwrap_or_default(), value }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let len = u16::try_from(4 + self.value.len()).unwrap_or(u16::MAX);
        out.extend(len.to_ne_bytes());
        out.extend(self.kind.to_ne_bytes());
        out.extend(&self.value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// A socket to one family of the kernel.
pub struct NetlinkSocket {
    socket: OwnedFd,
    sequence: u32,
}

impl NetlinkSocket {
    /// Opens one, in the network namespace that this process is in.
    ///
    /// # Errors
    /// The kernel's: the family is not there.
    pub fn open(family: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, family)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do what the requests ask for, all sent at once.
    ///
    /// # Errors
    /// The kernel's answer to the first one that it refuses.
    pub fn ask(&mut self, requests: &[NetlinkRequest]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence += 1;
            request.write(self.sequence, &mut bytes);
        }
        sendto(&self.socket, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut awaited = requests.iter().filter(|request| request.is_acknowledged()).count();
        let mut answer = vec![0; ANSWER];
        while awaited > 0 {
            let (len, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
            awaited = awaited.saturating_sub(acknowledged(&answer[..len.min(ANSWER)])?);
        }
        Ok(())
    }
}

/// How many requests were acknowledged by what was received.
fn acknowledged(mut received: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let (Some(len), Some(kind), Some(error)) = (word(received, 0), word(received, 4), word(received, 16)) {
        let kind = i32::from_ne_bytes(kind) & 0xffff;
        let error = i32::from_ne_bytes(error);
        if kind == libc::NLMSG_ERROR && error != 0 {
            return Err(io::Error::from_raw_os_error(-error));
        }
        count += usize::from(kind == libc::NLMSG_ERROR);
        let len = usize::try_from(u32::from_ne_bytes(len)).unwrap_or(usize::MAX).next_multiple_of(4);
        match received.get(len..) {
            Some(rest) if len >= 16 => received = rest,
            _ => break,
        }
    }
    Ok(count)
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}
