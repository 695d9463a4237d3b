"""PyPI's kubernetes: lists the pods, and has one say something by exec over a WebSocket. It finds the proxy by itself, and takes the
CA from its configuration alone."""

import os

from kubernetes import client
from kubernetes.stream import stream

configuration = client.Configuration()
configuration.host = "https://api.other.example"
configuration.ssl_ca_cert = os.environ["SSL_CERT_FILE"]
api = client.CoreV1Api(client.ApiClient(configuration))
print([pod.metadata.name for pod in api.list_namespaced_pod("default").items])
print(stream(api.connect_get_namespaced_pod_exec, "pod", "default", command=["hello"], stdout=True, stderr=False))
