"""An API process: everything behind the door."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlgate.adapters.blobs.files import FileBlobs
from mlgate.adapters.hosts.client import SocketModelHost
from mlgate.adapters.identity.tokens import TokenIdentity
from mlgate.adapters.lines import LogFiles, TableFiles
from mlgate.adapters.optimizer import ANSWERED_SECONDS, ProcessOptimizer
from mlgate.adapters.system import RandomIds, SystemClock
from mlgate.api.call import Services
from mlgate.api.methods import registry
from mlgate.api.prediction_log import PredictionLog
from mlgate.api.usage import Usage
from mlgate.app.environments import environments
from mlgate.app.places import open_store, places
from mlgate.core.iam.roles import catalogue, permissions_by_role
from mlgate.http.asgi import App
from mlgate.settings import Settings
from mlgate.snapshot import Snapshot


def services(settings: Settings, health: Mapping[str, Any]) -> Services:
    """Everything behind the door of one API process."""
    store, clock = open_store(settings), SystemClock()
    snapshot = Snapshot(store, permissions_by_role(settings.role_catalogue))
    snapshot.refresh()
    executor, where = ThreadPoolExecutor(16, thread_name_prefix="unit"), places(settings)
    blobs, usage = FileBlobs(where.blobs), Usage(store, executor)
    predictions = PredictionLog(
        store=store,
        blobs=blobs,
        snapshot=snapshot,
        tables=TableFiles(where.tables, settings.max_table_bytes),
        logs=LogFiles(where.logs),
        clock=clock,
        usage=usage,
        seconds=settings.request_log_seconds,
    )
    return Services(
        registry=registry(),
        store=store,
        snapshot=snapshot,
        blobs=blobs,
        usage=usage,
        predictions=predictions,
        host=SocketModelHost(places(settings).run, max_waiting=settings.predict_queue),
        identity=TokenIdentity(store, snapshot, clock),
        clock=clock,
        ids=RandomIds(),
        settings=settings,
        roles=catalogue(settings.role_catalogue),
        executor=executor,
        models_dir=places(settings).models,
        interpreter=environments(settings).interpreter,
        optimizer=ProcessOptimizer(ANSWERED_SECONDS),
        health=lambda: dict(health),
    )


def api(settings: Settings, health: Mapping[str, Any]) -> App:
    return App(services(settings, health))
