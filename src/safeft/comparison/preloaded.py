"""What every worker needs, imported by the one process from which they fork.

It begins no accelerator, which forked processes could not use. peft would: bitsandbytes asks for
one while it is imported.
"""

from __future__ import annotations

import gc

import transformers.modeling_utils
import transformers.models.auto.modeling_auto  # noqa: F401

import safeft.comparison  # noqa: F401

# The collector would write to every object, and so give each worker a copy of its own.
gc.freeze()
