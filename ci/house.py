#!/usr/bin/env python3
"""The house rules that no lint knows: sizes of files and functions, and where `unsafe` may live.

Prints the figures; exits with 1 and the places where a rule is broken.
"""
import pathlib
import re
import subprocess
import sys

FILE_LINES = 600
FUNCTION_LINES = 70
NINE_IN_TEN = 28
MEDIAN = 8
UNSAFE_HOMES = ("hypercall/", "ci/guest-archive/", "crates/xen-guest/", "crates/pv-mmu-c/", "crates/mock-xen-c/", "fuzz/src/c_face/")

HEAD = re.compile(r"^\s*(pub(\([^)]*\))?\s+)?((const|unsafe|async|extern\s+\"C\")\s+)*fn\s+\w+")
NOISE = re.compile(r"//.*|\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])'")


def functions(lines):
    """Start and length of every function with a body."""
    for start, line in enumerate(lines):
        if not HEAD.match(line):
            continue
        depth, opened = 0, False
        for end in range(start, len(lines)):
            code = NOISE.sub("", lines[end])
            depth += code.count("{") - code.count("}")
            opened |= "{" in code
            if not opened and code.rstrip().endswith(";"):
                break
            if opened and depth <= 0:
                yield start + 1, end - start + 1
                break


def c_functions(lines):
    """Start and length of every function of a C file: its braces begin lines."""
    for start, line in enumerate(lines):
        if line == "{":
            yield start, lines.index("}", start) - start + 2


def check_c(faults):
    """C code keeps the same bounds; it is not in the median, which is of Rust."""
    tracked = subprocess.run(["git", "ls-files", "*.c"], capture_output=True, text=True, check=True).stdout.split()
    for name in filter(lambda name: pathlib.Path(name).exists(), tracked):
        lines = pathlib.Path(name).read_text().split("\n")
        if len(lines) > FILE_LINES:
            faults.append(f"{name}: {len(lines)} lines, at most {FILE_LINES}")
        for start, length in c_functions(lines):
            if length > FUNCTION_LINES:
                faults.append(f"{name}:{start}: {length} lines in one function, at most {FUNCTION_LINES}")


def main():
    tracked = subprocess.run(["git", "ls-files", "*.rs"], capture_output=True, text=True, check=True).stdout.split()
    lengths, faults = [], []
    for name in filter(lambda name: pathlib.Path(name).exists(), tracked):
        lines = pathlib.Path(name).read_text().split("\n")
        if len(lines) > FILE_LINES:
            faults.append(f"{name}: {len(lines)} lines, at most {FILE_LINES}")
        for start, length in functions(lines):
            lengths.append(length)
            if length > FUNCTION_LINES:
                faults.append(f"{name}:{start}: {length} lines in one function, at most {FUNCTION_LINES}")
        for number, line in enumerate(lines, 1):
            code = NOISE.sub("", line)
            if re.search(r"\bunsafe\s*(\{|fn|impl)", code) and not name.startswith(UNSAFE_HOMES):
                faults.append(f"{name}:{number}: unsafe code lives in {', '.join(UNSAFE_HOMES)} only")
            if re.search(r"\b(todo!|unimplemented!|FIXME|XXX)|#\[ignore", code):
                faults.append(f"{name}:{number}: unfinished: {line.strip()[:60]}")
    check_c(faults)
    lengths.sort()
    median, nine_in_ten = lengths[len(lengths) // 2], lengths[len(lengths) * 9 // 10]
    if median > MEDIAN:
        faults.append(f"the median function has {median} lines, at most {MEDIAN}")
    if nine_in_ten > NINE_IN_TEN:
        faults.append(f"one function in ten has more than {nine_in_ten} lines, at most {NINE_IN_TEN}")
    print(f"{len(tracked)} files, {len(lengths)} functions: median {median} lines, nine in ten {nine_in_ten}, longest {lengths[-1]}")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
