"""A WebSocket with Python's aiohttp. It can't send fragments, so a ping stands between two whole messages instead."""

import asyncio
import json
import os
import sys

import aiohttp

key = os.environ["TOOL_API_KEY"]
auth = json.dumps({"auth": key}, separators=(",", ":"))


async def steps():
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(trust_env=True) as session,
        session.ws_connect(sys.argv[1], headers=headers, max_msg_size=0, autoping=False) as socket,
    ):
        await socket.send_str(auth)
        got = {"auth": await socket.receive_str()}
        await socket.ping(b"are you there?")
        pong = await socket.receive()
        got["pong"] = pong.type == aiohttp.WSMsgType.PONG and pong.data == b"are you there?"
        await socket.send_str(auth)
        got["fragments"] = await socket.receive_str()
        await socket.send_bytes(b"\xff" * 3_000_000)
        got["binary"] = len(await socket.receive_bytes())
        await socket.send_str("x" * 2_000_000)
        got["long"] = len(await socket.receive_str())
        # of the answer to its close aiohttp keeps the code alone
        await socket.close(code=4001, message=b"that was all")
        return got | {"closed": [socket.close_code, "that was all"]}


print(json.dumps(asyncio.run(steps())))
