"""Private registries on loopback, over TLS, that let nobody in without the real key: git over Basic, PyPI, npm, cargo and apt.

Arguments: a certificate, its key, an empty folder, and the key that clients have to show. It prints its port, and each
request that it refused; it ends with its standard input."""

import base64
import hashlib
import http.server
import io
import json
import os
import pathlib
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile

certificate, private, folder, secret = sys.argv[1:5]
folder = pathlib.Path(folder)
BASIC = "Basic " + base64.b64encode(f"user:{secret}".encode()).decode()
HOST = "https://registry.tool.example"


def wheel():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("private_thing.py", "word = 'from the private index'\n")
        info = "private_thing-1.0.dist-info/"
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: private-thing\nVersion: 1.0\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    return out.getvalue()


def tarball(top, files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


WHEEL = wheel()
PACKAGE = {"name": "@tool/thing", "version": "1.0.0", "main": "index.js"}
NPM = tarball("package", {"package.json": json.dumps(PACKAGE), "index.js": "module.exports = 'from the private registry';\n"})
MANIFEST = '[package]\nname = "private-thing"\nversion = "1.0.0"\nedition = "2021"\n'
CRATE = tarball("private-thing-1.0.0", {"Cargo.toml": MANIFEST, "src/lib.rs": 'pub const WORD: &str = "private";\n'})


def npm_document():
    dist = {"tarball": f"{HOST}/npm/@tool/thing/-/thing-1.0.0.tgz", "shasum": hashlib.sha1(NPM).hexdigest()}
    return {"name": PACKAGE["name"], "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": PACKAGE | {"dist": dist}}}


def crate_line():
    line = {"name": "private-thing", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False}
    return json.dumps(line | {"cksum": hashlib.sha256(CRATE).hexdigest()}) + "\n"


def deb():
    root = folder / "deb"
    (root / "DEBIAN").mkdir(parents=True)
    control = "Package: private-thing\nVersion: 1.0\nArchitecture: all\nMaintainer: tests <a@b.example>\nDescription: x\n"
    (root / "DEBIAN" / "control").write_text(control)
    (root / "word").write_text("from the private archive\n")
    built = folder / "private-thing.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, built], check=True, stdout=subprocess.DEVNULL)
    body = built.read_bytes()
    digest = hashlib.sha256(body).hexdigest()
    return body, f"{control}Filename: ./private-thing.deb\nSize: {len(body)}\nSHA256: {digest}\n\n".encode()


DEB, PACKAGES = deb()
FILES = {
    "/debian/./Packages": ("text/plain", PACKAGES),
    "/debian/./private-thing.deb": ("application/octet-stream", DEB),
    "/simple/private-thing/": ("text/html", b'<a href="/wheels/private_thing-1.0-py3-none-any.whl">x</a>'),
    "/wheels/private_thing-1.0-py3-none-any.whl": ("application/zip", WHEEL),
    "/npm/@tool%2fthing": ("application/json", json.dumps(npm_document()).encode()),
    "/npm/@tool/thing/-/thing-1.0.0.tgz": ("application/octet-stream", NPM),
    "/index/config.json": ("application/json", json.dumps({"dl": f"{HOST}/crates", "auth-required": True}).encode()),
    "/index/pr/iv/private-thing": ("text/plain", crate_line().encode()),
    "/crates/private-thing/1.0.0/download": ("application/gzip", CRATE),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind="text/plain", body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        out = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return out

    def serve(self):
        body = self.body()
        path = self.path.partition("?")[0].replace("%40", "@").replace("%2F", "%2f")
        if self.headers.get("Authorization") not in (BASIC, f"Bearer {secret}", secret):
            print(f"refused {self.command} {path}", flush=True)
            return self.answer(401, WWW_Authenticate='Basic realm="private"')
        if path.startswith("/git/"):
            return self.git(body)
        kind, found = FILES.get(path, (None, None))
        return self.answer(404) if found is None else self.answer(200, kind, found)

    do_GET = do_POST = do_HEAD = serve

    def git(self, body):
        path, _, query = self.path.removeprefix("/git").partition("?")
        environment = os.environ | {
            "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "REMOTE_USER": "user",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, check=True)
        head, _, out = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        self.answer(status, headers.pop("Content-Type", "text/plain"), out)


subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / "thing.git"], check=True)
subprocess.run(["git", "-C", folder / "thing.git", "config", "http.receivepack", "true"], check=True)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, private)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    # the handshake belongs into the connection's own thread
    def finish_request(self, request, address):
        with context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, address, self)


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
