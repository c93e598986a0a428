"""The optimizer's process: what it says of faults, of libraries that are missing, and of those who have to wait."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlgate.adapters.optimizer import ProcessOptimizer
from mlgate.core.errors import Internal, InvalidArgument, Unimplemented
from tests.vizier.studies import config, double, integer


@pytest.fixture
def optimizer() -> Iterator[ProcessOptimizer]:
    made = ProcessOptimizer(timeout=60)
    yield made
    made.close()


def suggest(study: dict[str, Any], name: str = "s", **more: Any) -> dict[str, Any]:
    return {"ask": "suggest", "config": study, "trials": [], "count": 2, "study": name, "next": 1, **more}


def test_many_may_ask_at_once_and_each_gets_the_own_answer(optimizer: ProcessOptimizer) -> None:
    names = [f"study-{n}" for n in range(12)]
    alone = [ProcessOptimizer.ask(optimizer, suggest(config(double("x")), name)) for name in names]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda name: optimizer.ask(suggest(config(double("x")), name)), names))
    assert together == alone
    assert len({str(answer) for answer in alone}) == len(names)


def test_faults_are_told_and_the_process_goes_on(optimizer: ProcessOptimizer) -> None:
    plot = {"ask": "plot", "config": config(double("x")), "trials": [], "kind": "pie"}
    with pytest.raises(InvalidArgument, match="pie") as refused:
        optimizer.ask(plot)
    assert refused.value.fields[0][0] == "kind"
    with pytest.raises(Internal, match="KeyError"):
        optimizer.ask({"ask": "suggest"})
    assert len(optimizer.ask(suggest(config(double("x"))))) == 2


def test_without_numpy_a_grid_works_and_the_rest_says_what_to_install(
    optimizer: ProcessOptimizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    grid = optimizer.ask(suggest(config(integer("n", 1, 3), algorithm="GRID_SEARCH")))
    assert [point[0]["intValue"] for point in grid] == ["1", "2"]
    with pytest.raises(Unimplemented, match=r"mlgate\[vizier\]"):
        optimizer.ask(suggest(config(double("x"))))


def test_the_process_gets_no_secret_of_the_server(monkeypatch: pytest.MonkeyPatch, optimizer: ProcessOptimizer) -> None:
    monkeypatch.setenv("MLGATE_DATABASE_URL", "postgresql://user:hunter2@example.com/db")
    optimizer.ask(suggest(config(integer("n", 1, 3), algorithm="GRID_SEARCH")))
    assert optimizer._process is not None
    environment = Path(f"/proc/{optimizer._process.pid}/environ").read_bytes()
    assert b"hunter2" not in environment
    assert b"OPENBLAS_NUM_THREADS=1" in environment
