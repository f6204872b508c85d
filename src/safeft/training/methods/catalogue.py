"""Methods by name: the shipped classes, then entry points of the group `safeft.methods`.

An entry point is a class derived from one of the slots' classes in `safeft.training.methods`. One
that cannot be loaded is an error only for the recipe that names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import reduce
from importlib.metadata import EntryPoint, entry_points
from operator import or_
from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import Field

from safeft.errors import first_line
from safeft.training.methods.asft_subspace import AsftSubspace
from safeft.training.methods.constrained import Constrained
from safeft.training.methods.ema import Ema
from safeft.training.methods.freeze_layers import FreezeLayers
from safeft.training.methods.kl_anchor import KLAnchor
from safeft.training.methods.lisa import Lisa
from safeft.training.methods.lookahead import Lookahead
from safeft.training.methods.method import Method
from safeft.training.methods.ptst import Ptst
from safeft.training.methods.realign import Realign
from safeft.training.methods.replay import Replay
from safeft.training.methods.resta import Resta
from safeft.training.methods.safe_lora import SafeLora
from safeft.training.methods.safe_merge import SafeMerge
from safeft.training.methods.safegrad import SafeGrad
from safeft.training.methods.safety_mix import SafetyMix
from safeft.training.methods.scale import Scale
from safeft.training.methods.self_generated import SelfGenerated
from safeft.training.methods.self_replay import SelfReplay
from safeft.training.methods.star_dss import StarDss

GROUP = "safeft.methods"
SHIPPED: tuple[type[Method], ...] = (
    SelfGenerated,
    SafetyMix,
    SelfReplay,
    Lookahead,
    FreezeLayers,
    Constrained,
    StarDss,
    KLAnchor,
    Replay,
    Lisa,
    AsftSubspace,
    SafeGrad,
    Ema,
    Scale,
    SafeLora,
    SafeMerge,
    Resta,
    Realign,
    Ptst,
)


def name_of(method: type[Method]) -> str:
    """The name by which a YAML chooses a method's class, or nothing when it has none."""
    names = get_args(method.model_fields["name"].annotation)
    return str(names[0]) if len(names) == 1 else ""


def installed(points: Iterable[EntryPoint]) -> tuple[dict[str, type[Method]], dict[str, str]]:
    """The classes behind entry points by name, and why the others cannot be loaded.

    Shipped names win: installing a package must not change what `safety_mix` means.
    """
    found: dict[str, type[Method]] = {}
    broken: dict[str, str] = {}
    shipped = {name_of(method) for method in SHIPPED}
    for point in points:
        if point.name in shipped:
            continue
        try:
            found[point.name] = _loaded(point)
        except Exception as error:  # whatever the package's author wrote
            broken[point.name] = f"{point.value}: {first_line(error)}"
    return found, broken


def _loaded(point: EntryPoint) -> type[Method]:
    method = point.load()
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise TypeError("is no class derived from safeft.training.methods.Method")
    if inspect.isabstract(method):
        raise TypeError("fills no slot: derive it from DataMethod, LossMethod or another slot's")
    if name_of(method) != point.name:
        raise TypeError(
            f"must declare `name: Literal[{point.name!r}]`, as its entry point is called"
        )
    return method


_INSTALLED, BROKEN = installed(entry_points(group=GROUP))
METHODS: dict[str, type[Method]] = {name_of(one): one for one in SHIPPED} | _INSTALLED

if TYPE_CHECKING:
    AnyMethod = Method
else:
    AnyMethod = Annotated[reduce(or_, METHODS.values()), Field(discriminator="name")]
