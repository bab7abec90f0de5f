#!/usr/bin/env python3
"""Holds the measured coverage of each crate against the kept one: coverage.py MEASURED.json KEPT.txt [--renew]."""
import json
import sys

CRATES = {"hypercall": "/hypercall/src/", "mock-xen": "/crates/mock-xen/src/", "pv-mmu": "/pv-mmu/src/"}
# Threads and hash order decide a line or two; in hundredths of a percent.
SLACK = 10


def measured(path):
    """Lines and those of them that ran, by crate."""
    files = json.load(open(path, encoding="utf-8"))["data"][0]["files"]
    shares = {}
    for crate, folder in CRATES.items():
        lines = [file["summary"]["lines"] for file in files if folder in file["filename"]]
        shares[crate] = (sum(line["covered"] for line in lines), sum(line["count"] for line in lines))
    return shares


def hundredths(covered, count):
    """The share in hundredths of a percent, rounded down; nothing measured is nothing covered."""
    return covered * 10000 // count if count else 0


def lower(shares, kept):
    """What has become worse, for a person."""
    return [
        f"{crate}: {hundredths(*share) / 100:.2f} % of the lines, {kept[crate] / 100:.2f} % are kept"
        for crate, share in shares.items()
        if hundredths(*share) + SLACK < kept[crate]
    ]


def main():
    shares = measured(sys.argv[1])
    for crate, (covered, count) in shares.items():
        print(f"coverage: {crate} {hundredths(covered, count) / 100:.2f} % of {count} lines, {count - covered} are not run")
    if "--renew" in sys.argv:
        with open(sys.argv[2], "w", encoding="utf-8") as kept:
            kept.writelines(f"{crate} {hundredths(*share) / 100:.2f}\n" for crate, share in shares.items())
    lines = (line.split() for line in open(sys.argv[2], encoding="utf-8"))
    kept = {crate: round(float(share) * 100) for crate, share in lines}
    # The fault that has to be found: one more line in a hundred that is not run.
    worse = {crate: (covered - count // 100 - 1, count) for crate, (covered, count) in shares.items()}
    if len(lower(worse, {crate: hundredths(*share) for crate, share in shares.items()})) < len(CRATES):
        print("coverage: lines that are no longer run would not be seen")
        return 1
    found = lower(shares, kept)
    if found:
        print("\n".join([*found, "coverage: write the missing tests; ci/coverage.sh --missing names the lines"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
