"""Tries one way out to a listener that a test has put up outside, and says whether it got there.

ways.py WAY TARGET, where TARGET is a port on loopback, a path or a name, as the way needs it.
"""
import ctypes
import os
import socket
import struct
import subprocess
import sys

HELLO = b"got out"
LIBC = ctypes.CDLL(None, use_errno=True)


def connected(family, kind, protocol, address):
    with socket.socket(family, kind, protocol) as way:
        way.settimeout(5)
        way.connect(address)
        way.sendall(HELLO)
        return way.recv(64) == HELLO


def tcp(port):
    return connected(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", int(port)))


def tcp6(port):
    return connected(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", int(port)))


def other_address(target):
    """An address of this machine that is not loopback's own, as another host's would be."""
    host, port = target.rsplit(":", 1)
    return connected(socket.AF_INET, socket.SOCK_STREAM, 0, (host, int(port)))


def mptcp(port):
    return connected(socket.AF_INET, socket.SOCK_STREAM, 262, ("127.0.0.1", int(port)))


def fast_open(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as way:
        way.sendto(HELLO, socket.MSG_FASTOPEN, ("127.0.0.1", int(port)))
        return way.recv(64) == HELLO


def udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.settimeout(2)
        way.sendto(HELLO, ("127.0.0.1", int(port)))
        return way.recvfrom(64)[0] == HELLO


def udp_elsewhere(target):
    """As DNS and QUIC go out: to an address that is not loopback's."""
    host, port = target.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.settimeout(2)
        way.sendto(HELLO, (host, int(port)))
        return way.recvfrom(64)[0] == HELLO


def raw(_):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return True


def packet(_):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0):
        return True


def vsock(_):
    with socket.socket(40, socket.SOCK_STREAM):
        return True


def netfilter(_):
    """Netlink beyond routes: rules of netfilter, other sockets, the audit."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12):
        return True


def route(_):
    """A route of its own, over netlink."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as way:
        way.settimeout(2)
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 253, 1, 0) + struct.pack("=HHI", 8, 4, 1)
        way.send(struct.pack("=IHHII", 16 + len(body), 24, 0x605, 1, 0) + body)
        return struct.unpack("=i", way.recv(4096)[16:20])[0] == 0


def abstract(name):
    return connected(socket.AF_UNIX, socket.SOCK_STREAM, 0, "\0" + name)


def path(name):
    return connected(socket.AF_UNIX, socket.SOCK_STREAM, 0, name)


def io_uring(_):
    parameters = ctypes.create_string_buffer(120)
    return LIBC.syscall(425, 4, parameters) >= 0


def ptrace(pid):
    """Any process outside by its number there (PTRACE_SEIZE, which does not stop it)."""
    return LIBC.ptrace(0x4206, int(pid), 0, 0) == 0


def memory(pid):
    with open(f"/proc/{pid}/mem", "rb"):
        return True


def root(pid):
    """The files of a process outside."""
    return os.path.isdir(f"/proc/{pid}/root/proc")


def outer_signal(pid):
    os.kill(int(pid), 0)
    return True


def user_namespace(port):
    """All rights, in a namespace within."""
    script = f"{sys.executable} {__file__} tcp {port}"
    said = subprocess.run(["unshare", "-Ur", "sh", "-c", script], capture_output=True, text=True, timeout=20)
    return said.stdout.startswith("open")


def unmounted(path_and_cover):
    """What covers a path is taken away, with the rights of a namespace within."""
    covered, name = path_and_cover.split("::")
    script = f"umount {covered} 2>/dev/null; umount -l {covered} 2>/dev/null; {sys.executable} {__file__} path {name}"
    said = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True, timeout=20)
    return said.stdout.startswith("open")


def setuid(program):
    """A program that is another user's by its file."""
    return subprocess.run([program, "-u"], capture_output=True, text=True).stdout.strip() != str(os.getuid())


def descriptor(number):
    """A socket that was connected before."""
    with socket.socket(fileno=int(number)) as way:
        way.settimeout(5)
        way.sendall(HELLO)
        return way.recv(64) == HELLO


def folder(number_and_name):
    """A file below a folder that was opened before."""
    number, name = number_and_name.split("::")
    os.close(os.open(name, os.O_RDONLY, dir_fd=int(number)))
    return True


def file(name):
    with open(name, "rb") as opened:
        return len(opened.read(1)) == 1


def typed(_):
    """A key typed into the terminal on behalf of its owner (TIOCSTI)."""
    import fcntl

    with open("/dev/tty", "rb") as terminal:
        fcntl.ioctl(terminal, 0x5412, b"x")
        return True


def keyring(_):
    """The session's keys in the kernel."""
    return LIBC.syscall(250, 0, -3, 0) >= 0


try:
    print("open" if globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "") else f"shut: {os.strerror(ctypes.get_errno())}")
except (OSError, subprocess.SubprocessError) as error:
    print(f"shut: {error}")
