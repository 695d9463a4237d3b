#!/bin/bash
# Opens $1 in a headless Chromium and prints the page. No variable tells it of a proxy's CA: that goes into the user's NSS
# store, as its own settings would do it; and of the proxy's address it drops the token.
set -eu -o pipefail
store=sql:$HOME/.pki/nssdb
mkdir -p "$HOME/.pki/nssdb"
certutil -d "$store" -N --empty-password
certutil -d "$store" -A -t C,, -n locum -i "$NODE_EXTRA_CA_CERTS"
exec chromium --headless --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" --disable-background-networking \
    --proxy-server="http://${https_proxy##*@}" --dump-dom "$1"
