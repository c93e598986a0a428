"""Messages of models, versions, predictions, locations and project configuration in ml v1."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Bytes, Int64, Json, Message, Timestamp
from mlgate.api.messages.studies import MetricSpec


class HttpBody(Message, schema="GoogleApi__HttpBody"):
    content_type: str | None = None
    data: Bytes | None = None
    extensions: list[dict[str, Json]] | None = None


class AcceleratorConfig(Message, schema="GoogleCloudMlV1__AcceleratorConfig"):
    count: Int64 | None = None
    type: (
        Literal[
            "ACCELERATOR_TYPE_UNSPECIFIED",
            "NVIDIA_TESLA_K80",
            "NVIDIA_TESLA_P100",
            "NVIDIA_TESLA_V100",
            "NVIDIA_TESLA_P4",
            "NVIDIA_TESLA_T4",
            "NVIDIA_TESLA_A100",
            "TPU_V2",
            "TPU_V3",
            "TPU_V2_POD",
            "TPU_V3_POD",
            "TPU_V4_POD",
        ]
        | None
    ) = None


class AutoScaling(Message, schema="GoogleCloudMlV1__AutoScaling"):
    max_nodes: int | None = None
    metrics: list[MetricSpec] | None = None
    min_nodes: int | None = None


class Capability(Message, schema="GoogleCloudMlV1__Capability"):
    available_accelerators: (
        list[
            Literal[
                "ACCELERATOR_TYPE_UNSPECIFIED",
                "NVIDIA_TESLA_K80",
                "NVIDIA_TESLA_P100",
                "NVIDIA_TESLA_V100",
                "NVIDIA_TESLA_P4",
                "NVIDIA_TESLA_T4",
                "NVIDIA_TESLA_A100",
                "TPU_V2",
                "TPU_V3",
                "TPU_V2_POD",
                "TPU_V3_POD",
                "TPU_V4_POD",
            ]
        ]
        | None
    ) = None
    type: Literal["TYPE_UNSPECIFIED", "TRAINING", "BATCH_PREDICTION", "ONLINE_PREDICTION"] | None = None


class Config(Message, schema="GoogleCloudMlV1__Config"):
    tpu_service_account: str | None = None


class ContainerPort(Message, schema="GoogleCloudMlV1__ContainerPort"):
    container_port: int | None = None


class EnvVar(Message, schema="GoogleCloudMlV1__EnvVar"):
    name: str | None = None
    value: str | None = None


class ContainerSpec(Message, schema="GoogleCloudMlV1__ContainerSpec"):
    args: list[str] | None = None
    command: list[str] | None = None
    env: list[EnvVar] | None = None
    image: str | None = None
    ports: list[ContainerPort] | None = None


class ExplainRequest(Message, schema="GoogleCloudMlV1__ExplainRequest"):
    http_body: HttpBody | None = None


class IntegratedGradientsAttribution(Message, schema="GoogleCloudMlV1__IntegratedGradientsAttribution"):
    num_integral_steps: int | None = None


class SampledShapleyAttribution(Message, schema="GoogleCloudMlV1__SampledShapleyAttribution"):
    num_paths: int | None = None


class XraiAttribution(Message, schema="GoogleCloudMlV1__XraiAttribution"):
    num_integral_steps: int | None = None


class ExplanationConfig(Message, schema="GoogleCloudMlV1__ExplanationConfig"):
    integrated_gradients_attribution: IntegratedGradientsAttribution | None = None
    sampled_shapley_attribution: SampledShapleyAttribution | None = None
    xrai_attribution: XraiAttribution | None = None


class GetConfigResponse(Message, schema="GoogleCloudMlV1__GetConfigResponse"):
    config: Config | None = None
    service_account: str | None = None
    service_account_project: Int64 | None = None


class Location(Message, schema="GoogleCloudMlV1__Location"):
    capabilities: list[Capability] | None = None
    name: str | None = None


class ListLocationsResponse(Message, schema="GoogleCloudMlV1__ListLocationsResponse"):
    locations: list[Location] | None = None
    next_page_token: str | None = None


class ManualScaling(Message, schema="GoogleCloudMlV1__ManualScaling"):
    nodes: int | None = None


class RequestLoggingConfig(Message, schema="GoogleCloudMlV1__RequestLoggingConfig"):
    bigquery_table_name: str | None = None
    sampling_percentage: float | None = None


class RouteMap(Message, schema="GoogleCloudMlV1__RouteMap"):
    health: str | None = None
    predict: str | None = None


class FasterCopy(Message, schema="Mlgate__FasterCopy"):
    """A copy of the model that answers requests of few instances faster. mlgate's own: the service had none."""

    #: Given by the person who deploys; all else is told by the server.
    disabled: bool | None = None
    format: str | None = None
    max_rows: int | None = None
    reason: str | None = None
    speedup: float | None = None
    state: Literal["STATE_UNSPECIFIED", "READY", "UNAVAILABLE"] | None = None


class Version(Message, schema="GoogleCloudMlV1__Version"):
    """One trained model, deployed from a directory of a bucket."""

    accelerator_config: AcceleratorConfig | None = None
    auto_scaling: AutoScaling | None = None
    container: ContainerSpec | None = None
    create_time: Timestamp | None = None
    deployment_uri: str | None = None
    description: str | None = None
    error_message: str | None = None
    etag: Bytes | None = None
    explanation_config: ExplanationConfig | None = None
    faster_copy: FasterCopy | None = None
    framework: Literal["FRAMEWORK_UNSPECIFIED", "TENSORFLOW", "SCIKIT_LEARN", "XGBOOST"] | None = None
    is_default: bool | None = None
    labels: dict[str, str] | None = None
    last_migration_model_id: str | None = None
    last_migration_time: Timestamp | None = None
    last_use_time: Timestamp | None = None
    machine_type: str | None = None
    manual_scaling: ManualScaling | None = None
    name: str | None = None
    package_uris: list[str] | None = None
    prediction_class: str | None = None
    python_version: str | None = None
    request_logging_config: RequestLoggingConfig | None = None
    routes: RouteMap | None = None
    runtime_version: str | None = None
    service_account: str | None = None
    state: Literal["UNKNOWN", "READY", "CREATING", "FAILED", "DELETING", "UPDATING"] | None = None


class Model(Message, schema="GoogleCloudMlV1__Model"):
    """Versions under one name, one of them the default; the thing that is shared."""

    default_version: Version | None = None
    description: str | None = None
    etag: Bytes | None = None
    labels: dict[str, str] | None = None
    name: str | None = None
    online_prediction_console_logging: bool | None = None
    online_prediction_logging: bool | None = None
    regions: list[str] | None = None


class ListModelsResponse(Message, schema="GoogleCloudMlV1__ListModelsResponse"):
    models: list[Model] | None = None
    next_page_token: str | None = None


class ListVersionsResponse(Message, schema="GoogleCloudMlV1__ListVersionsResponse"):
    next_page_token: str | None = None
    versions: list[Version] | None = None


class OperationMetadata(Message, schema="GoogleCloudMlV1__OperationMetadata"):
    create_time: Timestamp | None = None
    end_time: Timestamp | None = None
    is_cancellation_requested: bool | None = None
    labels: dict[str, str] | None = None
    model_name: str | None = None
    operation_type: (
        Literal[
            "OPERATION_TYPE_UNSPECIFIED",
            "CREATE_VERSION",
            "DELETE_VERSION",
            "DELETE_MODEL",
            "UPDATE_MODEL",
            "UPDATE_VERSION",
            "UPDATE_CONFIG",
        ]
        | None
    ) = None
    project_number: Int64 | None = None
    start_time: Timestamp | None = None
    version: Version | None = None


class PredictRequest(Message, schema="GoogleCloudMlV1__PredictRequest"):
    http_body: HttpBody | None = None


class SetDefaultVersionRequest(Message, schema="GoogleCloudMlV1__SetDefaultVersionRequest"):
    pass
