#!/bin/sh
# Builds the components that tests run: build.sh [hostile] [python-message] [python-batch] [js-message] [js-batch]
#
# Without arguments all of them. The components are <target>/guests/NAME.wasm; tools are installed beside them, at
# pinned versions, and nothing elsewhere. A component whose sources are as they were is not built again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
guests=$target/guests
mkdir -p "$guests"

# The files that a component is made of, as one digest.
digest() {
    find "$@" -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# is_built NAME DIGEST
is_built() {
    [ -f "$guests/$1.wasm" ] && [ "$(cat "$guests/$1.digest" 2>/dev/null)" = "$2" ]
}

# A test that runs meanwhile sees the old component or the new one.
finish() {
    mv "$guests/$1.wasm.new" "$guests/$1.wasm"
    echo "$2" >"$guests/$1.digest"
}

build_hostile() {
    # With the flags and in the folder of the host's build script, so that what the plugins need is built once.
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    separator=$(printf '\037')
    (
        unset RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_TARGET_DIR
        export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$cargo_home/registry/src=/cargo$separator--remap-path-prefix=$root=/shardwright"
        cd "$root"
        cargo build --locked --quiet --package shardwright-hostile-guest --profile guest --target wasm32-wasip2 \
            --target-dir "$target/plugins"
    )
    cp "$target/plugins/wasm32-wasip2/guest/shardwright_hostile_guest.wasm" "$guests/hostile.wasm.new"
    mv "$guests/hostile.wasm.new" "$guests/hostile.wasm"
}

# build_python NAME WORLD
build_python() {
    want=$(digest "$root/wit" "$root/guest-sdk/python" "$here/$1" "$here/requirements.txt" "$here/build.sh")
    if is_built "$1" "$want"; then return; fi
    venv=$guests/venv
    if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
        cp "$here/requirements.txt" "$venv/requirements.txt"
    fi
    "$venv/bin/componentize-py" --quiet --wit-path "$root/wit" --world "$2" \
        componentize app --python-path "$here/$1" --python-path "$root/guest-sdk/python" --output "$guests/$1.wasm.new"
    finish "$1" "$want"
}

# build_js NAME WORLD
build_js() {
    want=$(digest "$root/wit" "$root/guest-sdk/javascript" "$here/$1" "$here/package.json" "$here/build.sh")
    if is_built "$1" "$want"; then return; fi
    node=$guests/node
    if ! cmp -s "$here/package.json" "$node/package.json"; then
        mkdir -p "$node"
        # No lock file: npm refuses one when a package for another platform is missing from the registry.
        npm install --silent --no-audit --no-fund --no-save --no-package-lock --prefix "$node" \
            "$(sed -n 's/.*"\(componentize-qjs\)": "\(.*\)".*/\1@\2/p' "$here/package.json")"
        cp "$here/package.json" "$node/package.json"
    fi
    "$node/node_modules/.bin/componentize-qjs" --wit "$root/wit" --world "$2" --module-root "$root" \
        --js "$here/$1/handler.js" --output "$guests/$1.wasm.new" >"$guests/$1.log" 2>&1 ||
        { cat "$guests/$1.log" >&2; exit 1; }
    finish "$1" "$want"
}

[ $# -gt 0 ] || set -- hostile python-message python-batch js-message js-batch
for guest in "$@"; do
    case $guest in
    hostile) build_hostile ;;
    python-message) build_python "$guest" message-minimal ;;
    python-batch) build_python "$guest" batch-minimal ;;
    js-message) build_js "$guest" message-minimal ;;
    js-batch) build_js "$guest" batch-minimal ;;
    *)
        echo "build.sh: no guest is called $guest" >&2
        exit 2
        ;;
    esac
    echo "$guests/$guest.wasm"
done
