"""The environments of the contestants: one each, below `.serving/`, built by uv from a lock with hashes.

`python -m bench.serving.environments` writes the locks anew (`requirements/bench-serving-NAME.txt`). All of them hold
the scikit-learn and XGBoost that mlgate's own lock holds: everybody serves the same files with the same libraries.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import uv

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".serving"
OWN = "mlgate"
"""Not a lock of its own: the environment that this runs in, mlgate's."""

_MODELS = ("scikit-learn", "xgboost-cpu")
PACKAGES: dict[str, tuple[str, ...]] = {
    "fastapi": ("fastapi", "httptools", "uvicorn", "uvloop", *_MODELS),
    "bentoml": ("bentoml", *_MODELS),
    "kserve": ("kserve", *_MODELS),
    "litserve": ("litserve", *_MODELS),
    "mlflow": ("mlflow", *_MODELS),
    # Its worker processes end at once on uvloop 0.22 and later: "There is no current event loop".
    "mlserver": ("mlserver", "mlserver-sklearn", "mlserver-xgboost", "uvloop<0.22"),
    "prototype": ("granian", "onnxmltools", "onnxruntime", "orjson", "skl2onnx", *_MODELS),
    "ray": ("ray[serve]", *_MODELS),
}
_SAME = ("scikit-learn", "xgboost-cpu")
_UNUSED = ("nvidia-nccl-cu12", "nvidia-nccl-cu13")
"""What XGBoost's full wheel asks for, for graphics cards: 300 MB that nothing here would load."""


class MissingError(Exception):
    """A contestant's packages cannot be had here; says why."""


def ensure(name: str) -> Path:
    """The folder of the environment's programs, installed if need be. Raises MissingError."""
    if name == OWN:
        return Path(sys.executable).parent
    folder = HOME / "environments" / name
    if not (folder / "bin" / "python").exists():
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = str(folder / "bin" / "python")
    _uv("pip", "sync", "--quiet", "--python", python, "--require-hashes", str(lock_of(name)))
    return folder / "bin"


def version(name: str) -> str:
    """The version of the package that an environment is named after, as its lock has it; empty when it has none."""
    if name == OWN or not lock_of(name).exists():
        return ""
    found = re.search(rf"^{name}==(\S+)", lock_of(name).read_text(), re.MULTILINE)
    return found[1] if found else ""


def lock_of(name: str) -> Path:
    return ROOT / "requirements" / f"bench-serving-{name}.txt"


def lock(name: str) -> None:
    """Write an environment's lock. Raises MissingError when there is no set of packages that fit together."""
    own = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    same = [line.rstrip(" \\") for line in own if line.startswith(tuple(f"{package}==" for package in _SAME))]
    same += [line.replace("xgboost-cpu", "xgboost") for line in same if line.startswith("xgboost-cpu")]
    unused = [f"{package} ; sys_platform == 'none'" for package in _UNUSED]
    with tempfile.TemporaryDirectory() as folder:
        files = {"wanted.in": PACKAGES[name], "constraints.txt": same, "overrides.txt": unused}
        for file, lines in files.items():
            (Path(folder) / file).write_text("\n".join(lines) + "\n")
        _uv(
            "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-header",
            "--no-annotate", "--python-version", "3.11", "--constraint", f"{folder}/constraints.txt",
            "--override", f"{folder}/overrides.txt", "--output-file", str(lock_of(name)), f"{folder}/wanted.in",
        )  # fmt: skip


def _uv(*arguments: str) -> None:
    done = subprocess.run([uv.find_uv_bin(), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise MissingError(" ".join(said)[:300] or f"uv ended with {done.returncode}")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PACKAGES:
        lock(chosen)
