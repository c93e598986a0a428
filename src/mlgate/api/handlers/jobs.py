"""Jobs: what a new one needs besides `ml.jobs.create`. Their methods come with a later issue."""

from __future__ import annotations

from collections.abc import Iterable

from mlgate.api.call import Call
from mlgate.api.messages.jobs import Job
from mlgate.api.method import Need
from mlgate.api.params import canonical
from mlgate.core.names import join, model_of


def needs_of_job(call: Call, body: Job) -> Iterable[Need]:
    """A batch prediction that names a model or version needs either predict permission there, in the project that owns
    it (R-071, R-074); a training job with an account of its own needs the right to act as it (R-093)."""
    batch, training = body.prediction_input, body.training_input
    for name in (batch.model_name, batch.version_name) if batch else ():
        if name:
            model = model_of(canonical(name, call.services.snapshot))
            yield Need(("ml.models.predict", "ml.versions.predict"), model)
    if training and training.service_account:
        email = training.service_account.lower()
        account = call.services.snapshot.accounts.get(email)
        project = account.project if account else "-"
        yield Need(("iam.serviceAccounts.actAs",), join(f"projects/{project}", "serviceAccounts", email))
