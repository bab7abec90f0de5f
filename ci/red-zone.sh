#!/usr/bin/env bash
# `red-zone.sh IMAGE`: prints the instructions of a kernel's image that touch memory below rsp, where Xen pushes the frame of
# an upcall.
set -euo pipefail

# It is one that has an address below rsp, or below rbp by more than
# what has been pushed and subtracted since rbp was set. With an index register, which may begin anywhere,
# it counts where it is more than an element (16 bytes) larger than the room the function has made.
# Adjusting rsp itself and no-ops touch nothing.
objdump -d -C -M intel --no-show-raw-insn "$1" | awk '
    function number(hex,    value, at) {
        for (at = 3; at <= length(hex); at++) value = 16 * value + index("0123456789abcdef", substr(hex, at, 1)) - 1
        return value
    }
    # How far below `base` the operand reaches; 0 where it does not.
    function below(base,    operand) {
        if (!match(text, "\\[" base "[^]]*-0x[0-9a-f]+\\]")) return 0
        operand = substr(text, RSTART, RLENGTH - 1)
        indexed = operand ~ /\*/
        return number(substr(operand, index(operand, "-0x") + 1))
    }
    /^[0-9a-f]+ <.*>:$/ { name = $2; frame = 0; room = 0; functions++; next }
    !/^ *[0-9a-f]+:\t/ { next }
    { split($0, part, "\t"); text = part[2] }
    text ~ /^nop/ || text ~ /^lea +rsp,/ { next }
    text ~ /^mov +rbp,rsp$/ { frame = 1; outside = room; next }
    text ~ /^push/ { room += 8 }
    match(text, /^sub +rsp,0x[0-9a-f]+$/) { room += number(substr(text, index(text, "0x"))); next }
    {
        deep = below("rsp")
        if (deep > (indexed ? room + 16 : 0)) print name " " $0
        deep = below("rbp")
        if (frame && deep > room - outside + (indexed ? 16 : 0)) print name " " $0
    }
    END { if (functions < 50) print "only " functions + 0 " functions: this is no kernel" }
'
