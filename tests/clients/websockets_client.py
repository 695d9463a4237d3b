"""A WebSocket with Python's websockets, which finds the proxy in the environment by itself."""

import asyncio
import json
import os
import sys

import websockets

key = os.environ["TOOL_API_KEY"]
auth = json.dumps({"auth": key}, separators=(",", ":"))


async def steps():
    headers = {"Authorization": f"Bearer {key}"}
    async with websockets.connect(sys.argv[1], additional_headers=headers, max_size=None) as socket:

        async def echo(message):
            await socket.send(message)
            return await socket.recv()

        async def pieces():
            for piece in (auth[:12], auth[12:15], auth[15:]):
                yield piece

        got = {
            "auth": await echo(auth),
            "fragments": await echo(pieces()),
            "binary": len(await echo(b"\xff" * 3_000_000)),
            "long": len(await echo("x" * 2_000_000)),
            "pong": await (await socket.ping("are you there?")) >= 0,
        }
        await socket.close(4001, "that was all")
        return got | {"closed": [socket.close_code, socket.close_reason]}


print(json.dumps(asyncio.run(steps())))
