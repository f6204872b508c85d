"""What `accelerate launch` starts in the tests: the command line, for each line of arguments."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from processes import stall_at_first_checkpoint

from safeft.cli import main


def run(commands: Path) -> None:
    """All commands of the file, in this process; the first that fails ends it."""
    for arguments in json.loads(commands.read_text()):
        try:
            main(arguments)
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    if "stall" in sys.argv[2:]:
        stall_at_first_checkpoint()
    run(Path(sys.argv[1]))
