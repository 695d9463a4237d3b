"""A WebSocket by SOCKS5 with websockets (python-socks): the arguments are the proxy and the URL."""

import asyncio
import os
import sys

import websockets


async def steps():
    headers = {"Authorization": f"Bearer {os.environ['TOOL_API_KEY']}"}
    async with websockets.connect(sys.argv[2], proxy=sys.argv[1], additional_headers=headers) as socket:
        await socket.send("are you there?")
        print(await socket.recv())


asyncio.run(steps())
