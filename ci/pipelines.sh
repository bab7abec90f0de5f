#!/usr/bin/env bash
# Every command of the example pipelines, run here for a kernel's repository that is made up: a crate with a test against the
# mock, and a trace. pv-mmu is had from a clone of what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { printf 'pipelines: %s\n' "$*" >&2; exit 1; }

if ! python3 -c 'import yaml' 2> /dev/null; then
    [ "$(id -u)" = 0 ] || fail "PyYAML is missing; as root: apt-get install python3-yaml"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends python3-yaml > /dev/null || { apt-get update -qq; apt-get install -qq -y python3-yaml > /dev/null; }
fi

out="$PWD/target/pipelines"
rm -rf "$out"
mkdir -p "$out"
git diff --quiet HEAD -- . || echo "pipelines: what is not committed is not tried" >&2
git clone --quiet --bare . "$out/pv-mmu.git"
# Only what these commands install is there; crates that were built for them are not built again.
export PV_MMU="file://$out/pv-mmu.git" CARGO_INSTALL_ROOT="$out/installed" CARGO_TARGET_DIR="$PWD/target/pipelines-build"
export PATH="$CARGO_INSTALL_ROOT/bin:$PATH"

# `repository FOLDER`: the kernel's. Its test is the one that the documentation of `mock_xen::testing` begins with.
repository() {
    mkdir -p "$1/src" "$1/tests" "$1/traces"
    cp crates/mmu-trace/traces/linux-6.1-2vcpu-process-churn.ftrace.gz "$1/traces/boot.txt.gz"
    cat > "$1/Cargo.toml" << END
[workspace]

[package]
name = "kernel"
edition = "2024"

[dependencies]
hypercall = { git = "$PV_MMU" }

[dev-dependencies]
mock-xen = { git = "$PV_MMU" }
END
    echo '//! A kernel.' > "$1/src/lib.rs"
    {
        printf '//! The batcher, before the referee.\n#[test]\nfn regions() {\n'
        awk '/^\/\/! ```$/ { on = !on; next } on { sub(/^\/\/! ?/, ""); print }' crates/mock-xen/src/testing/mod.rs
        echo '}'
    } > "$1/tests/regions.rs"
    grep -q 'assert_violates' "$1/tests/regions.rs" || fail "there is no example in mock_xen::testing"
}

# `wellformed FILE CASES`: JUnit's XML with at least as many cases.
wellformed() {
    python3 - "$1" "$2" << 'END'
import sys, xml.etree.ElementTree as tree
cases = list(tree.parse(sys.argv[1]).iter("testcase"))
assert len(cases) >= int(sys.argv[2]), f"{sys.argv[1]}: {len(cases)} cases"
END
}

for engine in github gitlab; do
    repository "$out/$engine"
    python3 ci/pipelines.py "$engine" "examples/ci/$engine.yml" "$out/$engine"
    wellformed "$out/$engine/check.xml" 1
    wellformed "$out/$engine/replay.xml" 1
    wellformed "$out/$engine/explore.xml" 40
    grep -qi '<html' "$out/$engine/replay.html" || fail "$engine: replay.html is no page"
done

# A trace that is none ends its job.
printf 'no trace\n' > "$out/gitlab/traces/boot.txt.gz"
! python3 ci/pipelines.py gitlab examples/ci/gitlab.yml "$out/gitlab" > /dev/null 2>&1 || fail "a trace that is none passes"
echo "pipelines: all commands of both examples run, and a bad trace ends the job"
