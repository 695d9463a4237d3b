#!/bin/bash
# The steps of README.md with wget; it can't send a body in pieces, so the upload comes from a file.
set -eu -o pipefail
base=$1 key=$TOOL_API_KEY text="use $TOOL_API_KEY here"
call() { wget --quiet --tries=1 --timeout=60 --output-document=- "$@"; }
escaped() { printf %s "$1" | sed 's/</%3C/g; s/>/%3E/g; s/ /+/g'; }
head -c 3000000 < <(yes 0123456789 | tr -d '\n') >upload

printf '{"header": %s, ' "$(call --header="Authorization: Bearer $key" "$base/header")"
printf '"basic": %s, ' "$(call --auth-no-challenge --user=user --password="$key" "$base/basic")"
printf '"json": %s, ' "$(call --header='Content-Type: application/json' --post-data="{\"key\": \"$key\", \"text\": \"$text\"}" "$base/json")"
printf '"form": %s, ' "$(call --post-data="key=$(escaped "$key")&text=$(escaped "$text")" "$base/form")"
printf '"stream": %s, ' "$(call "$base/chunked")"
printf '"download": "%s", ' "$(call "$base/blob?n=3000000" | sha256sum | cut -d' ' -f1)"
printf '"upload": %s}\n' "$(call --method=PUT --body-file=upload "$base/upload")"
