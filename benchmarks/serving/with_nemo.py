"""NeMo Guardrails' own server with one configuration; it runs in the peers' environment.

    python with_nemo.py FOLDER PORT

Its command line listens on every address of the machine, and prints each event of each request;
here it listens on the loopback alone and prints warnings alone, which makes it faster.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import uvicorn
from nemoguardrails.server import api


def main() -> None:
    """Serve the only configuration in the folder, `only`."""
    folder, port = sys.argv[1:]
    logging.getLogger().setLevel(logging.WARNING)
    made = api.LLMRails

    def quiet(config: Any, **_: Any) -> Any:
        return made(config=config)  # the server asks for verbose=True

    api.LLMRails = quiet
    api.app.rails_config_path = folder
    api.app.disable_chat_ui = True
    api.set_default_config_id("only")
    uvicorn.run(api.app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
