//! What `locum run` and its helper inside the namespaces say to each other: one message each way at a time, over a socket that
//! nobody else has.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The largest message, in bytes: what a socket of this kind takes at least (`net.core.wmem_default`).
const MAX_MESSAGE: usize = 200 * 1024;
/// How many descriptors come with a message at most; a listener for each port where the kernel has no TPROXY.
const MAX_DESCRIPTORS: usize = 200;

/// What the helper says.
#[derive(Debug, Serialize, Deserialize)]
pub enum HelperMessage {
    /// The walls stand; with the descriptors of the listeners inside. `only_ports`: see
    /// [`super::network::NamespaceListeners`].
    Ready { only_ports: Option<Vec<u16>> },
    /// They can't be put up.
    Failed { step: String, error: String },
    /// The command's process is there; the kernel says which it is.
    Started,
    /// It is not: the error's number.
    NotStarted { errno: i32 },
}

/// What the helper is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum HelperOrder {
    /// The plan is in the file that comes along.
    Plan,
    /// Start the command.
    Go,
}

/// One end.
pub struct Channel(OwnedFd);

/// A message with what came along.
pub struct Received<T> {
    pub message: T,
    pub descriptors: Vec<OwnedFd>,
    /// The sender's process, as it is called here.
    pub pid: Option<u32>,
}

impl Channel {
    /// Both ends; the first one is told who sends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_passcred(&ours, true)?;
        Ok((Self(ours), Self(theirs)))
    }

    /// The end that was inherited as this descriptor.
    ///
    /// # Errors
    /// It is no such end.
    pub fn inherited(descriptor: RawFd) -> io::Result<Self> {
        #[allow(unsafe_code, reason = "whether it is open is asked first, and nobody else in this process knows of it")]
        // SAFETY: F_GETFD of any number is allowed; what is open is ours since the start.
        let descriptor = unsafe {
            if libc::fcntl(descriptor, libc::F_GETFD) < 0 {
                return Err(io::Error::last_os_error());
            }
            <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(descriptor)
        };
        if sockopt::socket_type(&descriptor)? != SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self(descriptor))
    }

    /// The number by which a child inherits it.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Sends a message, and descriptors along with it.
    ///
    /// # Errors
    /// The other end is gone, or the message is too large.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(descriptors).size()];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut along, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; `None` when the other end is gone.
    ///
    /// # Errors
    /// What came is no such message.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Received<T>>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut space = vec![
            MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS)) + rustix::cmsg_space!(ScmCredentials(1))
        ];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let got = rustix::io::retry_on_intr(|| recvmsg(&self.0, &mut slices, &mut along, RecvFlags::CMSG_CLOEXEC))?;
        let (mut descriptors, mut pid) = (Vec::new(), None);
        for message in along.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(sent) => descriptors.extend(sent),
                RecvAncillaryMessage::ScmCredentials(sender) => {
                    pid = u32::try_from(sender.pid.as_raw_nonzero().get()).ok();
                }
                _ => {}
            }
        }
        if got.bytes == 0 {
            return Ok(None);
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let message = serde_json::from_slice(&bytes[..got.bytes])?;
        Ok(Some(Received { message, descriptors, pid }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
