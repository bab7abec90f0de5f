#!/usr/bin/env bash
# The pages of `pvmmu` in a real Chromium: a replay of a bundled trace, and the violation of Linux 7.0. Screenshots are left
# in target/pages, to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."

install() { apt-get install -qq -y --no-install-recommends chromium chromium-driver python3-selenium fonts-dejavu-core > /dev/null; }
if ! { command -v chromedriver && command -v chromium && python3 -c 'import selenium'; } > /dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || { echo "pages: Chromium is missing; as root: apt-get install chromium chromium-driver python3-selenium" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    install || { apt-get update -qq; install; }
fi

pages=target/pages
mkdir -p "$pages"
cargo run --quiet --release -- replay --format html > "$pages/replay.html"
# Exit status 1: something was found, as it must be.
cargo run --quiet --release -- explore B13a --format html > "$pages/violation.html" && { echo "pages: B13a was found nowhere" >&2; exit 1; }
python3 ci/pages.py "$pages"
