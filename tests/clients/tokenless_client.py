"""CONNECT without a token, as clients do that can't send one: by itself, and by a daemon that has lost its parent.

Prints what each was answered; then the proxy's port, and ends when its standard input does."""

import json
import os
import socket
import sys
import urllib.parse

proxy = urllib.parse.urlsplit(os.environ["https_proxy"])


def ask():
    with socket.create_connection((proxy.hostname, proxy.port), 60) as stream:
        stream.sendall(b"CONNECT api.tool.example:443 HTTP/1.1\r\nHost: api.tool.example:443\r\n\r\n")
        return stream.recv(4096).split(b"\r\n")[0].decode()


def daemon():
    """Asks once its parent is gone, and somebody else has become it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        before = os.getpid()
        if os.fork() == 0:
            os.setsid()
            while os.getppid() == before:
                pass
            os.write(writing, ask().encode())
        os._exit(0)
    os.wait()
    os.close(writing)
    return os.read(reading, 4096).decode()


print(json.dumps({"pid": os.getpid(), "own": ask(), "daemon": daemon(), "port": proxy.port}), flush=True)
sys.stdin.read()
