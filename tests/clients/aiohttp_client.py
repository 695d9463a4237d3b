"""The steps of README.md with Python's aiohttp."""

import asyncio
import hashlib
import json
import os
import sys

import aiohttp

base, key = sys.argv[1], os.environ["TOOL_API_KEY"]
text = f"use {key} here"


async def steps():
    async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as session:

        async def body(method, path, **options):
            async with session.request(method, base + path, **options) as response:
                return await response.json()

        async with session.get(base + "/chunked") as response:
            stream = b"".join([piece async for piece in response.content.iter_chunked(16)])
        async with session.get(base + "/blob?n=3000000") as response:
            download = hashlib.sha256(await response.read()).hexdigest()
        return {
            "header": await body("GET", "/header", headers={"Authorization": f"Bearer {key}"}),
            "basic": await body("GET", "/basic", auth=aiohttp.BasicAuth("user", key)),
            "json": await body("POST", "/json", json={"key": key, "text": text}),
            "form": await body("POST", "/form", data={"key": key, "text": text}),
            "stream": json.loads(stream),
            "download": download,
            "upload": await body("PUT", "/upload", data=b"0123456789" * 300_000),
        }


print(json.dumps(asyncio.run(steps())))
