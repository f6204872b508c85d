"""Seconds and peak memory of a command with all of its processes, such as `make demo`.

    python benchmarks/speed/demo.py make demo          in a clone whose environment is installed

Memory is the sum of the proportional set sizes, so that what processes share counts once, read
twice a second. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import psutil


def held(pid: int) -> int:
    """Bytes of the process and everything that it started."""
    total = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in family:
        try:
            total += one.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main() -> None:
    """Run it, watch it, and say what it took."""
    start, peak, readings = time.monotonic(), 0, 0
    running = subprocess.Popen(sys.argv[1:])
    while running.poll() is None:
        now = held(running.pid)
        peak, readings = max(peak, now), readings + 1
        time.sleep(0.5)  # between two readings: each walks all pages of some gigabytes
    row = {
        "command": sys.argv[1:],
        "exit_code": running.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "peak_bytes": peak,
        "readings": readings,
        "cores": len(os.sched_getaffinity(0)),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
