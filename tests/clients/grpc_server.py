"""A gRPC server on loopback, over TLS: says back what it got, in each of the four kinds of calls.

Its arguments are a certificate and its key. It prints its port, and then what it saw of each call, a line of JSON each."""

import json
import sys
from concurrent import futures

import grpc


def saw(context, method, messages):
    metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    messages = [message.decode("latin-1") for message in messages]
    print(json.dumps({"method": method, "metadata": metadata, "messages": messages}), flush=True)
    return metadata.get("authorization", "")


def unary(request, context):
    authorization = saw(context, "unary", [request])
    context.set_trailing_metadata([("x-saw", authorization)])
    return request


def compressed(request, context):
    saw(context, "compressed", [request])
    context.set_compression(grpc.Compression.Gzip)
    return request * 100


def fail(request, context):
    authorization = saw(context, "fail", [request])
    context.set_trailing_metadata([("x-saw", authorization)])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"not with {authorization}, né")


def server_stream(request, context):
    saw(context, "server_stream", [request])
    for _ in range(5):
        yield request


def client_stream(requests, context):
    requests = list(requests)
    saw(context, "client_stream", requests)
    return requests[-1]


def both(requests, context):
    seen = []
    for request in requests:
        seen.append(request)
        yield request
    saw(context, "both", seen)


handlers = grpc.method_handlers_generic_handler("test.Echo", {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Compressed": grpc.unary_unary_rpc_method_handler(compressed),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "Both": grpc.stream_stream_rpc_method_handler(both),
})
with open(sys.argv[1], "rb") as certificate, open(sys.argv[2], "rb") as key:
    credentials = grpc.ssl_server_credentials([(key.read(), certificate.read())])
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((handlers,))
print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
server.start()
sys.stdin.read()
server.stop(0).wait()
