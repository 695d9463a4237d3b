"""A Kubernetes API server, as far as one pod and exec go, for Debian's kubectl (SPDY) and PyPI's kubernetes (WebSocket).

Arguments: a certificate, its key, an empty folder, and the token that clients have to show for what isn't exec: there the token is
a mere word, as its host has no key. It prints its port, and what came of each exec; it ends with its standard input."""

import base64
import hashlib
import json
import ssl
import socketserver
import sys
import threading

certificate, private = sys.argv[1:3]
META = {"name": "pod", "namespace": "default"}
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": META, "spec": {"containers": [{"name": "c", "image": "i"}]},
       "status": {"phase": "Running"}}
ANSWERS = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1",
                "resources": [{"name": "pods", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}]},
    "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
    "/api/v1/namespaces/default/pods/pod": POD,
    "/api/v1/namespaces/default/pods": {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [POD]},
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            path = line.split()[1].decode().partition("?")[0]
            headers = {}
            while (line := self.rfile.readline()).strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            if path.endswith("/exec"):
                return self.exec(headers)
            found = ANSWERS.get(path)
            body = json.dumps(found or {"kind": "Status", "status": "Failure", "code": 404}).encode()
            status = b"200 OK" if found else b"404 Not Found"
            head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            self.wfile.write(head + body)

    def exec(self, headers):
        protocol = headers["upgrade"]
        offered = [p.strip() for p in headers.get("x-stream-protocol-version", headers.get("sec-websocket-protocol", "")).split(",")]
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
        if protocol.lower().startswith("spdy"):
            self.wfile.write(f"{head}X-Stream-Protocol-Version: {offered[0]}\r\n\r\n".encode())
            # the first frame: a control frame of version 3, which opens a stream
            print(f"{protocol} {self.rfile.read(4).hex()}", flush=True)
            return
        key = headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
        self.wfile.write(f"{head}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {offered[0]}\r\n\r\n".encode())
        # standard output, how it ended, and the end of the connection
        for opcode, message in ((2, b"\x01from the pod\n"), (2, b'\x03{"status":"Success"}'), (8, b"\x03\xe8")):
            self.wfile.write(bytes([0x80 | opcode, len(message)]) + message)
        print("websocket", flush=True)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    # the handshake belongs into the connection's own thread
    def finish_request(self, request, address):
        with context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, address, self)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, private)
server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
