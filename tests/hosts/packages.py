"""Archives of a user's own code, as `python -m build` would write them, and worse."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def source_archive(path: Path, files: Mapping[str, str], root: str = "mine-0.1") -> Path:
    """A .tar.gz with these files below one folder."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            add(archive, f"{root}/{name}" if root else name, text.encode())
    return path


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def wheel(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path
