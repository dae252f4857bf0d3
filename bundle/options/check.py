"""The check of a config's options inside MONAI's parser, before anything of the config is made.

A config names the check once (``"checked": "$check_options()"``); ``initialize`` runs it first, and what the config
makes asks for it by ``_requires_``, so that it also runs where a program reads the config without ``initialize``.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from bundle.errors import InputError, exit_on_mistake, nearest
from bundle.options.command import is_monai_bundle, stray_words, typed_options
from bundle.options.kinds import Kind, is_nothing
from bundle.options.table import OPTIONS

# entries that MONAI and its tracking read by name
READ_BY_MONAI = {"imports", "bundle_root", "initialize", "run", "finalize"}
TRACKING = ("tracking_uri", "experiment_name", "run_name")
READ_BY_MONAI |= {*TRACKING, "save_execute_config", "is_not_rank0"}
# parts that an app reads by name, or that an overlay may leave without a reader
PARTS = {"network", "prior_network", "fit", "inferers", "displayable_configs", "pre_transforms", "post_transforms"}
# what `python -m monai.bundle run` takes for itself
_RUN = {"run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"}
_RUN |= {"workflow_name", "workflow_type", "properties_path"}


def check_options() -> dict[str, Any]:
    """Check the options of the config that is being read, and put the values that were meant in their places.

    Under ``python -m monai.bundle`` a user's mistake, here or later in the run, ends the program with one sentence and
    exit status 1; in any other program it is raised.

    Returns:
        every option of the config with its value, and where ``--tracking`` leads to.

    Raises:
        InputError: an option that nothing reads, or a value that is not of its kind.
    """
    parsers = _parsers_at_work()
    parser, typed = parsers[0], typed_options() if len(set(map(id, parsers))) == 1 else {}
    if not is_monai_bundle():
        return _settle(parser, typed)
    parser.get_parsed_content = partial(_ended_well, parser, parser.get_parsed_content)  # type: ignore[method-assign]
    return _ended_well(parser, _settle, parser, typed)


def check_base(overlay: str, base: str = "study.json", part: str = "study") -> None:
    """Refuse an overlay, a config that changes another one, where it was given alone or with a wrong one.

    It asks in its ``initialize``: first, where that takes the place of the base's, which MONAI does without a warning.

    Args:
        overlay: file name of the overlay.
        base: of the config that it changes, or of one of several.
        part: an entry that all of these have.

    Raises:
        InputError: says how both are given; under ``python -m monai.bundle`` it ends the program.
    """

    def check() -> None:
        if part not in parser:
            raise InputError(
                f"configs/{overlay} changes configs/{base} or one like it, and none was given before it: give both, as "
                f"in --config_file \"['configs/{base}','configs/{overlay}']\""
            )

    parser = _parsers_at_work()[0]
    exit_on_mistake(check) if is_monai_bundle() else check()


def config_content() -> dict[str, Any]:
    """The config that is being read, its options settled: what another process makes the same parts of."""
    parser = _parsers_at_work()[0]
    known = parser.ref_resolver.resolved_content
    return {**parser.get(), **{name: known[name] for name in OPTIONS if name in parser and name in known}}


def _ended_well(parser: ConfigParser, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """End the program with one sentence where the user made a mistake, and leave nothing of it."""
    try:
        return exit_on_mistake(call, *args, **kwargs)
    except SystemExit as end:
        if isinstance(end.code, str):
            _take_back(parser)
        raise
    except Exception as fault:
        nested = [name for name in typed_options() if re.search("#|::", name)]
        if not nested or "Failed to instantiate component" not in str(fault):
            raise
        _take_back(parser)
        told = InputError(f"--{', --'.join(nested)} can't be used so: {fault.__cause__ or fault}")
        raise SystemExit(f"error: {told}") from None


def _take_back(parser: ConfigParser) -> None:
    """Delete the config that MONAI wrote for ``--tracking`` before anything was checked, and a folder that it made."""
    name = re.search(r"config_\d{8}_\d{6}\.json", str(parser.get("save_execute_config", "")))
    with contextlib.suppress(Exception):
        known = parser.ref_resolver.resolved_content
        folder = Path(str(known.get("output_dir") or parser.ref_resolver.get_resolved_content("output_dir")))
        if name:
            (folder / name.group()).unlink()
            folder.rmdir()  # fails where there is more in it


def _parsers_at_work() -> list[ConfigParser]:
    """The parsers that are evaluating this, innermost first: MONAI hands an expression no way to its own."""
    found, frame = [], sys._getframe()
    while frame is not None:
        if isinstance(parser := frame.f_locals.get("self"), ConfigParser):
            found.append(parser)
        frame = frame.f_back  # type: ignore[assignment]
    if not found:
        raise RuntimeError("check_options() is for a MONAI config, where it stands as an expression")
    return found


def check_names(config: Mapping[str, Any], typed: Iterable[str] = ()) -> None:
    """Refuse a top-level entry that nothing reads: a mistyped option, or one of another config.

    An overlay may add entries of its own, as long as something in the config refers to them; and parts for a program
    that asks for them by name, unless the name is nearly that of another part.

    Args:
        config: content of a config.
        typed: names of the options on the command line.

    Raises:
        InputError: names the entry, and the nearest that there is.

    Example:
        >>> config = {"limit": None, "sigma": 2, "source": {"n": "@limit", "s": "@sigma"}, "run": ["$@source"]}
        >>> check_names(config)
        >>> check_names({**config, "limt": 3})
        Traceback (most recent call last):
        ...
        bundle.errors.InputError: --limt is no option here, nothing in the config reads it: did you mean 'limit'?
    """
    read = _names_read(config)
    asked = {re.split("#|::", name)[0].lstrip("+") for name in typed if name not in _RUN}
    added = {name for name in config if not name.startswith("_")} - OPTIONS.keys() - PARTS
    for name in sorted((asked | added) - read):
        near = nearest(name, read)
        if name not in asked and isinstance(config[name], dict | list) and not nearest(name, read, 0.8):
            continue  # a part for a program that asks for it by name
        hint = f"did you mean {near!r}?" if near else "docs/options.md lists the options"
        raise InputError(f"--{name} is no option here, nothing in the config reads it: {hint}")


def _names_read(config: Mapping[str, Any]) -> set[str]:
    """The entries that are read by what the config runs, directly or by way of others."""
    read: set[str] = set()
    waiting = [name for name, value in config.items() if name in READ_BY_MONAI or is_run(value)]
    while waiting:
        name = waiting.pop()
        if name in config and name not in read:
            read.add(name)
            waiting += re.findall(r"@(\w+)", str(config[name]))
    return read | READ_BY_MONAI


def is_run(value: Any) -> bool:
    """Whether an entry is a list of steps to run, or of imports.

    Example:
        >>> is_run(["$@study.run()"]), is_run([3, 5, 8])
        (True, False)
    """
    return isinstance(value, list) and all(isinstance(step, str) and step.startswith(("$", "@")) for step in value)


def _reads(kind: Kind, value: Any) -> bool:
    """Whether MONAI's reading of a path is no text, but what the kind takes all the same: a list of positions."""
    if isinstance(value, str):
        return False
    try:
        kind.read(value)
    except (TypeError, ValueError):
        return False
    return True


def _settle(parser: ConfigParser, typed: Mapping[str, str]) -> dict[str, Any]:
    config: Mapping[str, Any] = parser.get()
    check_names(config, typed)
    for word in stray_words() if typed else ():
        if word not in config:  # MONAI takes one for what to run
            raise InputError(f"{word!r} belongs to no option: put a value that has spaces in it in quotes")
    resolved = parser.ref_resolver.resolved_content
    names = [name for name in OPTIONS if name in config]
    # expressions and references last: they look at the values of the others
    for name in sorted(names, key=lambda name: str(config[name]).startswith(("$", "@"))):
        resolved.pop(name, None)
        resolved[name] = OPTIONS[name].kind.value(name, _meant(parser, name, typed))
    root = str(resolved.get("bundle_root", "."))
    if "bundle_root" in config and not (Path(root) / "configs" / "metadata.json").is_file():
        raise InputError(
            f"--bundle_root is {root!r}, where there is no configs/metadata.json: give the command "
            "in the bundle's folder, or name that folder by --bundle_root"
        )
    tracking = {name: parser.ref_resolver.get_resolved_content(name) for name in TRACKING if name in config}
    return {name: resolved[name] for name in names} | tracking


def _meant(parser: ConfigParser, name: str, typed: Mapping[str, str]) -> Any:
    """An option's value before its kind is asked: text as it was typed, references and expressions resolved."""
    value, kind, text = parser[name], OPTIONS[name].kind, typed.get(name)
    if text is not None and is_nothing(text):
        return None  # MONAI leaves it out, and so takes the default
    # "" is the name of the whole config, which a lone @ does not mean
    refers = text is not None and len(text) > 1 and text[0] == "@" and text[1:] in parser
    if text is not None and kind.is_path and not text.startswith("$") and not refers:
        quoted = text[:1] == text[-1:] and text[:1] in ("'", '"') and value == text[1:-1]
        return value if quoted or _reads(kind, value) else text
    if kind.is_path and isinstance(value, str) and "::" in value and not value.startswith(("$", "@")):
        raise InputError(
            f"--{name} is {value!r}: MONAI turns '#' in a config into '::'; name a path without them, or give it on "
            "the command line"
        )
    try:
        return parser.ref_resolver.get_resolved_content(name)
    except Exception as fault:
        cause = fault.__cause__ or fault
        raise InputError(
            f"--{name} is {value!r}, which MONAI takes for an expression or a reference, and can't make out "
            f"({' '.join(str(cause).split())})"
        ) from None
