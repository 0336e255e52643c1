#!/bin/sh
# Builds the components that tests run: build.sh [hostile] [python-message] [python-batch] [js-message] [js-batch]
#
# Without arguments all of them. The components are <target>/guests/NAME.wasm; one whose sources are as they were is not
# built again. The toolchains are those of ../standins, at the versions pinned there: where `.ci/test` has installed them,
# or else installed beside the components, and nowhere else.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
guests=$target/guests
standins=$root/target/standins
mkdir -p "$guests"

# The files that a component is made of, as one digest.
digest() {
    find "$@" -type f ! -path '*/__pycache__/*' ! -name '*.md' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# is_built NAME DIGEST
is_built() {
    [ -f "$guests/$1.wasm" ] && [ "$(cat "$guests/$1.digest" 2>/dev/null)" = "$2" ]
}

# A test that runs meanwhile sees the old component or the new one.
finish() {
    mv "$guests/$1.wasm.$$" "$guests/$1.wasm"
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
    cp "$target/plugins/wasm32-wasip2/guest/shardwright_hostile_guest.wasm" "$guests/hostile.wasm.$$"
    mv "$guests/hostile.wasm.$$" "$guests/hostile.wasm"
}

# build_python NAME WORLD
build_python() {
    want=$(digest "$root/wit" "$root/guest-sdk/python" "$here/$1" "$here/../standins/requirements.txt" "$here/build.sh")
    if is_built "$1" "$want"; then return; fi
    tool=$standins/venv/bin/componentize-py
    if [ ! -x "$tool" ]; then
        tool=$guests/venv/bin/componentize-py
        pin=$(grep '^componentize-py==' "$here/../standins/requirements.txt")
        [ -x "$tool" ] || python3 -m venv "$guests/venv"
        "$guests/venv/bin/pip" install --quiet --disable-pip-version-check "$pin"
    fi
    "$tool" --quiet --wit-path "$root/wit" --world "$2" \
        componentize app --python-path "$here/$1" --python-path "$root/guest-sdk/python" --output "$guests/$1.wasm.$$"
    finish "$1" "$want"
}

# build_js NAME WORLD
build_js() {
    want=$(digest "$root/wit" "$root/guest-sdk/javascript" "$here/$1" "$here/../standins/package.json" "$here/build.sh")
    if is_built "$1" "$want"; then return; fi
    tool=$standins/node_modules/.bin/componentize-qjs
    if [ ! -x "$tool" ]; then
        tool=$guests/node/node_modules/.bin/componentize-qjs
        pin=$(sed -n 's/.*"\(componentize-qjs\)": "\(.*\)".*/\1@\2/p' "$here/../standins/package.json")
        mkdir -p "$guests/node"
        npm install --silent --no-audit --no-fund --no-save --no-package-lock --prefix "$guests/node" "$pin"
    fi
    "$tool" --wit "$root/wit" --world "$2" --module-root "$root" \
        --js "$here/$1/handler.js" --output "$guests/$1.wasm.$$" >"$guests/$1.log" 2>&1 ||
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
