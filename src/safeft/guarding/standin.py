"""An object that stands in front of a model: all of the model but what would get past the guard."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar


class StandIn:
    """Passes on every attribute that it does not have itself, and whatever is set.

    Methods that return the model itself, such as `model.to(device)`, return this: the guard is not
    lost on the way. `past` are the names of what would generate without being read.
    """

    past: ClassVar[tuple[str, ...]] = ()
    guarded: ClassVar[str] = "generate"

    def __init__(self, inner: Any, **own: Any) -> None:
        """`own` are this object's attributes; all others are the model's."""
        for name, value in {"_inner": inner, **own}.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """The model's attribute of that name."""
        if name.startswith("_") and "_inner" not in self.__dict__:  # a copy in the making
            raise AttributeError(name)
        if name in self.past:
            raise AttributeError(f"{name} would get past the guard; use {self.guarded}")
        found = getattr(self._inner, name)
        return self._method(found) if getattr(found, "__self__", None) is self._inner else found

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets the model's attribute."""
        setattr(self._inner, name, value)

    def __repr__(self) -> str:
        """The model's own, and that it is guarded."""
        return f"guarded {self._inner!r}"

    def _method(self, found: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(found)
        def method(*given: Any, **options: Any) -> Any:
            result = found(*given, **options)
            return self if result is self._inner else result

        return method


def called(function: Callable[..., Any], given: Any, options: Any) -> dict[str, Any]:
    """The arguments of a call by their names; those that `function` takes as keywords among them.

    Raises TypeError as the call would.
    """
    signature = inspect.signature(function)
    named = dict(signature.bind(*given, **options).arguments)
    for one in signature.parameters.values():
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(one.name, {})
    return named
