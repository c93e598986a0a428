"""A source package out of a directory, as `setup.py sdist` makes it, without running its setup.py.

What the package requires is read from setup.py where it stands there in plain words: lists of texts, under a name or
not. Nothing is guessed beyond that; a program whose setup.py does more is built by its own tools and given as
--packages.
"""

from __future__ import annotations

import ast
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from mlgate.cli.failure import Failure

_LEFT_OUT = {"__pycache__", "build", "dist", "node_modules"}
_MOST_BYTES = 200 << 20


def build(package: Path) -> tuple[str, bytes]:
    """The file name and the bytes of the archive. The same files make the same bytes. Raises Failure."""
    package = package.resolve()
    if not package.is_dir():
        raise Failure("INVALID_ARGUMENT", f"{package} is no directory: --package-path is the directory of the package.")
    if not (package / "__init__.py").is_file():
        raise Failure("INVALID_ARGUMENT", f"{package} holds no __init__.py, so it is no package of Python's.")
    setup = package.parent / "setup.py"
    said = _keywords(setup) if setup.is_file() else {}
    name, version = str(said.get("name") or package.name), str(said.get("version") or "0.0.0")
    packages = _packages(package.parent) if setup.is_file() else [package]
    listed = said.get("install_requires")
    requires = [str(each) for each in listed] if isinstance(listed, (list, tuple)) else []
    root, info = f"{name}-{version}", _info(name, version, requires)
    contents: dict[str, bytes] = {
        f"{root}/PKG-INFO": info,
        f"{root}/{name}.egg-info/PKG-INFO": info,
        f"{root}/{name}.egg-info/top_level.txt": "".join(f"{each.name}\n" for each in packages).encode(),
        f"{root}/{name}.egg-info/requires.txt": "".join(f"{each}\n" for each in requires).encode(),
    }
    if setup.is_file():
        contents[f"{root}/setup.py"] = setup.read_bytes()
    for each in packages:
        for file in _files(each):
            contents[f"{root}/{file.relative_to(package.parent).as_posix()}"] = file.read_bytes()
    if sum(map(len, contents.values())) > _MOST_BYTES:
        raise Failure("INVALID_ARGUMENT", f"{package.parent} holds more than the {_MOST_BYTES >> 20} MB of a package.")
    return f"{root}.tar.gz", _archive(contents)


def _archive(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(contents):
            entry = tarfile.TarInfo(path)
            entry.size = len(contents[path])
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(contents[path]))
    return buffer.getvalue()


def _info(name: str, version: str, requires: list[str]) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires), ""]).encode()


def _packages(folder: Path) -> list[Path]:
    """The packages beside setup.py."""
    return sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file() and p.name not in _LEFT_OUT)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p in _LEFT_OUT or p.startswith(".") for p in parts) and path.suffix != ".pyc":
            yield path


def _keywords(setup: Path) -> dict[str, object]:
    """What `setup(...)` is given in plain words. Raises Failure for a file that is no Python."""
    try:
        tree = ast.parse(setup.read_text())
    except (SyntaxError, ValueError) as error:
        raise Failure("INVALID_ARGUMENT", f"{setup} cannot be read: {error}.") from None
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) == "setup":
            for keyword in node.keywords:
                value = names.get(keyword.value.id) if isinstance(keyword.value, ast.Name) else keyword.value
                try:
                    found[keyword.arg or ""] = ast.literal_eval(value) if value is not None else None
                except ValueError:
                    continue  # said in other words than plain ones
    return found
