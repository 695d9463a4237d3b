"""The steps of README.md with Python's requests, on one session."""

import hashlib
import json
import os
import sys

import requests

base, key = sys.argv[1], os.environ["TOOL_API_KEY"]
text = f"use {key} here"
session = requests.Session()


def body(method, path, **options):
    response = session.request(method, base + path, timeout=60, **options)
    response.raise_for_status()
    return response.json()


stream = session.get(base + "/chunked", stream=True, timeout=60)
print(json.dumps({
    "header": body("GET", "/header", headers={"Authorization": f"Bearer {key}"}),
    "basic": body("GET", "/basic", auth=("user", key)),
    "json": body("POST", "/json", json={"key": key, "text": text}),
    "form": body("POST", "/form", data={"key": key, "text": text}),
    "stream": json.loads(b"".join(stream.iter_content(16))),
    "download": hashlib.sha256(session.get(base + "/blob?n=3000000", timeout=60).content).hexdigest(),
    "upload": body("PUT", "/upload", data=b"0123456789" * 300_000),
}))
