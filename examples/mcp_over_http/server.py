"""An MCP server over HTTP that serves nobody without its token. Argument: a port of 127.0.0.1, or 0 for one that is free."""

import hmac
import os
import socket
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.responses import JSONResponse

server = MCPServer("notes")
notes = []


@server.tool()
def add_note(text: str) -> str:
    """Keeps a note."""
    notes.append(text)
    return f"note {len(notes)} is kept: {text}"


def guarded(app, token):
    async def guard(scope, receive, send):
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + token.encode()):
                return await JSONResponse({"error": "who are you?"}, 401)(scope, receive, send)
        await app(scope, receive, send)

    return guard


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
app = guarded(server.streamable_http_app(), os.environ["NOTES_API_KEY"])
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
