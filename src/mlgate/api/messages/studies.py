"""Messages of Vizier studies and trials in ml v1."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import Duration, Int64, Json, Message, Timestamp


class AutomatedStoppingConfigDecayCurveAutomatedStoppingConfig(
    Message, schema="GoogleCloudMlV1_AutomatedStoppingConfig_DecayCurveAutomatedStoppingConfig"
):
    use_elapsed_time: bool | None = None


class AutomatedStoppingConfigMedianAutomatedStoppingConfig(
    Message, schema="GoogleCloudMlV1_AutomatedStoppingConfig_MedianAutomatedStoppingConfig"
):
    use_elapsed_time: bool | None = None


class MeasurementMetric(Message, schema="GoogleCloudMlV1_Measurement_Metric"):
    metric: str | None = None
    value: float | None = None


class StudyConfigParameterSpecCategoricalValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_CategoricalValueSpec"
):
    values: list[str] | None = None


class StudyConfigParameterSpecDiscreteValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_DiscreteValueSpec"
):
    values: list[float] | None = None


class StudyConfigParameterSpecDoubleValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_DoubleValueSpec"
):
    max_value: float | None = None
    min_value: float | None = None


class StudyConfigParameterSpecIntegerValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_IntegerValueSpec"
):
    max_value: Int64 | None = None
    min_value: Int64 | None = None


class StudyConfigParameterSpecMatchingParentCategoricalValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_MatchingParentCategoricalValueSpec"
):
    values: list[str] | None = None


class StudyConfigParameterSpecMatchingParentDiscreteValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_MatchingParentDiscreteValueSpec"
):
    values: list[float] | None = None


class StudyConfigParameterSpecMatchingParentIntValueSpec(
    Message, schema="GoogleCloudMlV1_StudyConfigParameterSpec_MatchingParentIntValueSpec"
):
    values: list[Int64] | None = None


class StudyConfigMetricSpec(Message, schema="GoogleCloudMlV1_StudyConfig_MetricSpec"):
    goal: Literal["GOAL_TYPE_UNSPECIFIED", "MAXIMIZE", "MINIMIZE"] | None = None
    metric: str | None = None


class StudyConfigParameterSpec(Message, schema="GoogleCloudMlV1_StudyConfig_ParameterSpec"):
    categorical_value_spec: StudyConfigParameterSpecCategoricalValueSpec | None = None
    child_parameter_specs: list[StudyConfigParameterSpec] | None = None
    discrete_value_spec: StudyConfigParameterSpecDiscreteValueSpec | None = None
    double_value_spec: StudyConfigParameterSpecDoubleValueSpec | None = None
    integer_value_spec: StudyConfigParameterSpecIntegerValueSpec | None = None
    parameter: str | None = None
    parent_categorical_values: StudyConfigParameterSpecMatchingParentCategoricalValueSpec | None = None
    parent_discrete_values: StudyConfigParameterSpecMatchingParentDiscreteValueSpec | None = None
    parent_int_values: StudyConfigParameterSpecMatchingParentIntValueSpec | None = None
    scale_type: (
        Literal["SCALE_TYPE_UNSPECIFIED", "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE"] | None
    ) = None
    type: Literal["PARAMETER_TYPE_UNSPECIFIED", "DOUBLE", "INTEGER", "CATEGORICAL", "DISCRETE"] | None = None


class TrialParameter(Message, schema="GoogleCloudMlV1_Trial_Parameter"):
    float_value: float | None = None
    int_value: Int64 | None = None
    parameter: str | None = None
    string_value: str | None = None


class Measurement(Message, schema="GoogleCloudMlV1__Measurement"):
    elapsed_time: Duration | None = None
    metrics: list[MeasurementMetric] | None = None
    step_count: Int64 | None = None


class AddTrialMeasurementRequest(Message, schema="GoogleCloudMlV1__AddTrialMeasurementRequest"):
    measurement: Measurement | None = None


class MetricSpec(Message, schema="GoogleCloudMlV1__MetricSpec"):
    name: Literal["METRIC_NAME_UNSPECIFIED", "CPU_USAGE", "GPU_DUTY_CYCLE"] | None = None
    target: int | None = None


class AutomatedStoppingConfig(Message, schema="GoogleCloudMlV1__AutomatedStoppingConfig"):
    decay_curve_stopping_config: AutomatedStoppingConfigDecayCurveAutomatedStoppingConfig | None = None
    median_automated_stopping_config: AutomatedStoppingConfigMedianAutomatedStoppingConfig | None = None


class CheckTrialEarlyStoppingStateMetatdata(Message, schema="GoogleCloudMlV1__CheckTrialEarlyStoppingStateMetatdata"):
    create_time: Timestamp | None = None
    study: str | None = None
    trial: str | None = None


class CheckTrialEarlyStoppingStateRequest(Message, schema="GoogleCloudMlV1__CheckTrialEarlyStoppingStateRequest"):
    pass


class CheckTrialEarlyStoppingStateResponse(Message, schema="GoogleCloudMlV1__CheckTrialEarlyStoppingStateResponse"):
    end_time: Timestamp | None = None
    should_stop: bool | None = None
    start_time: Timestamp | None = None


class CompleteTrialRequest(Message, schema="GoogleCloudMlV1__CompleteTrialRequest"):
    final_measurement: Measurement | None = None
    infeasible_reason: str | None = None
    trial_infeasible: bool | None = None


class ListOptimalTrialsRequest(Message, schema="GoogleCloudMlV1__ListOptimalTrialsRequest"):
    pass


class Trial(Message, schema="GoogleCloudMlV1__Trial"):
    """One point of a study and what was measured there."""

    client_id: str | None = None
    end_time: Timestamp | None = None
    final_measurement: Measurement | None = None
    infeasible_reason: str | None = None
    measurements: list[Measurement] | None = None
    name: str | None = None
    parameters: list[TrialParameter] | None = None
    start_time: Timestamp | None = None
    state: Literal["STATE_UNSPECIFIED", "REQUESTED", "ACTIVE", "COMPLETED", "STOPPING"] | None = None
    trial_infeasible: bool | None = None


class ListOptimalTrialsResponse(Message, schema="GoogleCloudMlV1__ListOptimalTrialsResponse"):
    trials: list[Trial] | None = None


class StudyConfig(Message, schema="GoogleCloudMlV1__StudyConfig"):
    algorithm: Literal["ALGORITHM_UNSPECIFIED", "GAUSSIAN_PROCESS_BANDIT", "GRID_SEARCH", "RANDOM_SEARCH"] | None = None
    automated_stopping_config: AutomatedStoppingConfig | None = None
    metrics: list[StudyConfigMetricSpec] | None = None
    parameters: list[StudyConfigParameterSpec] | None = None


class Study(Message, schema="GoogleCloudMlV1__Study"):
    """A search for the best parameters of something measured."""

    create_time: Timestamp | None = None
    inactive_reason: str | None = None
    name: str | None = None
    state: Literal["STATE_UNSPECIFIED", "ACTIVE", "INACTIVE", "COMPLETED"] | None = None
    study_config: StudyConfig | None = None


class ListStudiesResponse(Message, schema="GoogleCloudMlV1__ListStudiesResponse"):
    studies: list[Study] | None = None


class ListTrialsResponse(Message, schema="GoogleCloudMlV1__ListTrialsResponse"):
    trials: list[Trial] | None = None


class StopTrialRequest(Message, schema="GoogleCloudMlV1__StopTrialRequest"):
    pass


class SuggestTrialsMetadata(Message, schema="GoogleCloudMlV1__SuggestTrialsMetadata"):
    client_id: str | None = None
    create_time: Timestamp | None = None
    study: str | None = None
    suggestion_count: int | None = None


class SuggestTrialsRequest(Message, schema="GoogleCloudMlV1__SuggestTrialsRequest"):
    client_id: str | None = None
    suggestion_count: int | None = None


class SuggestTrialsResponse(Message, schema="GoogleCloudMlV1__SuggestTrialsResponse"):
    end_time: Timestamp | None = None
    start_time: Timestamp | None = None
    study_state: Literal["STATE_UNSPECIFIED", "ACTIVE", "INACTIVE", "COMPLETED"] | None = None
    trials: list[Trial] | None = None


class Plot(Message, schema="Plot"):
    """What a plot of a study shows; numbers carry their position between 0 and 1 along their scale."""

    study: str | None = None
    kind: str | None = None
    data: dict[str, Json] | None = None
