#!/bin/bash
# As ../tls_client.py, with a headless Chromium: what it may show is a page, what it refuses is an error of its own.
set -u
port=$1 name=$2 file=$3 home=$(mktemp -d)
[[ $name = *:* ]] && name="[$name]"
trap 'rm -rf "$home"' EXIT
export HOME=$home
store=sql:$HOME/.pki/nssdb
mkdir -p "$HOME/.pki/nssdb"
certutil -d "$store" -N --empty-password
# one certificate a time
csplit -s -z -f "$HOME/ca-" "$file" '/BEGIN CERTIFICATE/' '{*}'
for ca in "$HOME"/ca-*; do certutil -d "$store" -A -t C,, -n "${ca##*/}" -i "$ca"; done
page=$(timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$HOME/profile" --disable-background-networking \
    --no-proxy-server --host-resolver-rules="MAP * 127.0.0.1" --dump-dom "https://$name:$port/" 2>/dev/null)
case $page in *"it is taken"*) exit 0 ;; *ERR_CERT_*) exit 3 ;; esac
printf '%s\n' "$page" | tail -n 5
exit 1
