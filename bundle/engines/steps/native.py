"""Compile ``pointwise.c`` with the machine's own C compiler, once, and keep the library in the user's cache.

Nothing is compiled at installation: the first fit on a CPU does it (about two seconds), later ones and other
processes load the result (:mod:`bundle.engines.steps.cache`). Where that can't be done, :func:`pointwise_library`
gives None and the reason.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bundle.engines.steps.cache import digest, processor, whole_files

SOURCE = Path(__file__).with_name("pointwise.c")
_COMMON = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
# the first set that the compiler takes is used; the last one is understood everywhere
_TUNING: tuple[tuple[str, ...], ...] = (
    ("-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)


@dataclass(frozen=True)
class Library:
    """The compiled functions of one storage type.

    Attributes:
        dtype: of activations and their gradients, float32 or bfloat16.
        main: library with ``adam`` and ``splitmix``.
        typed: library with the functions of the type.
    """

    dtype: torch.dtype
    main: ctypes.CDLL
    typed: ctypes.CDLL

    def function(self, name: str) -> Any:
        """A function of ``pointwise.c`` by the name it has there."""
        if name in ("adam", "splitmix"):
            found = getattr(self.main, name)
        else:
            found = getattr(self.typed, f"{name}_{'bf16' if self.dtype == torch.bfloat16 else 'fp32'}")
        found.restype = ctypes.c_float if name == "head" else None
        return found


@cache
def pointwise_library(dtype: torch.dtype) -> tuple[Library | None, str]:
    """The compiled library, or None and why there is none; asked once per process and type.

    ``LUNG_NODULE_NATIVE=0`` in the environment switches it off.
    """
    if os.environ.get("LUNG_NODULE_NATIVE", "1") == "0":
        return None, "switched off by LUNG_NODULE_NATIVE=0"
    try:
        compiler = find_compiler()
        if compiler is None:
            return None, "no C compiler found (install gcc or clang, or set CC)"
        main = _load(compiler, ())
        typed = _load(compiler, ("-DBFLOAT16",)) if dtype == torch.bfloat16 else main
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return None, _reason(error)
    library = Library(dtype, main, typed)
    if not _sane(library):
        return None, "the compiled functions give wrong sines on this machine"
    return library, ""


def find_compiler() -> list[str] | None:
    """Command of a C compiler: CC if set, else the first of cc, gcc, clang; None if there is none.

    Raises:
        ValueError: CC can't be read as a command, such as an unclosed quote.
    """
    wanted = os.environ.get("CC")
    try:
        candidates = [shlex.split(wanted)] if wanted else [["cc"], ["gcc"], ["clang"]]
    except ValueError as error:
        raise ValueError(f"CC is {wanted!r}: {error}") from error
    return next((command for command in candidates if command and shutil.which(command[0])), None)


def _load(compiler: list[str], defines: tuple[str, ...]) -> ctypes.CDLL:
    # a library made for this very processor
    settings = [*compiler, *_COMMON, *map(str, _TUNING), *defines]
    name = digest(SOURCE.read_text(encoding="utf-8"), *settings, processor(), _version(compiler))
    fault: Exception | None = None
    for path in whole_files(f"pointwise_{name}.so", lambda path: _compile(compiler, defines, path)):
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:  # a folder from which nothing may be run: the next one
            fault = error
    assert fault is not None
    raise fault


def _compile(compiler: list[str], defines: tuple[str, ...], path: Path) -> None:
    failure: subprocess.SubprocessError = subprocess.SubprocessError(f"{compiler[0]} wrote no library")
    for tuning in _TUNING:
        command = [*compiler, *_COMMON, *tuning, *defines, str(SOURCE), "-o", str(path), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=120)
        except subprocess.CalledProcessError as error:
            failure = error
        if path.exists():
            return
    raise failure


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        return f"the C compiler {error.cmd[0]} failed ({error.stderr.strip().splitlines()[-1]})"
    if isinstance(error, subprocess.SubprocessError):
        return f"the C compiler failed ({error})"
    return f"the compiled functions can't be made, kept or loaded ({error})"


def _version(compiler: list[str]) -> str:
    command = [*compiler, "--version"]
    told = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=60)
    return told.stdout


def _sane(library: Library) -> bool:
    """Sine and cosine of a first layer against torch's."""
    places = torch.linspace(-1, 1, 96).reshape(32, 3)
    weight, bias = torch.linspace(-1, 1, 48).reshape(16, 3), torch.linspace(-2, 2, 16)
    sine, cosine = (torch.empty(32, 16, dtype=library.dtype) for _ in range(2))
    arrays = [ctypes.c_void_p(t.data_ptr()) for t in (places, weight, bias, sine, cosine)]
    library.function("first")(ctypes.c_long(32), ctypes.c_long(16), ctypes.c_float(3.0), *arrays)
    angle = 3 * (places @ weight.T + bias)
    tolerance = 1e-2 if library.dtype == torch.bfloat16 else 1e-5
    close = [torch.allclose(a.float(), b, atol=tolerance) for a, b in ((sine, angle.sin()), (cosine, angle.cos()))]
    return all(close)
