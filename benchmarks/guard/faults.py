"""Thousands of requests through the proxy, each with a fault of its own, under `on_error: closed`.

    PYTHONPATH=src:tests python benchmarks/guard/faults.py --requests 5000

Upstreams that are killed, hang or talk nonsense; judges that crash, are slow or talk nonsense;
clients that leave. Prints how they ended, what the metrics counted and the memory along the way;
the exit code is 1 when a law does not hold (they are in tests/serve/faults.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path

from serve import faults


def main() -> int:
    """Runs them and prints the report as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=5000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--together", type=int, default=16)
    options.add_argument("--output", type=Path, help="also write the report there")
    given = options.parse_args()
    logging.disable(logging.CRITICAL)
    start = time.perf_counter()
    report = faults.run(given.requests, given.seed, given.together)
    broken = faults.broken(report)
    found = {
        "requests": given.requests,
        "seconds": round(time.perf_counter() - start, 1),
        "broken": broken,
        "ends": dict(Counter(one.end for one in report.outcomes)),
        "statuses": dict(Counter(status for _, status in report.observer.requests)),
        "decisions": dict(report.observer.outcomes),
        "errors": {error: count for error, count in report.observer.errors.items() if error},
        "resident_mebibytes": [size >> 20 for size in report.resident],
        "by_fault": report.ends(),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if given.output:
        given.output.write_text(f"{text}\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
