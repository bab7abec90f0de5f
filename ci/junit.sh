#!/usr/bin/env bash
# What `pvmmu` tells pipelines, against the schema of the reader most of them have: Jenkins' xUnit plugin, as pytest's source
# package carries it. Each command that judges, clean and with findings; and, to show that the schema is not blind, a report
# with an attribute too many.
set -euo pipefail
cd "$(dirname "$0")/.."
sum=a1a816f58d1bf95ebabf371994df0b9246dee66ea9572fbec4f9296f1b2c0ff6
folder=target/junit schema=target/junit/junit-10.xsd

need() {
    command -v "$1" > /dev/null && return
    [ "$(id -u)" = 0 ] || { echo "junit: $1 is missing; as root: apt-get install $2" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "$2" > /dev/null || { apt-get update -qq; apt-get install -qq -y --no-install-recommends "$2" > /dev/null; }
}

need xmllint libxml2-utils
mkdir -p "$folder"
if ! [ -e "$schema" ]; then
    need pip3 python3-pip
    pip3 download --quiet --no-deps --no-binary :all: --dest "$folder" pytest==8.3.4
    tar -xOf "$folder/pytest-8.3.4.tar.gz" pytest-8.3.4/testing/example_scripts/junit-10.xsd > "$schema.part"
    mv "$schema.part" "$schema"
fi
echo "$sum  $schema" | sha256sum --quiet --check || { rm "$schema"; echo "junit: the schema is not the one that is meant; it is fetched anew next time" >&2; exit 1; }

cargo build --quiet --release
report() {
    local file="$folder/$1.xml" status=0
    shift 2
    target/release/pvmmu "$@" --format junit > "$file" || status=$?
    [ "$status" = "$expected" ] || { echo "junit: \`pvmmu $*\` ends with $status, not $expected" >&2; exit 1; }
    xmllint --noout --schema "$schema" "$file" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
    echo "junit: pvmmu $* is valid: $(grep -c '<testcase' "$file") cases, $(grep -c '<failure' "$file" || true) failures"
}

expected=0
report check -- check
report replay -- replay
report explore -- explore S17
report explore-arch -- explore S17 --arch all --deviations 1
report conform -- conform --ops 500 --seed 1
report conform-cases -- conform --cases
expected=1
report explore-found -- explore B13a
printf '            guest-7       [000] .....            %s: enter: (paravirt_enter_lazy_mmu+0x0/0x30)\n' 0 1 > "$folder/nested.txt"
report check-found -- check "$folder/nested.txt"

sed '0,/<testcase /s//<testcase colour="red" /' "$folder/check.xml" > "$folder/planted.xml"
! xmllint --noout --schema "$schema" "$folder/planted.xml" 2> "$folder/log" || { echo "junit: an attribute too many is not found" >&2; exit 1; }
