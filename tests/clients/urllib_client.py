"""The steps of README.md with nothing but Python's own library."""

import base64
import hashlib
import json
import os
import sys
import urllib.parse
import urllib.request

base, key = sys.argv[1], os.environ["TOOL_API_KEY"]
text = f"use {key} here"


def read(method, path, headers={}, data=None):
    request = urllib.request.Request(base + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def body(*args, **options):
    return json.loads(read(*args, **options))


basic = base64.b64encode(f"user:{key}".encode()).decode()
fields = {"key": key, "text": text}
print(json.dumps({
    "header": body("GET", "/header", {"Authorization": f"Bearer {key}"}),
    "basic": body("GET", "/basic", {"Authorization": f"Basic {basic}"}),
    "json": body("POST", "/json", {"Content-Type": "application/json"}, json.dumps(fields).encode()),
    "form": body("POST", "/form", data=urllib.parse.urlencode(fields).encode()),
    "stream": body("GET", "/chunked"),
    "download": hashlib.sha256(read("GET", "/blob?n=3000000")).hexdigest(),
    "upload": body("PUT", "/upload", {"Content-Type": "application/octet-stream"}, b"0123456789" * 300_000),
}))
