#!/bin/bash
# The AWS CLI's way through proxy and CA. It sends no key: what it signs with a placeholder nobody would take.
set -eu -o pipefail
mkdir -p .aws && printf '[default]\nregion = us-east-1\ns3 =\n    addressing_style = path\n' >.aws/config
aws s3api get-object --no-sign-request --endpoint-url https://api.tool.example --bucket bucket --key object got >/dev/null
cat got
