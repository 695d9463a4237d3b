"""An agent's MCP client, which reads its servers' config as agents do. Argument: that config."""

import asyncio
import json
import sys

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


async def main(config):
    with open(config) as file:
        server = json.load(file)["mcpServers"]["notes"]
    async with httpx2.AsyncClient(headers=server["headers"]) as http:
        async with streamable_http_client(server["url"], http_client=http) as streams:
            async with ClientSession(*streams) as session:
                await session.initialize()
                print("tools:", ", ".join(tool.name for tool in (await session.list_tools()).tools))
                result = await session.call_tool("add_note", {"text": "I hold <<notes_key>> and no key"})
                print("answer:", result.content[0].text)


asyncio.run(main(sys.argv[1]))
