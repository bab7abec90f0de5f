#!/usr/bin/env bash
# What whoever depends on the published crates relies on: each is packaged and builds from its package alone, with every set of
# features, on the oldest compiler it names, its public interface is the one in docs/api, and whoever builds against the commit in
# docs/api/baseline builds against this one too, or the version says that he may not.
#
#   ci/packages.sh              checks
#   ci/packages.sh --renew      writes docs/api anew
set -euo pipefail
cd "$(dirname "$0")/.."
crates=(hypercall mock-xen pv-mmu)
case "${1:-}" in "" | --renew) ;; *) echo "usage: ci/packages.sh [--renew]" >&2; exit 2 ;; esac

export PATH="$PWD/target/tools/bin:$PATH"

toolchain() { rustup run "$1" true 2> /dev/null || rustup toolchain install "$1" --profile minimal; }

# The public interface of the crate `$1`, as text. Only a nightly compiler tells it.
interface() {
    local features=(--all-features)
    # Faults that are planted are for the tests of this repository.
    [ "$1" = hypercall ] || features=(--no-default-features)
    [ "$1" != pv-mmu ] || features=(--features caller-location)
    cargo +nightly public-api -p "$1" "${features[@]}" -sss
}

check_interface() {
    local kept="docs/api/$1.txt" now="target/api/$1.txt"
    mkdir -p target/api docs/api
    interface "$1" > "$now"
    [ "$(wc -l < "$now")" -gt 50 ] || { echo "packages: the interface of $1 has hardly a line: see $now" >&2; exit 1; }
    [ "${2:-}" != --renew ] || cp "$now" "$kept"
    diff -u "$kept" "$now" || { echo "packages: the interface of $1 has changed: ci/packages.sh --renew, and say so in CHANGELOG.md" >&2; exit 1; }
    # The fault that has to be found: an item that is gone.
    ! sed 10d "$now" | cmp -s - "$kept" || { echo "packages: a missing item is not seen" >&2; exit 1; }
    echo "packages: $1 has $(wc -l < "$now") public items, as kept"
}

# Checks the crate `$1` below the folder `$2` against that below the folder `$3`, with the features that users have.
compatible() {
    local features=(--only-explicit-features)
    [ "$1" != hypercall ] || features+=(--features user-space,xen)
    [ "$1" != pv-mmu ] || features+=(--features caller-location)
    local folder="$1"
    [ "$1" != mock-xen ] || folder=crates/mock-xen
    cargo semver-checks --manifest-path "$2/$folder/Cargo.toml" --baseline-root "$3/$folder" "${features[@]}" > target/semver/log 2>&1
}

# What is tracked at commit `$1`, below the folder `$2`.
unpack() {
    rm -rf "$2" && mkdir -p "$2"
    git archive "$1" | tar -x -C "$2"
}

check_compatibility() {
    local baseline
    baseline=$(cat docs/api/baseline)
    git cat-file -e "$baseline^{commit}" 2> /dev/null ||
        { echo "packages: docs/api/baseline is $baseline, of which this clone knows nothing: git fetch --unshallow" >&2; exit 1; }
    unpack "$baseline" target/semver/baseline
    for crate in "${crates[@]}"; do
        compatible "$crate" . target/semver/baseline ||
            { cat target/semver/log; echo "packages: $crate breaks who builds against $baseline: raise its version, or see CONTRIBUTING.md, releases" >&2; exit 1; }
        echo "packages: $crate is compatible with ${baseline:0:8}:$(grep -o '[0-9]* checks: .*' target/semver/log)"
    done
    # The fault that has to be found: a method that is gone.
    unpack HEAD target/semver/planted
    sed -i 's/pub const fn is_present/pub(crate) const fn is_present/' target/semver/planted/hypercall/src/pte.rs
    if compatible hypercall target/semver/planted . || ! grep -q 'Pte::is_present' target/semver/log; then
        cat target/semver/log
        echo "packages: a method that is gone is not seen" >&2
        exit 1
    fi
    echo "packages: a method that is gone is seen"
}

ci/tools.sh cargo-hack cargo-public-api cargo-semver-checks
toolchain nightly
for crate in "${crates[@]}"; do check_interface "$crate" "${1:-}"; done

check_compatibility

oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
toolchain "$oldest"
echo "packages: every set of features, on Rust $oldest"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/packages"

# Without dev-dependencies: these switch features on that a user of the crate has not.
cargo +"$oldest" hack check --quiet --feature-powerset --no-dev-deps -p hypercall -p pv-mmu -p mock-xen

# Cargo takes what is packaged for as unchanging as a registry's: what an earlier run unpacked and built under the same version would
# be taken for what is packaged now.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/packaged"
rm -rf "$CARGO_TARGET_DIR"
for crate in "${crates[@]}"; do rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache}/-*/"$crate"-[0-9]*; done
# All at once: each is built from its package, with the others' packages in place of a registry's.
packages=()
for crate in "${crates[@]}"; do packages+=(-p "$crate"); done
cargo +"$oldest" package --quiet --allow-dirty "${packages[@]}"

# Whether the package of the crate `$1` has the file `$2`.
holds() { grep -q "^[^/]*/$2\$" <<< "$(tar -tzf "$CARGO_TARGET_DIR/package/$1"-[0-9]*.crate)"; }
for crate in "${crates[@]}"; do
    for file in LICENSE-MIT LICENSE-APACHE README.md Cargo.toml; do
        holds "$crate" "$file" || { echo "packages: the package of $crate has no $file" >&2; exit 1; }
    done
    ! holds "$crate" LICENSE-NONE || { echo "packages: a file that is missing is not seen" >&2; exit 1; }
done
echo "packages: ${#crates[@]} crates build from their packages, with licences and readme"
