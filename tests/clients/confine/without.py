"""Runs a command without some system calls, as a container or a hardened system has it: without.py NUMBER,NUMBER… COMMAND…

A call is refused with EPERM. `clone` with a new namespace is where 272 (unshare) is; `netfilter` is a socket to that alone.
"""
import ctypes
import os
import struct
import sys

LOAD, EQUALS, MASKED, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001
CLONE, NEW_NAMESPACES = 56, 0x7E020000

numbers = [int(number) for number in sys.argv[1].split(",") if number.isdigit()]
program = []
if "netfilter" in sys.argv[1]:
    # socket(AF_NETLINK, …, NETLINK_NETFILTER)
    program += [(LOAD, 0, 0, 0), (EQUALS, 0, 5, 41), (LOAD, 0, 0, 16), (EQUALS, 0, 3, 16)]
    program += [(LOAD, 0, 0, 32), (EQUALS, 0, 1, 12), (RETURN, 0, 0, REFUSE)]
program += [(LOAD, 0, 0, 0)]
for number in numbers:
    program += [(EQUALS, 0, 1, number), (RETURN, 0, 0, REFUSE)]
if 272 in numbers:
    program += [(EQUALS, 0, 3, CLONE), (LOAD, 0, 0, 16), (MASKED, 0, 1, NEW_NAMESPACES), (RETURN, 0, 0, REFUSE)]
program += [(RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *statement) for statement in program))
filter_ = struct.pack("@HP", len(program), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
assert libc.prctl(22, 2, ctypes.create_string_buffer(filter_), 0, 0) == 0, "PR_SET_SECCOMP"
os.execvp(sys.argv[2], sys.argv[2:])
