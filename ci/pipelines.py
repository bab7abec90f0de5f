#!/usr/bin/env python3
"""Runs every command of an example pipeline, job by job, in a folder that stands for the repository's checkout and its artifacts.

    pipelines.py github|gitlab FILE FOLDER

What the engine would set is set: the matrix of a job, or its number among parallel ones. Ends with 1 at the first command that
ends with anything but 0, or if the file has a command that was not run.
"""
import os
import pathlib
import re
import subprocess
import sys

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*matrix\.(\w+)\s*\}\}")


def github(pipeline):
    """Environment and command of each step: once for each value of the job's matrix."""
    for name, job in pipeline["jobs"].items():
        matrix = job.get("strategy", {}).get("matrix", {})
        assert len(matrix) < 2, f"{name}: a matrix of several dimensions is not run here"
        for values in [{key: value} for key in matrix for value in matrix[key]] or [{}]:
            for step in filter(lambda step: "run" in step, job["steps"]):
                command = EXPRESSION.sub(lambda found: str(values[found[1]]), step["run"])
                assert "${{" not in command, f"{name}: an expression that is not known here: {command}"
                yield name, step["run"], dict(pipeline.get("env", {})), command


def gitlab(pipeline):
    """The same: once for each of a job's parallel runs, stage by stage."""
    stages = pipeline["stages"]
    jobs = [(name, job) for name, job in pipeline.items() if isinstance(job, dict) and "script" in job]
    for name, job in sorted(jobs, key=lambda job: stages.index(job[1]["stage"])):
        total = job.get("parallel", 1)
        for index in range(1, total + 1):
            numbers = {"CI_NODE_INDEX": str(index), "CI_NODE_TOTAL": str(total)}
            for command in job["script"]:
                yield name, command, dict(pipeline.get("variables", {})) | numbers, command


def main(engine, file, folder):
    text = pathlib.Path(file).read_text()
    ran = set()
    for name, written, variables, command in {"github": github, "gitlab": gitlab}[engine](yaml.safe_load(text)):
        # Where pv-mmu is had from is decided by whoever calls this.
        environment = os.environ | {key: value for key, value in variables.items() if key not in os.environ}
        print(f"pipelines: {engine}: {name}: {command}", flush=True)
        ended = subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=folder, env=environment | {"CI": "true"})
        if ended.returncode:
            sys.exit(f"pipelines: {file}: {name}: `{command}` ends with {ended.returncode}")
        ran.add(written)
    commands = re.findall(r"^\s*(?:- )?run: (.*)$" if engine == "github" else r"^    - (.*)$", text, re.MULTILINE)
    left = [command for command in commands if command not in ran]
    if left or not commands:
        sys.exit(f"pipelines: {file}: {left or 'no command'} was not run")


if __name__ == "__main__":
    main(*sys.argv[1:])
