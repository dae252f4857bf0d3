"""Every method of the bundle, once: what makes it, how it is drawn, what it knows.

A new method is its file, a line here, its test and its paragraph in docs/methods.md. A method from elsewhere needs no
file of the bundle: an overlay names it, as ``"inferers#ours": {"_target_": "my.Inferer", "_mode_": "callable"}``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.inferers.implicit.grid import GridInferer
from bundle.inferers.implicit.inferer import ImplicitInferer
from bundle.inferers.implicit.millimetre import MillimetreSirenInferer
from bundle.inferers.implicit.mixed import MixedImplicitInferer
from bundle.inferers.implicit.siren_prior import PriorSirenInferer
from bundle.inferers.interpolation.flow import FlowInferer
from bundle.inferers.interpolation.gate import GateInferer
from bundle.inferers.interpolation.kriging import KrigingInferer
from bundle.inferers.interpolation.splines import CubicInferer, LinearInferer, NearestInferer, PchipInferer
from bundle.inferers.learned.prior import PriorInferer, TrainedLimits
from bundle.inferers.learned.sample import SampleInferer
from bundle.inferers.masks.distance import MorphologicalInferer, SignedDistanceInferer
from bundle.inferers.masks.guided import GuidedDistanceInferer
from bundle.inferers.masks.sphere import SphereDistanceInferer
from bundle.inferers.names import chosen_names
from bundle.networks import fourier_mlp, instant_ngp

WEIGHTS = Path(__file__).parents[2] / "models" / "model.pt"
MethodFactory = Callable[[], SliceInferer]


@dataclass(frozen=True)
class Look:
    """How figures draw a method: a colour, and for print in grey a line style and a marker of matplotlib's."""

    color: str
    linestyle: str | tuple
    marker: str


@dataclass(frozen=True)
class Method:
    """One way of filling the gap.

    Attributes:
        name: what a user calls it.
        make: its class; what it gives, a mask or an image, is its ``kind``.
        look: how figures draw it.
        label: what figures and tables call it; "": its name, with spaces.
        defaults: arguments where they are not the class's own defaults.
        limits: of what its network was trained on.
        needs: arguments that are other methods, each named as the method.
        sees_patients: whether it learned from other patients.
        on_request: whether it runs only where it is named.
        seconds: of a nodule, about, on one core; by it the longest work is begun first.
    """

    name: str
    make: type[SliceInferer]
    look: Look
    label: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: TrainedLimits | None = None
    needs: tuple[str, ...] = ()
    sees_patients: bool = False
    on_request: bool = False
    seconds: float = 0.05


_DOTS, _DASHES, _MIXED = (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1, 1, 1))
_LEARNED: dict[str, Any] = {"sees_patients": True}
# at the rates of their papers, without the warm-up, restarts, clipping and jitter that are the SIREN's
_FIT = FitOptions(epochs=50, learning_rate=1e-2, warmup=0, t_0=50, clip_norm=0.0, jitter=0.0, precision="fp32")

# Okabe and Ito's colours, then others that the colour-blind tell apart from them; only methods on request share one
METHODS = {
    method.name: method
    for method in (
        Method("nearest", NearestInferer, Look("#56B4E9", _DOTS, "v")),
        Method("linear", LinearInferer, Look("#0072B2", "--", "s")),
        Method("cubic", CubicInferer, Look("#E69F00", "-.", "^")),
        Method("pchip", PchipInferer, Look("#009E73", _DASHES, "P"), "PCHIP"),
        Method("flow", FlowInferer, Look("#CC79A7", _MIXED, "<")),
        Method("kriging", KrigingInferer, Look("#8778FF", _MIXED, ">")),
        Method("gate", GateInferer, Look("#87C378", _MIXED, "h")),
        Method("morphological", MorphologicalInferer, Look("#C3A5A5", (0, (6, 2)), "X")),
        Method("signed_distance", SignedDistanceInferer, Look("#2D3C2D", (0, (2, 1)), "*")),
        Method("sphere_distance", SphereDistanceInferer, Look("#784B78", _MIXED, "p")),
        Method("guided_distance", GuidedDistanceInferer, Look("#697878", _MIXED, "d")),
        Method("siren", ImplicitInferer, Look("#D55E00", "-", "o"), "SIREN", seconds=200.0),
        Method("siren_mm", MillimetreSirenInferer, Look("#870F00", _MIXED, "8"), "SIREN mm", seconds=1.5),
        Method("grid_mm", GridInferer, Look("#4B005A", (0, (4, 2, 1, 2)), "X"), "grid mm", seconds=2.0),
        Method("implicit_mm", MixedImplicitInferer, Look("#965A3C", (0, (4, 2, 1, 2)), "D"), "implicit mm",
               needs=("siren_mm", "grid_mm"), seconds=3.5),
        Method("hash_grid", ImplicitInferer, Look("#555555", (0, (4, 2, 1, 2)), "^"), "hash grid",
               defaults={"network": instant_ngp, "options": _FIT}, on_request=True, seconds=10.0),
        Method("fourier", ImplicitInferer, Look("#D55E00", (0, (4, 2, 1, 2)), "v"), "Fourier features",
               defaults={"network": fourier_mlp, "options": replace(_FIT, learning_rate=1e-3)}, on_request=True,
               seconds=30.0),
        Method("prior", PriorInferer, Look("#555555", _MIXED, "H"), defaults={"weights": WEIGHTS},
               limits=TrainedLimits(gaps_mm=(1.0, 8.0), pixels_mm=(0.5, 1.0), thickness_mm=(0.0, 8.0)),
               seconds=0.2, **_LEARNED),
        Method("siren_prior", PriorSirenInferer, Look("#0000C3", (0, (8, 2)), "p"), "SIREN prior", needs=("prior",),
               seconds=1.7, **_LEARNED),
        Method("prior_sample", SampleInferer, Look("#56B4E9", (0, (8, 2)), "1"), "prior: one sample of many",
               needs=("prior",), on_request=True, seconds=0.3, **_LEARNED),
    )
}  # fmt: skip


def method_factories(device: str | None = None, **given: Any) -> dict[str, MethodFactory]:
    """What makes each method, by name, with options.

    Args:
        device: where methods that fit or apply a network do so; None: each as it likes.
        given: by name of a method: a dictionary of arguments for its class; or, to add a method or to replace one, an
            inferer or what makes it.

    Returns:
        by name, in the order of the tables, methods that were added last.

    Raises:
        InputError: options for an unknown method, or that a method does not take.

    Example:
        >>> made = method_factories(siren_mm={"ensemble": {"epochs": 2}}, ours=LinearInferer("extrapolate"))
        >>> made["siren_mm"]().options.epochs, list(made)[-1], made["ours"]().beyond
        (2, 'ours', 'extrapolate')
    """
    factories: dict[str, MethodFactory] = {}
    for name, method in METHODS.items():
        options = given.get(name, {})
        known = isinstance(options, Mapping)
        factories[name] = _factory(method, options, device, factories) if known else _made(name, options)
    for name, added in given.items():
        if isinstance(added, Mapping):
            chosen_names([name], list(METHODS), "inferers")
        elif name not in METHODS:
            factories[name] = _made(name, added)
    return factories


def default_methods(known: Iterable[str]) -> list[str]:
    """Of some methods those that run where none is named: all but those of the bundle that wait to be asked for.

    Example:
        >>> default_methods(["cubic", "ours"])
        ['cubic', 'ours']
    """
    return [name for name in known if name not in METHODS or not METHODS[name].on_request]


def names_of(kind: Literal["image", "mask"], sees_patients: bool | None = None) -> list[str]:
    """Names of the bundle's methods of a kind.

    Args:
        kind: what they give.
        sees_patients: whether they learned from other patients; None: either.

    Example:
        >>> names_of("image", sees_patients=True)
        ['prior', 'siren_prior', 'prior_sample']
    """
    return [
        name
        for name, method in METHODS.items()
        if method.make.kind == kind and sees_patients in (None, method.sees_patients)
    ]


def label(name: str) -> str:
    """A method's name as figures and tables print it.

    Example:
        >>> label("pchip"), label("ours_too")
        ('PCHIP', 'ours too')
    """
    known = METHODS.get(name)
    return known.label if known and known.label else name.replace("_", " ")


def seconds(name: str) -> float:
    """About how long a method takes on a nodule on one core; a second, of one that is not the bundle's.

    Example:
        >>> seconds("siren") > seconds("linear"), seconds("ours")
        (True, 1.0)
    """
    return METHODS[name].seconds if name in METHODS else 1.0


def _factory(
    method: Method, options: Mapping[str, Any], device: str | None, others: Mapping[str, MethodFactory]
) -> MethodFactory:
    takes = inspect.signature(method.make).parameters
    unknown = [option for option in options if option not in takes]
    if unknown:
        raise InputError(f"method {method.name} takes no {unknown[0]}: give {', '.join(takes)}")
    arguments = {**method.defaults, **{name: others[name] for name in method.needs}}
    arguments |= {name: _changed(arguments.get(name, takes[name].default), value) for name, value in options.items()}
    if method.limits:
        arguments.setdefault("limits", method.limits)
    if "device" in takes:
        arguments.setdefault("device", device)
    return partial(method.make, **arguments)


def _changed(default: Any, value: Any) -> Any:
    """A dictionary of options as the default's, changed so far; anything else as it is."""
    if not (isinstance(value, Mapping) and is_dataclass(default)):
        return value
    known = [one.name for one in fields(default)]
    unknown = [name for name in value if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]} is no option of a fit: give {', '.join(known)}")
    return replace(default, **value)  # type: ignore[type-var]


def _made(name: str, added: Any) -> MethodFactory:
    if not callable(added):
        raise InputError(f"method {name} is {added!r}, expected the _target_ of an inferer, or options in a dictionary")
    return (lambda: added) if isinstance(added, SliceInferer) else added
