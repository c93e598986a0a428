"""Write MLServer's settings: `mlserver_prepare.py WORKERS FOLDER HTTP GRPC METRICS` (the last three are ports)."""

import json
import os
import sys
from pathlib import Path

DATA = os.environ["SERVING_DATA"]
SERVED = {
    "iris": ("mlserver_sklearn.SKLearnModel", "model.joblib"),
    "rf": ("mlserver_sklearn.SKLearnModel", "model.joblib"),
    "xgb": ("mlserver_xgboost.XGBoostModel", "model.json"),
}

workers, folder = int(sys.argv[1]), Path(sys.argv[2])
http, grpc, metrics = map(int, sys.argv[3:])
settings = {
    "host": "127.0.0.1",
    "http_port": http,
    "grpc_port": grpc,
    "metrics_port": metrics,
    "parallel_workers": workers,
    "debug": False,
    "environments_dir": str(folder / "environments"),
}
for name, (implementation, file) in SERVED.items():
    (folder / name).mkdir(parents=True, exist_ok=True)
    model = {"name": name, "implementation": implementation, "parameters": {"uri": f"{DATA}/{name}/{file}"}}
    (folder / name / "model-settings.json").write_text(json.dumps(model))
(folder / "settings.json").write_text(json.dumps(settings))
