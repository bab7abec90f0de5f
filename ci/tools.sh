#!/usr/bin/env bash
# Installs the named tools under target/tools, at the versions pinned here, unless they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

version_of() {
    case "$1" in
        cbindgen) echo 0.29.4 ;;
        cargo-deny) echo 0.20.2 ;;
        cargo-fuzz) echo 0.13.2 ;;
        cargo-hack) echo 0.6.46 ;;
        cargo-llvm-cov) echo 0.9.1 ;;
        cargo-mutants) echo 27.1.0 ;;
        cargo-public-api) echo 0.52.0 ;;
        cargo-semver-checks) echo 0.51.0 ;;
        gungraun-runner) echo 0.20.0 ;;
        *) echo "tools: no version is pinned for '$1'; add it to ci/tools.sh" >&2; exit 2 ;;
    esac
}

for tool in "$@"; do
    version=$(version_of "$tool")
    # Cargo knows what it installed; a subcommand of cargo need not answer to `--version` alone.
    if ! cargo install --list --root target/tools | grep -qxF "$tool v$version:"; then
        # Built once and run for seconds: a fast build matters more than a fast tool.
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=target/tools/build \
            cargo install --quiet --locked --root target/tools --version "$version" "$tool"
        rm -rf target/tools/build
    fi
done
