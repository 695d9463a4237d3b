"""Listens outside in every way that ways.py tries, and gives back what it is sent. Says where, and which process it is."""
import json
import os
import socket
import sys
import threading

folder = sys.argv[1]


def echo(connection):
    while said := connection.recv(64):
        connection.sendall(said)


def listen(family, protocol, address):
    listener = socket.socket(family, socket.SOCK_STREAM, protocol)
    listener.bind(address)
    listener.listen()

    def serve():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()


def datagrams():
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("0.0.0.0", 0))

    def serve():
        while True:
            said, sender = listener.recvfrom(64)
            listener.sendto(said, sender)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


path = os.path.join(folder, "outside.sock")
abstract = "locum-outside-%d" % os.getpid()
listen(socket.AF_UNIX, 0, path)
listen(socket.AF_UNIX, 0, "\0" + abstract)
print(
    json.dumps(
        {
            "tcp": listen(socket.AF_INET, 0, ("0.0.0.0", 0))[1],
            "tcp6": listen(socket.AF_INET6, 0, ("::1", 0))[1],
            "mptcp": listen(socket.AF_INET, 262, ("127.0.0.1", 0))[1],
            "udp": datagrams(),
            "path": path,
            "abstract": abstract,
            "pid": os.getpid(),
        }
    ),
    flush=True,
)
sys.stdin.read()
