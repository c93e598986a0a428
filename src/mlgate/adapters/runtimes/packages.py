"""Packages of a version's own code: wheels and source archives, unpacked into the process's scratch folder.

It happens inside the sandbox, at each start of the model process, and nothing of an archive runs before it is
imported: a source archive is not built, its setup.py is never called. What it would install is found where setuptools
says it is (beside the `.egg-info` folder), else in `src`, else in the archive's own folder; scripts at its top can be
imported, too. What needs a build comes as a wheel.
"""

from __future__ import annotations

import os
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from .contract import USER_CODE, Failed

MOST_FILES = 20_000
MOST_BYTES = 200 << 20  # the scratch folder holds 256 MiB
_PIECE = 1 << 16
#: What an archive raises that is damaged, encrypted or compressed in a way that is not known.
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def install(folder: str) -> None:
    """Put the archives in `folder` on the module path, in order of name, before all else. Raises Failed(USER_CODE)."""
    room = [MOST_FILES, MOST_BYTES]
    into = tempfile.mkdtemp(prefix="packages-")
    paths: list[str] = []
    for name in sorted(os.listdir(folder)):
        target = os.path.join(into, name)
        os.mkdir(target)
        shown = name.partition("-")[2]  # the deployment numbers them
        try:
            if name.endswith(".whl"):
                _unpack_wheel(os.path.join(folder, name), target, room)
                paths += _wheel_paths(target)
            else:
                _unpack_source(os.path.join(folder, name), target, room)
                paths += _source_paths(target, shown)
        except _UNREADABLE as error:
            raise Failed(USER_CODE, f"the package {shown} cannot be unpacked: {error}") from None
        except MemoryError:
            raise Failed(USER_CODE, f"the package {shown} does not fit in the memory limit of its process") from None
    sys.path[:0] = paths


def _unpack_wheel(path: str, target: str, room: list[int]) -> None:
    with zipfile.ZipFile(path) as archive:

        def entries() -> Iterator[tuple[str, bool, Any]]:
            for info in archive.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ValueError(f"it holds a link, {info.filename!r}")
                yield info.filename, info.is_dir(), lambda info=info: archive.open(info)

        _unpack(entries(), target, room)


def _unpack_source(path: str, target: str, room: list[int]) -> None:
    with tarfile.open(path, "r:gz") as archive:

        def entries() -> Iterator[tuple[str, bool, Any]]:
            for member in archive:
                if not (member.isreg() or member.isdir()):
                    raise ValueError(f"it holds a link or a device, {member.name!r}")
                yield member.name, member.isdir(), lambda member=member: archive.extractfile(member)

        _unpack(entries(), target, room)


def _unpack(entries: Iterator[tuple[str, bool, Any]], target: str, room: list[int]) -> None:
    """Write files (name, whether it is a folder, what opens it) below `target`. Raises ValueError for a name that leads
    elsewhere, and for too much."""
    for name, is_folder, opened in entries:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise ValueError(f"it holds a file outside of its folder, {name[:200]!r}")
        room[0] -= 1
        if room[0] < 0:
            raise ValueError(f"all packages together hold more than {MOST_FILES} files")
        place = os.path.join(target, *parts)
        os.makedirs(place if is_folder else os.path.dirname(place), exist_ok=True)
        if not is_folder:
            with opened() as source, open(place, "wb") as copy:
                _copy(source, copy, room)


def _copy(source: IO[bytes], copy: IO[bytes], room: list[int]) -> None:
    while piece := source.read(_PIECE):
        room[1] -= len(piece)
        if room[1] < 0:
            raise ValueError(f"all packages together hold more than {MOST_BYTES} bytes when unpacked")
        copy.write(piece)


def _wheel_paths(root: str) -> list[str]:
    data = [os.path.join(root, name) for name in os.listdir(root) if name.endswith(".data")]
    inner = [os.path.join(place, kind) for place in data for kind in ("purelib", "platlib")]
    return [root, *(path for path in inner if os.path.isdir(path))]


def _source_paths(root: str, shown: str) -> list[str]:
    """Where a source archive's modules are. Raises Failed(USER_CODE) when they are nowhere."""
    inside = os.listdir(root)
    if len(inside) == 1 and os.path.isdir(os.path.join(root, inside[0])):
        root = os.path.join(root, inside[0])
    candidates = [os.path.join(root, "src"), root]
    declared: list[str] = []
    for folder in [root, *(os.path.join(root, name) for name in sorted(os.listdir(root)))]:
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            top_level = os.path.join(folder, name, "top_level.txt")
            if name.endswith(".egg-info") and os.path.isfile(top_level):
                candidates.insert(0, folder)
                with open(top_level, encoding="utf-8") as file:
                    declared += file.read().split()
    paths = [path for path in dict.fromkeys(candidates) if os.path.isdir(path)]
    paths = [path for path in paths if not os.path.isfile(os.path.join(path, "__init__.py"))] or paths
    for module in declared:
        if not any(_holds(path, module) for path in paths):
            raise Failed(
                USER_CODE,
                f"the package {shown} says that it installs '{module}', which only its setup.py could make; here no"
                " setup.py is run: give a wheel of it (python -m build --wheel).",
            )
    return paths


def _holds(path: str, module: str) -> bool:
    place = os.path.join(path, *module.split("/"))
    return os.path.isdir(place) or os.path.isfile(place + ".py")
