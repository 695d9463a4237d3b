"""50 requests on one connection, then 20 at once, with httpx: the second argument says which version. Prints how many were answered."""

import asyncio
import os
import sys

import httpx

base, http2 = sys.argv[1], sys.argv[2] == "h2"
headers = {"Authorization": f"Bearer {os.environ['TOOL_API_KEY']}"}


async def main():
    # httpx prefers HTTP/1.1 where both are offered, so that is not offered for HTTP/2
    async with httpx.AsyncClient(http1=not http2, http2=http2, headers=headers, timeout=60) as client:

        async def ask(n):
            return (await client.get(f"{base}/{n}")).status_code == 200

        answered = sum([await ask(n) for n in range(50)])
        print(answered + sum(await asyncio.gather(*map(ask, range(50, 70)))))


asyncio.run(main())
