#!/bin/bash
# The steps of README.md with curl: $1 is the base URL, $2 the option for the version.
set -eu -o pipefail
base=$1 key=$TOOL_API_KEY text="use $TOOL_API_KEY here"
call() { curl -q --silent --show-error --fail --max-time 60 "$version" "$@"; }
version=$2
bytes() { head -c 3000000 < <(yes 0123456789 | tr -d '\n'); }

printf '{"header": %s, ' "$(call -H "Authorization: Bearer $key" "$base/header")"
printf '"basic": %s, ' "$(call -u "user:$key" "$base/basic")"
printf '"json": %s, ' "$(call -H 'Content-Type: application/json' -d "{\"key\": \"$key\", \"text\": \"$text\"}" "$base/json")"
printf '"form": %s, ' "$(call --data-urlencode "key=$key" --data-urlencode "text=$text" "$base/form")"
printf '"stream": %s, ' "$(call --no-buffer "$base/chunked")"
printf '"download": "%s", ' "$(call "$base/blob?n=3000000" | sha256sum | cut -d' ' -f1)"
printf '"upload": %s}\n' "$(bytes | call -T - "$base/upload")"
