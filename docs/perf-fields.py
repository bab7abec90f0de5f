"""Prints every event of a perf recording with its fields as they are: perf script -s perf-fields.py -i perf.data

What `perf script` prints by itself cannot be used: it puts the fields into the kernel's words by a parser that does not
know the kernel's functions and enumerations, and prints `LAZY_NONE` for every mode.
"""

import heapq
import itertools
import os
import sys

sys.path.append(os.environ["PERF_EXEC_PATH"] + "/scripts/python/Perf-Trace-Util/lib/Perf/Trace")
from perf_trace_context import common_flags, common_pc  # noqa: E402

# perf delivers an event late where its vCPU was held up between the stamp and the record: this many lines are kept back,
# so that it finds its place.
KEPT = 200_000
kept = []
numbers = itertools.count()
last = {}

IRQS_OFF, NEED_RESCHED, HARDIRQ, SOFTIRQ, NMI, BH_OFF = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80


def context(flags, count):
    """The column of Linux's tracer: masked, reschedule, handler, preempt depth (one more, of the recording itself)."""
    masked = {(0, 0): ".", (1, 0): "d", (0, 1): "b", (1, 1): "D"}[bool(flags & IRQS_OFF), bool(flags & BH_OFF)]
    resched = "N" if flags & NEED_RESCHED else "."
    if flags & NMI:
        handler = "Z" if flags & HARDIRQ else "z"
    elif flags & HARDIRQ:
        handler = "H" if flags & SOFTIRQ else "h"
    else:
        handler = "s" if flags & SOFTIRQ else "."
    depth = count & 0xF
    return masked + resched + handler + (f"{depth:x}" if depth else ".")


def shown(value):
    """A field: numbers in hexadecimal unless they are negative, arrays as their bytes."""
    if isinstance(value, int):
        return str(value) if value < 0 else f"{value:#x}"
    if isinstance(value, (bytes, bytearray)):
        return "ARRAY[" + ", ".join(f"{byte:02x}" for byte in value) + "]"
    return str(value).replace("\n", " ")


def trace_unhandled(_handler, context_of, fields, record):
    sample = record["sample"]
    flags = context(common_flags(context_of), common_pc(context_of))
    own = " ".join(f"{name}={shown(value)}" for name, value in fields.items() if not name.startswith("common_"))
    seconds, fraction = divmod(sample["time"], 1_000_000_000)
    comm = shown(record["comm"])
    place = f"{comm:>16} {fields['common_pid']:5} [{sample['cpu']:03}] {flags} {seconds:5}.{fraction:09}"
    heapq.heappush(kept, (sample["time"], next(numbers), sample["cpu"], f"{place}: {record['ev_name']}: {own}"))
    if len(kept) > KEPT:
        show_first()


def show_first():
    """Prints the oldest line, unless it is its vCPU's last one again: now and then perf records an event twice."""
    _, _, cpu, line = heapq.heappop(kept)
    if line != last.get(cpu):
        print(line)
    last[cpu] = line


def trace_end():
    while kept:
        show_first()
