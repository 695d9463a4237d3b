"""A fake of two model providers on loopback, over TLS: as much of their APIs as real agents need for one answer.

Arguments: a certificate and its key. It prints its port, then for each request its path and the key it showed; it ends
with its standard input. What it answers repeats the key, as careless error messages do."""

import http.server
import json
import ssl
import sys
import threading

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])


def anthropic(said):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in said:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 3}}
    yield {"type": "message_stop"}


def whole(said):
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "stop_reason": "end_turn",
            "stop_sequence": None, "content": [{"type": "text", "text": "".join(said)}],
            "usage": {"input_tokens": 1, "output_tokens": 3}}


def openai(said):
    text = "".join(said)
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 3,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 4}
    yield {"type": "response.created", "response": {"id": "resp_1"}}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": [], "status": "in_progress"}}
    for word in said:
        yield {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": {"id": "resp_1", "output": [item], "usage": usage}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(404, "application/json", b'{"error": {"type": "not_found_error", "message": "no"}}')

    def do_POST(self):
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        path = self.path.partition("?")[0]
        print(path, key, flush=True)
        said = ["the", " answer", " with ", key]
        kind = {"/v1/messages": anthropic, "/v1/responses": openai}.get(path)
        if kind is None:
            return self.do_GET()
        if not json.loads(asked).get("stream"):
            return self.answer(200, "application/json", json.dumps(whole(said)).encode())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in kind(said):
            text = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    # the handshake belongs into the connection's own thread
    def finish_request(self, request, address):
        with context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, address, self)


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
