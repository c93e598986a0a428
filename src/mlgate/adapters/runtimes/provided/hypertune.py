"""`import hypertune` for jobs whose packages do not bring cloudml-hypertune: the same class, method and file.

Each report rewrites the file that CLOUD_ML_HP_METRIC_FILE names with the last hundred of them, a JSON object a line.
"""

from __future__ import annotations

import collections
import json
import os
import time

DEFAULT_TAG = "training/hptuning/metric"
DEFAULT_FILE = "/tmp/hypertune/output.metrics"
KEPT = 100


class HyperTune:
    def __init__(self) -> None:
        self.metric_path = os.environ.get("CLOUD_ML_HP_METRIC_FILE", DEFAULT_FILE)
        self.trial_id = os.environ.get("CLOUD_ML_TRIAL_ID", "0")
        os.makedirs(os.path.dirname(self.metric_path), exist_ok=True)
        self._entries: collections.deque[dict[str, object]] = collections.deque(maxlen=KEPT)

    def report_hyperparameter_tuning_metric(
        self, hyperparameter_metric_tag: str, metric_value: float, global_step: int = 0, checkpoint_path: str = ""
    ) -> None:
        """Say what a metric is at a step."""
        self._entries.append(
            {
                "timestamp": time.time(),
                "trial": str(self.trial_id),
                hyperparameter_metric_tag or DEFAULT_TAG: str(float(metric_value)),
                "global_step": str(int(global_step or 0)),
                "checkpoint_path": checkpoint_path,
            }
        )
        with open(self.metric_path, "w") as file:
            file.writelines(json.dumps(entry, sort_keys=True) + "\n" for entry in self._entries)
