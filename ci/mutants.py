#!/usr/bin/env python3
"""Holds the survivors of ci/mutants.sh against docs/decisions/mutants.md.

A survivor is known by its file, its function and the change, never by its line: those move. Fails for a survivor
without an explanation and, when all were tried, for an explanation without a survivor.
"""
import pathlib
import re
import sys

TABLE = pathlib.Path(__file__).parent.parent / "docs/decisions/mutants.md"


def without_place(name: str) -> str:
    return re.sub(r"^pv-mmu/src/(\S+?):\d+:\d+: ", r"\1: ", name.strip())


def explained() -> set[str]:
    return set(re.findall(r"^- `(\S+\.rs: [^`]+)`$", TABLE.read_text(), re.M))


def main() -> int:
    survivors = {without_place(line) for line in pathlib.Path(sys.argv[1]).read_text().splitlines() if line.strip()}
    known, whole = explained(), len(sys.argv) == 2
    for name in sorted(survivors - known):
        print(f"mutants: `{name}` survives; write the test that notices, or explain it in {TABLE.name}")
    stale = sorted(known - survivors) if whole else []
    for name in stale:
        print(f"mutants: `{name}` is explained in {TABLE.name} but does not survive; delete its row")
    return 1 if survivors - known or stale else 0


if __name__ == "__main__":
    sys.exit(main())
