"""The command line: one file per verb, arguments only. Verbs load when they are called."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import logging
import sys
from typing import Any

import click

from safeft.errors import SafeftError, did_you_mean

VERBS = {
    "recommend": "which two recipes to try first, and why",
    "audit": "which training rows would erode refusals, leak or repeat",
    "train": "fine-tune a model with a recipe",
    "eval": "ask a model the suite and judge its answers",
    "compare": "recipes × seeds: train, evaluate, report",
    "attack": "search for requests that get through (TAP)",
    "repair": "make a trained adapter safer, and pick what keeps its utility",
    "export": "merge or copy an adapter for serving",
    "serve": "put a guardrail in front of a model server",
    "guard": "check, calibrate and explain guardrail policies",
    "judge": "judge stored answers again, measure judges against people",
    "runs": "export a finished run, or delete the texts in it",
    "plan": "how many seeds, prompts and decodings a comparison needs",
    "data": "look at training data as the model sees it, build a recipe's rows",
    "ls": "list recipes, policies, suites, judges and testbed models",
    "schema": "print the JSON schema of a YAML, for editors",
}
_RESUME = ("audit", "train", "eval", "compare", "attack", "repair", "judge")


class Verbs(click.Group):
    """Loads a verb's module on demand, so that `--help` imports nothing heavy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of use."""
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb and its arguments; an unknown one is refused with the nearest."""
        if args[0] not in VERBS:
            ctx.fail(f"no verb {args[0]!r}{did_you_mean(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"safeft.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Verbs with their one line, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="safeft")
@click.option("--verbose", is_flag=True, help="Log what is done.")
def cli(verbose: bool) -> None:
    """Fine-tune without forgetting how to refuse; measure it; guard what is served."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    # Its import complains of optional kernels, in the middle of what a user reads.
    logging.getLogger("bitsandbytes").setLevel(logging.INFO if verbose else logging.ERROR)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 done, 2 the user can fix it, 1 the work failed."""
    # The collector would visit all that torch has made once more: a third of a second.
    atexit.register(gc.freeze)
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        _refuse_unreadable(arguments)
        result: Any = cli.main(arguments, prog_name="safeft", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except SafeftError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"interrupted; {_again(arguments)}", err=True)
        return 2
    except OSError as error:
        return _system(error, arguments)


def _refuse_unreadable(arguments: list[str]) -> None:
    """No file is called so, and no manifest could write it down."""
    for word in arguments:
        if "\0" in word or word.encode(errors="replace").decode() != word:
            raise click.UsageError(f"{word!a} holds a zero byte, or is not UTF-8")


def _again(arguments: list[str]) -> str:
    """How to go on; only some verbs keep what was done so far."""
    verb = next((word for word in arguments if word in VERBS), "")
    return "run the same command again" + " to resume" * (verb in _RESUME)


def _system(error: OSError, arguments: list[str]) -> int:
    """Disk full, no permission and the like: one message. Anything else is a bug and shows."""
    fixable = {
        errno.ENOSPC: f"the disk is full; free some space, then {_again(arguments)}",
        errno.EDQUOT: f"the disk quota is used up; free some space, then {_again(arguments)}",
        errno.EACCES: "permission denied; choose another folder",
        errno.EPERM: "not permitted; choose another folder",
        errno.EEXIST: "a file or a broken link is in the way; choose another folder",
        errno.ENOTDIR: "a part of the path is a file; choose another folder",
        errno.EROFS: "the file system is read-only; choose another folder",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.ELOOP: "the path is a link that leads back to itself; choose another",
    }
    if error.errno not in fixable:
        raise error
    where = f"{error.filename}: " if error.filename else ""
    click.echo(f"error: {where}{fixable[error.errno]}", err=True)
    return 2
