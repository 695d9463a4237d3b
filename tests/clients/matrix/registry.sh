#!/bin/bash
# A package manager, or git, against its private registry, with the placeholder as its key: $1 says which one.
# Each checks that what it got is what the registry has; it works in an empty folder.
set -eu -o pipefail
host=registry.tool.example key=$TOOL_API_KEY
# in a URL the brackets have to be escaped; clients decode it before they make Basic of it
escaped=$(printf %s "$key" | sed 's/</%3C/g; s/>/%3E/g')

npmrc() {
    printf '@tool:registry=https://%s/npm/\n//%s/npm/:_authToken=%s\n' "$host" "$host" "$key" >.npmrc
    printf '{"name": "x", "version": "1.0.0", "private": true}' >package.json
}
is_there() { [ "$(node -p 'require("@tool/thing")')" = "from the private registry" ]; }

case $1 in
git)
    export GIT_TERMINAL_PROMPT=0
    git config --global user.email a@b.example && git config --global user.name tests
    url=https://user:$escaped@$host/git/thing.git
    git init -q -b main one && cd one
    head -c 2000000 /dev/urandom >blob && git add blob && git commit -q -m one
    git push -q "$url" main && cd ..
    git clone -q "$url" two
    cmp one/blob two/blob
    ;;
apt)
    # root's apt drops to a user of its own, who has to get here
    chmod 755 . && mkdir -p lists/partial cache/archives/partial
    [ "$(id -u)" != 0 ] || chown -R _apt lists cache
    echo "deb [trusted=yes] https://$host/debian ./" >sources.list
    echo "machine https://$host/debian login user password $key" >auth.conf
    options=(-qq -o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::netrc="$PWD/auth.conf"
        -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache" -o APT::Update::Error-Mode=any)
    apt-get "${options[@]}" update
    mkdir got && [ "$(id -u)" != 0 ] || chown _apt got
    (cd got && apt-get "${options[@]}" download private-thing)
    dpkg-deb -x got/private-thing*.deb there
    grep -q 'from the private archive' there/word
    ;;
pip-conf)
    mkdir -p ~/.config/pip && printf '[global]\nproxy = http://127.0.0.1:1\n' >~/.config/pip/pip.conf
    exec bash "$0" pip
    ;;
pip)
    python3 -m pip install -q --disable-pip-version-check --no-cache-dir --target there --no-deps \
        --index-url "https://user:$escaped@$host/simple/" private-thing
    grep -q 'from the private index' there/private_thing.py
    ;;
uv)
    uv pip install -q --no-cache --python "$(command -v python3)" --target there --no-deps \
        --default-index "https://user:$escaped@$host/simple/" private-thing
    grep -q 'from the private index' there/private_thing.py
    ;;
npm) npmrc && npm install --silent --no-audit --no-fund @tool/thing && is_there ;;
pnpm) npmrc && pnpm add --silent @tool/thing && is_there ;;
yarn) npmrc && yarn add --silent --non-interactive @tool/thing && is_there ;;
cargo)
    export CARGO_HOME=$PWD/cargo CARGO_REGISTRIES_PRIVATE_INDEX=sparse+https://$host/index/
    export CARGO_REGISTRIES_PRIVATE_TOKEN=$key CARGO_REGISTRIES_PRIVATE_CREDENTIAL_PROVIDER=cargo:token
    mkdir src && echo 'fn main() {}' >src/main.rs
    printf '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nprivate-thing = { version = "1", registry = "private" }\n' >Cargo.toml
    cargo -q fetch
    find "$CARGO_HOME/registry/src" -name lib.rs | xargs grep -q private
    ;;
*) exit 64 ;;
esac
