"""Takes the files out of what a console showed: lines of base64 between `@@FILE name` and `@@END`, packed by gzip."""

import base64
import gzip
import pathlib
import sys

name, lines = None, []
found = 0
for line in pathlib.Path(sys.argv[1]).read_text(errors="replace").splitlines():
    line = line.strip()
    if "@@FILE " in line:
        name, lines = line.split("@@FILE ", 1)[1], []
    elif line == "@@END" and name:
        pathlib.Path(name).write_bytes(gzip.decompress(base64.b64decode("".join(lines))))
        found, name = found + 1, None
    elif name:
        lines.append(line)
sys.exit(0 if found == 3 else f"{found} of 3 files came out of the console")
