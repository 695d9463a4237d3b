#!/bin/bash
# Lists the pods of a cluster, and asks one to run something, over SPDY as every kubectl before 1.31 does. What comes of that is for the
# server to tell, which opens no stream. A kubeconfig that names a CA trusts no other, so this one names none.
set -u
cat >kubeconfig <<END
{"kind": "Config", "apiVersion": "v1", "current-context": "c",
 "clusters": [{"name": "c", "cluster": {"server": "https://api.other.example"}}],
 "users": [{"name": "u", "user": {"token": "a-token"}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}
END
export KUBECONFIG=$PWD/kubeconfig KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false
kubectl get pods -o name || exit 1
timeout 60 kubectl exec pod -- true >/dev/null 2>&1
exit 0
