//! The owner of the client's socket of a loopback connection: the kernel tells it, the client can't.

use std::net::SocketAddr;

/// The client's end of a connection, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketOwner {
    /// The user that owns the socket.
    pub uid: u32,
    /// What the links in `/proc/PID/fd` call it by.
    pub inode: u32,
}

/// Who is at the client's end of a connection; `None` where the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn of(client: SocketAddr, own: SocketAddr) -> Option<SocketOwner> {
    linux::ask(canonical(client), canonical(own)).ok().flatten()
}

/// Not told on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn of(_: SocketAddr, _: SocketAddr) -> Option<SocketOwner> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// One question to sock_diag (7): the kernel finds the one socket by its addresses, whatever else is open.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::SocketOwner;
    use rustix::io::Errno;
    use rustix::net::netlink::{self, SocketAddrNetlink};
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
    use std::net::{IpAddr, SocketAddr};

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const TCP: u8 = 6;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    /// struct nlmsghdr, then struct inet_diag_req_v2.
    const REQUEST: usize = 16 + 56;
    /// Where idiag_uid stands: after nlmsghdr, 4 bytes, struct inet_diag_sockid and three counters.
    const UID: usize = 16 + 4 + 48 + 12;
    /// Where idiag_inode stands: right behind.
    const INODE: usize = UID + 4;

    /// Asks the kernel; `None` where there is no such socket, or nobody holds it any more.
    pub fn ask(client: SocketAddr, own: SocketAddr) -> Result<Option<SocketOwner>, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
        sendto(&socket, &request(client, own), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        // the kernel has answered by the time the request is sent
        let mut answer = [0; 1024];
        let (n, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        Ok(read(&answer[..n.min(answer.len())]))
    }

    fn request(client: SocketAddr, own: SocketAddr) -> [u8; REQUEST] {
        let mut out = [0; REQUEST];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(room) = out.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&(REQUEST as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&NLM_F_REQUEST.to_ne_bytes());
        put(&[0; 8]);
        put(&[if client.is_ipv4() { AF_INET } else { AF_INET6 }, TCP, 0, 0]);
        put(&u32::MAX.to_ne_bytes());
        put(&client.port().to_be_bytes());
        put(&own.port().to_be_bytes());
        put(&address(client.ip()));
        put(&address(own.ip()));
        put(&[0; 4]);
        // INET_DIAG_NOCOOKIE
        put(&[0xff; 8]);
        out
    }

    fn address(ip: IpAddr) -> [u8; 16] {
        let mut out = [0; 16];
        match ip {
            IpAddr::V4(ip) => out[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out = ip.octets(),
        }
        out
    }

    fn read(answer: &[u8]) -> Option<SocketOwner> {
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        let uid = u32::from_ne_bytes(answer.get(UID..UID + 4)?.try_into().ok()?);
        let inode = u32::from_ne_bytes(answer.get(INODE..INODE + 4)?.try_into().ok()?);
        // of a socket that nobody holds any more the kernel says 0 and 0, which is not to mean root
        (kind == SOCK_DIAG_BY_FAMILY && inode != 0).then_some(SocketOwner { uid, inode })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_kernel_names_the_user_and_the_socket_of_a_loopback_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let told = of(peer, server.local_addr().unwrap()).unwrap();
            assert_eq!(told.uid, rustix::process::geteuid().as_raw(), "{address}");
            let link = std::fs::read_link(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap();
            assert_eq!(link.to_string_lossy(), format!("socket:[{}]", told.inode));
            let stranger = SocketAddr::new(peer.ip(), peer.port().wrapping_add(1));
            assert_eq!(of(stranger, client.peer_addr().unwrap()), None);
        }
    }

    /// The kernel knows no user of a socket that nobody holds any more, though what it sent can still be read.
    #[test]
    fn who_has_closed_the_connection_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        let own = server.local_addr().unwrap();
        client.write_all(b"GET").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(of(peer, own).map(|peer| peer.uid), Some(uid), "it still reads");
        drop(client);
        assert_eq!(of(peer, own), None);
        let mut sent = String::new();
        server.read_to_string(&mut sent).unwrap();
        assert_eq!(sent, "GET");
    }
}
