"""The steps of README.md with Python's httpx, HTTP/2 allowed."""

import hashlib
import json
import os
import sys

import httpx

base, key = sys.argv[1], os.environ["TOOL_API_KEY"]
text = f"use {key} here"
client = httpx.Client(http2=True, timeout=60)


def body(method, path, **options):
    response = client.request(method, base + path, **options)
    response.raise_for_status()
    return response.json()


with client.stream("GET", base + "/chunked") as response:
    stream = b"".join(response.iter_bytes(16))
print(json.dumps({
    "header": body("GET", "/header", headers={"Authorization": f"Bearer {key}"}),
    "basic": body("GET", "/basic", auth=("user", key)),
    "json": body("POST", "/json", json={"key": key, "text": text}),
    "form": body("POST", "/form", data={"key": key, "text": text}),
    "stream": json.loads(stream),
    "download": hashlib.sha256(client.get(base + "/blob?n=3000000").content).hexdigest(),
    "upload": body("PUT", "/upload", content=b"0123456789" * 300_000),
}))
