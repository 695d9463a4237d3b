"""Compressed bodies both ways with Python's requests: a short one with its length, and a long one in pieces without."""

import gzip
import json
import os
import sys

import requests

base, key = sys.argv[1], os.environ["TOOL_API_KEY"]
session = requests.Session()
headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}


def document(lines):
    return gzip.compress(json.dumps({"lines": ["nothing to see"] * lines, "key": key, "text": f"use {key}"}).encode())


def pieces(data):
    for at in range(0, len(data), 1000):
        yield data[at:at + 1000]


session.post(base + "/short", data=document(1), headers=headers, timeout=60).raise_for_status()
session.post(base + "/long", data=pieces(document(100_000)), headers=headers, timeout=60).raise_for_status()
answer = session.get(base + "/answer", timeout=60)
answer.raise_for_status()
print(json.dumps({"text": answer.text, "accepted": session.headers["Accept-Encoding"]}))
