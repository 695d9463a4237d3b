"""gRPC with grpcio: each kind of call, an error of the server's, and what the proxy refuses. A message is one protobuf string."""

import json
import os
import queue

import grpc

key = os.environ["TOOL_API_KEY"]
metadata = [("authorization", f"Bearer {key}")]


def message(text):
    return b"\n" + bytes([len(text)]) + text.encode()


def channel(host):
    return grpc.secure_channel(f"{host}:443", grpc.ssl_channel_credentials())


def refusal(call, *args, **options):
    try:
        call(*args, timeout=60, **options)
    except grpc.RpcError as e:
        return [e.code().name, e.details(), dict(e.trailing_metadata() or [])]


tool = channel("api.tool.example")
unary, fail = tool.unary_unary("/test.Echo/Unary"), tool.unary_unary("/test.Echo/Fail")
reply, call = unary.with_call(message(key), metadata=metadata, timeout=60)
streamed = list(tool.unary_stream("/test.Echo/ServerStream")(message(key), metadata=metadata, timeout=60))
pieces = (message(text) for text in ("one", "two", key))
collected = tool.stream_unary("/test.Echo/ClientStream")(pieces, metadata=metadata, timeout=60)

# each answer is awaited before the next message is sent: neither direction may wait for the end of the other
outgoing = queue.Queue()
answers = tool.stream_stream("/test.Echo/Both")(iter(outgoing.get, None), metadata=metadata, timeout=60)
talked = []
for text in ("one", key, "three"):
    outgoing.put(message(text))
    talked.append(next(answers).decode("latin-1"))
outgoing.put(None)
talked.extend(answers)

trailers = {name: value for name, value in call.trailing_metadata() if isinstance(value, str)}
print(json.dumps({
    "unary": reply.decode("latin-1"),
    "trailers": trailers,
    "streamed": [piece.decode("latin-1") for piece in streamed],
    "collected": collected.decode("latin-1"),
    "talked": talked,
    "failed": refusal(fail, message("x"), metadata=metadata)[:2],
    "compressed": refusal(tool.unary_unary("/test.Echo/Compressed"), message("x"))[:1],
    "refused": refusal(unary, message("x"), metadata=[("x-key", "<<other_key>>")]),
    "down": refusal(channel("api.other.example").unary_unary("/test.Echo/Unary"), message("x"))[:1],
}))
