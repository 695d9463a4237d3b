#!/bin/bash
# 50 requests on one connection, then 20 at once, with curl: $2 is the option for the version. Prints how many were answered.
set -eu -o pipefail
call() { curl -q --silent --show-error --max-time 60 -H "Authorization: Bearer $TOOL_API_KEY" -o /dev/null "$@"; }
{
    call "$2" -w '%{http_code}\n' "$1/[0-49]"
    call "$2" -w '%{http_code}\n' --parallel --parallel-immediate --parallel-max 20 "$1/[50-69]"
} | grep -c '^200$'
