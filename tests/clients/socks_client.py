"""SOCKS5 by requests (PySocks) and httpx (socksio): the arguments are the proxy and the URL."""

import json
import os
import sys

import httpx
import requests

proxy, url = sys.argv[1:]
headers = {"Authorization": f"Bearer {os.environ['TOOL_API_KEY']}"}


def by_requests():
    got = requests.get(url + "/requests", headers=headers, proxies={"https": proxy}, timeout=60)
    return got.status_code


def by_httpx(http2):
    with httpx.Client(proxy=proxy, http2=http2, trust_env=True, timeout=60) as client:
        got = client.get(url + f"/httpx-{http2}", headers=headers)
        return [got.status_code, got.http_version]


print(json.dumps({"requests": by_requests(), "httpx": by_httpx(False), "httpx_h2": by_httpx(True)}))
