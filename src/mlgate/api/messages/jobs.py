"""Messages of training and batch prediction jobs in ml v1."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Bytes, Duration, Int64, Message, Timestamp
from mlgate.api.messages.models import AcceleratorConfig


class HyperparameterOutputHyperparameterMetric(
    Message, schema="GoogleCloudMlV1_HyperparameterOutput_HyperparameterMetric"
):
    objective_value: float | None = None
    training_step: Int64 | None = None


class BuiltInAlgorithmOutput(Message, schema="GoogleCloudMlV1__BuiltInAlgorithmOutput"):
    framework: str | None = None
    model_path: str | None = None
    python_version: str | None = None
    runtime_version: str | None = None


class CancelJobRequest(Message, schema="GoogleCloudMlV1__CancelJobRequest"):
    pass


class DiskConfig(Message, schema="GoogleCloudMlV1__DiskConfig"):
    boot_disk_size_gb: int | None = None
    boot_disk_type: str | None = None


class EncryptionConfig(Message, schema="GoogleCloudMlV1__EncryptionConfig"):
    kms_key_name: str | None = None


class HyperparameterOutput(Message, schema="GoogleCloudMlV1__HyperparameterOutput"):
    all_metrics: list[HyperparameterOutputHyperparameterMetric] | None = None
    built_in_algorithm_output: BuiltInAlgorithmOutput | None = None
    end_time: Timestamp | None = None
    final_metric: HyperparameterOutputHyperparameterMetric | None = None
    hyperparameters: dict[str, str] | None = None
    is_trial_stopped_early: bool | None = None
    start_time: Timestamp | None = None
    state: (
        Literal["STATE_UNSPECIFIED", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"]
        | None
    ) = None
    trial_id: str | None = None
    web_access_uris: dict[str, str] | None = None


class ParameterSpec(Message, schema="GoogleCloudMlV1__ParameterSpec"):
    categorical_values: list[str] | None = None
    discrete_values: list[float] | None = None
    max_value: float | None = None
    min_value: float | None = None
    parameter_name: str | None = None
    scale_type: Literal["NONE", "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"] | None = None
    type: Literal["PARAMETER_TYPE_UNSPECIFIED", "DOUBLE", "INTEGER", "CATEGORICAL", "DISCRETE"] | None = None


class HyperparameterSpec(Message, schema="GoogleCloudMlV1__HyperparameterSpec"):
    algorithm: Literal["ALGORITHM_UNSPECIFIED", "GRID_SEARCH", "RANDOM_SEARCH"] | None = None
    enable_trial_early_stopping: bool | None = None
    goal: Literal["GOAL_TYPE_UNSPECIFIED", "MAXIMIZE", "MINIMIZE"] | None = None
    hyperparameter_metric_tag: str | None = None
    max_failed_trials: int | None = None
    max_parallel_trials: int | None = None
    max_trials: int | None = None
    params: list[ParameterSpec] | None = None
    resume_previous_job_id: str | None = None


class PredictionInput(Message, schema="GoogleCloudMlV1__PredictionInput"):
    batch_size: Int64 | None = None
    data_format: Literal["DATA_FORMAT_UNSPECIFIED", "JSON", "TEXT", "TF_RECORD", "TF_RECORD_GZIP", "CSV"] | None = None
    input_paths: list[str] | None = None
    max_worker_count: Int64 | None = None
    model_name: str | None = None
    output_data_format: (
        Literal["DATA_FORMAT_UNSPECIFIED", "JSON", "TEXT", "TF_RECORD", "TF_RECORD_GZIP", "CSV"] | None
    ) = None
    output_path: str | None = None
    region: str | None = None
    runtime_version: str | None = None
    signature_name: str | None = None
    uri: str | None = None
    version_name: str | None = None


class PredictionOutput(Message, schema="GoogleCloudMlV1__PredictionOutput"):
    error_count: Int64 | None = None
    node_hours: float | None = None
    output_path: str | None = None
    prediction_count: Int64 | None = None


class ReplicaConfig(Message, schema="GoogleCloudMlV1__ReplicaConfig"):
    accelerator_config: AcceleratorConfig | None = None
    container_args: list[str] | None = None
    container_command: list[str] | None = None
    disk_config: DiskConfig | None = None
    image_uri: str | None = None
    tpu_tf_version: str | None = None


class Scheduling(Message, schema="GoogleCloudMlV1__Scheduling"):
    max_running_time: Duration | None = None
    max_wait_time: Duration | None = None
    priority: int | None = None


class TrainingInput(Message, schema="GoogleCloudMlV1__TrainingInput"):
    args: list[str] | None = None
    enable_web_access: bool | None = None
    encryption_config: EncryptionConfig | None = None
    evaluator_config: ReplicaConfig | None = None
    evaluator_count: Int64 | None = None
    evaluator_type: str | None = None
    hyperparameters: HyperparameterSpec | None = None
    job_dir: str | None = None
    master_config: ReplicaConfig | None = None
    master_type: str | None = None
    network: str | None = None
    package_uris: list[str] | None = None
    parameter_server_config: ReplicaConfig | None = None
    parameter_server_count: Int64 | None = None
    parameter_server_type: str | None = None
    python_module: str | None = None
    python_version: str | None = None
    region: str | None = None
    runtime_version: str | None = None
    scale_tier: Literal["BASIC", "STANDARD_1", "PREMIUM_1", "BASIC_GPU", "BASIC_TPU", "CUSTOM"] | None = None
    scheduling: Scheduling | None = None
    service_account: str | None = None
    use_chief_in_tf_config: bool | None = None
    worker_config: ReplicaConfig | None = None
    worker_count: Int64 | None = None
    worker_type: str | None = None


class TrainingOutput(
    Message, schema="GoogleCloudMlV1__TrainingOutput", wire_names={"consumed_ml_units": "consumedMLUnits"}
):
    built_in_algorithm_output: BuiltInAlgorithmOutput | None = None
    completed_trial_count: Int64 | None = None
    consumed_ml_units: float | None = None
    hyperparameter_metric_tag: str | None = None
    is_built_in_algorithm_job: bool | None = None
    is_hyperparameter_tuning_job: bool | None = None
    trials: list[HyperparameterOutput] | None = None
    web_access_uris: dict[str, str] | None = None


class Job(Message, schema="GoogleCloudMlV1__Job"):
    """A training or batch prediction job."""

    create_time: Timestamp | None = None
    end_time: Timestamp | None = None
    error_message: str | None = None
    etag: Bytes | None = None
    job_id: str | None = None
    job_position: Int64 | None = None
    labels: dict[str, str] | None = None
    prediction_input: PredictionInput | None = None
    prediction_output: PredictionOutput | None = None
    start_time: Timestamp | None = None
    state: (
        Literal["STATE_UNSPECIFIED", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED"]
        | None
    ) = None
    training_input: TrainingInput | None = None
    training_output: TrainingOutput | None = None


class ListJobsResponse(Message, schema="GoogleCloudMlV1__ListJobsResponse"):
    jobs: list[Job] | None = None
    next_page_token: str | None = None
