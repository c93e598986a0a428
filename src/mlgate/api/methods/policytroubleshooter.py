"""Policy Troubleshooter, v3 and v1: why somebody may, or may not. v3 stands first: the command line takes the first."""

from __future__ import annotations

from mlgate.api.handlers import troubleshoot
from mlgate.api.messages.policytroubleshooter import (
    TroubleshootRequest,
    TroubleshootRequestV1,
    TroubleshootResponse,
    TroubleshootResponseV1,
)
from mlgate.api.method import POST, Authenticated, Method

_FILTERED = Authenticated("a caller is shown the policies, groups and roles that they may read, and how they fare")

ROWS: tuple[Method, ...] = (
    Method("policytroubleshooter.iam.troubleshoot", POST, "v3/iam:troubleshoot", _FILTERED, troubleshoot.troubleshoot,
           takes=TroubleshootRequest, gives=TroubleshootResponse, max_body=64 << 10,
           summary="Explain why somebody has a permission on a resource, or has it not"),
    Method("policytroubleshooter.iam.troubleshoot", POST, "v1/iam:troubleshoot", _FILTERED,
           troubleshoot.troubleshoot_v1, takes=TroubleshootRequestV1, gives=TroubleshootResponseV1, max_body=64 << 10,
           summary="Explain the same without the parts of deny policies"),
)  # fmt: skip
