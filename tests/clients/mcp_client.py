"""An MCP client: starts `locum mcp` as an agent's config would, lists its tools, is refused, and asks why.

Arguments: locum, a URL that its placeholder may not go to. What it saw goes to standard output, as JSON.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.request

from mcp import ClientSession, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client


def refused(url):
    request = urllib.request.Request(url, headers={"X-Api-Key": "<<tool_key>>"})
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)


async def main(locum, url):
    seen = {}
    # the client gives a server hardly a variable: no proxy either
    async with stdio_client(StdioServerParameters(command=locum, args=["mcp"])) as streams:
        async with ClientSession(*streams) as session:
            seen["server"] = (await session.initialize()).model_dump(mode="json", by_alias=True)
            seen["tools"] = [tool.name for tool in (await session.list_tools()).tools]

            async def call(name, arguments):
                result = await session.call_tool(name, arguments)
                return {
                    "text": result.content[0].text,
                    "structured": result.structured_content,
                    "failed": bool(result.is_error),
                }

            seen["placeholders"] = await call("list_placeholders", {})
            seen["refusal"] = refused(url)
            seen["why"] = await call("explain_refusal", {"exchange": seen["refusal"]["exchange"]})
            seen["unknown"] = await call("explain_refusal", {"exchange": "aaaaaaaaaaaaaaaa"})
            seen["odd"] = await call("explain_refusal", {"exchange": "../placeholders"})
            for name, arguments in [("no_such_tool", {}), ("explain_refusal", {})]:
                try:
                    await session.call_tool(name, arguments)
                except MCPError as error:
                    seen.setdefault("errors", []).append(str(error))
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
