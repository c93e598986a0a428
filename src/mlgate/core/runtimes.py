"""Runtime versions: the environments that models run in, and what the names of the old service mean here.

A runtimeVersion with a pythonVersion names a runtime. Up to 2.x the number is TensorFlow's, as in the old service;
from 3.0 on it is mlgate's own. Each runtime has an environment for scikit-learn and XGBoost, and one with TensorFlow as
well, which is several times as large.

This table is the catalogue. `packages` and `beside` are what is asked for; what an environment gets, to the last hash,
is in its lock, `adapters/environments/locks/NAME.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlgate.core.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Runtime:
    """An environment: whose models it is for, the Python that it needs and what is installed in it."""

    name: str
    runtime_version: str
    python_version: str
    frameworks: tuple[str, ...]
    #: The frameworks and what their files depend on.
    packages: Mapping[str, str]
    #: What programs and deployments find there as well. A Python that stands in may be without.
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked_for(self) -> dict[str, str]:
        """All that the lock is made from."""
        return {**self.packages, **self.beside}


_TABULAR, _TENSORFLOW = ("SCIKIT_LEARN", "XGBOOST"), ("TENSORFLOW",)

_2_11 = {
    "scikit-learn": "1.0.2", "xgboost": "1.6.2", "numpy": "1.23.5", "scipy": "1.9.3", "pandas": "1.5.3",
    "joblib": "1.2.0", "orjson": "3.13.0", "setuptools": "79.0.1",
}  # fmt: skip
_2_12 = {
    "scikit-learn": "1.2.2", "xgboost": "1.7.6", "numpy": "1.23.5", "scipy": "1.10.1", "pandas": "1.5.3",
    "joblib": "1.2.0", "orjson": "3.13.0",
}  # fmt: skip
_3_0 = {
    "scikit-learn": "1.9.1", "xgboost-cpu": "3.2.0", "numpy": "2.4.6", "scipy": "1.17.1", "pandas": "3.1.1",
    "joblib": "1.6.0", "orjson": "3.13.0",
}  # fmt: skip

#: How programs of the old service reach their buckets. Its hypertune is not here: jobs get `runtimes/provided`.
_STORAGE = {"google-cloud-storage": "3.17.1", "gcsfs": "2026.10.1"}
#: TensorFlow 2.11 needs protobuf 3, with which gcsfs from the end of 2025 on does not import.
_STORAGE_PROTOBUF_3 = {**_STORAGE, "gcsfs": "2025.9.0"}
#: What makes and runs faster copies. The converters write booleans where protobuf 7 wants integers. 2.11 has none of
#: it: the last onnxruntime for its Python ends a process that cannot read /proc/cpuinfo, as in the sandbox.
_COPIES = {
    "onnx": "1.23.2", "onnxmltools": "1.16.0", "onnxruntime": "1.31.1", "protobuf": "6.33.6", "skl2onnx": "1.20.0",
}  # fmt: skip

CATALOGUE = (
    Runtime("3.0", "3.0", "3.11", _TABULAR, _3_0, _STORAGE | _COPIES),
    Runtime(
        "3.0-tensorflow", "3.0", "3.11", _TENSORFLOW,
        {"tensorflow-cpu": "2.21.0", **_3_0}, {"tensorboard": "2.21.0", **_STORAGE},
    ),
    Runtime("2.12", "2.12", "3.11", _TABULAR, _2_12, _STORAGE | _COPIES),
    Runtime(
        "2.12-tensorflow", "2.12", "3.11", _TENSORFLOW,
        {"tensorflow-cpu": "2.12.1", **_2_12}, {"tensorboard": "2.12.3", **_STORAGE},
    ),
    Runtime("2.11", "2.11", "3.10", _TABULAR, _2_11, _STORAGE),
    Runtime(
        "2.11-tensorflow", "2.11", "3.10", _TENSORFLOW,
        {"tensorflow-cpu": "2.11.1", **_2_11}, {"tensorboard": "2.11.2", **_STORAGE_PROTOBUF_3},
    ),
)  # fmt: skip

#: What the old service called its runtimes. Their Pythons are long dead, so none of these can exist as it was.
OLD_VERSIONS = ("1.15", *(f"2.{n}" for n in range(1, 12)))
OLD_PYTHONS = ("2.7", "3.5", "3.7")
#: The catalogue's oldest is the nearest to all of them.
_NEAREST = ("2.11", "3.10")

#: What a Python must have installed to run models of a framework, the framework itself first.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "SCIKIT_LEARN": ("scikit-learn", "numpy", "joblib"),
    "XGBOOST": ("xgboost", "numpy"),
    "TENSORFLOW": ("tensorflow", "numpy"),
}
#: Of a pickle that nobody has looked into, or of a person's own code, for a name that nothing fulfils.
_NEEDS_OF_OTHERS = _NEEDS["SCIKIT_LEARN"]


def frameworks() -> tuple[str, ...]:
    """All that the catalogue's environments are made for."""
    return tuple(dict.fromkeys(framework for runtime in CATALOGUE for framework in runtime.frameworks))


def is_old(runtime_version: str, python_version: str) -> bool:
    """Whether this is a name of the old service's, which stands for something near."""
    return runtime_version in OLD_VERSIONS and python_version in OLD_PYTHONS


def check(runtime_version: str, python_version: str) -> None:
    """Raises InvalidArgument, with what there is, for a pair that names no runtime."""
    if is_old(runtime_version, python_version) or _of(runtime_version, python_version):
        return
    known = {runtime.runtime_version for runtime in CATALOGUE} | set(OLD_VERSIONS)
    is_known = runtime_version in known
    wrong = f'There is no runtimeVersion "{runtime_version}"'
    if is_known:
        wrong = f'runtimeVersion {runtime_version} has no pythonVersion "{python_version}"'
    there = ", ".join(dict.fromkeys(f"{r.runtime_version} with {r.python_version}" for r in CATALOGUE))
    message = (
        f"{wrong}. There are {there}; and for models of the old service {OLD_VERSIONS[0]} and {OLD_VERSIONS[1]} to "
        f"{OLD_VERSIONS[-1]} with {', '.join(OLD_PYTHONS[:-1])} or {OLD_PYTHONS[-1]}."
    )
    field = "pythonVersion" if is_known else "runtimeVersion"
    raise InvalidArgument(message, fields=[(f"version.{field}", message)])


def choose(runtime_version: str, python_version: str, framework: str) -> Runtime:
    """The environment for a framework's models, the nearest one for a name of the old service's; a framework that no
    environment is made for gets the runtime's first. Raises InvalidArgument."""
    check(runtime_version, python_version)
    old = is_old(runtime_version, python_version)
    candidates = _of(*(_NEAREST if old else (runtime_version, python_version)))
    return next((r for r in candidates if framework in r.frameworks), candidates[0])


def can_stand_in(
    runtime: Runtime, framework: str, old: bool, python_version: str, installed: Mapping[str, str]
) -> bool:
    """Whether a Python that is there anyway, such as the server's own, may run models that `runtime` is for.

    For a name of the old service's, which nothing fulfils, it must have the framework; for any other name the same
    Python, and the same version of the framework and of what its files depend on. Where it is not known what a model
    will import, that is everything.
    """
    wanted, has = _by_plain_name(runtime.packages), _by_plain_name(installed)
    if old:
        return all(name in has for name in _NEEDS.get(framework, _NEEDS_OF_OTHERS))
    needs = _NEEDS.get(framework, tuple(wanted))
    return python_version == runtime.python_version and all(has.get(name) == wanted[name] for name in needs)


def headline(packages: Mapping[str, str], framework: str = "") -> str:
    """What people choose an environment for: its frameworks, or one of them, with their versions."""
    names = _NEEDS[framework][:1] if framework in _NEEDS else ("tensorflow", "scikit-learn", "xgboost")
    shown = [(name, version) for name, version in packages.items() if name.removesuffix("-cpu") in names]
    return ", ".join(f"{name} {version}" for name, version in shown)


def _of(runtime_version: str, python_version: str) -> list[Runtime]:
    return [r for r in CATALOGUE if (r.runtime_version, r.python_version) == (runtime_version, python_version)]


def _by_plain_name(packages: Mapping[str, str]) -> dict[str, str]:
    """Builds without GPU support go by a name of their own, and load the same files."""
    return {name.removesuffix("-cpu"): version for name, version in packages.items()}
