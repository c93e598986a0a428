"""Messages of the Storage v1 API, in Google's field names.

Answers are built as plain JSON objects (`handlers/objects.py` and `buckets.py` store them nearly as they are shown), so
these classes read what clients send and describe both ways. Clients send whole resources back, so a class holds every
field of its resource, also those that only the server sets.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from mlgate.api.messages.message import Bytes, DateTime, Int64, Message, Scalar, UInt64
from mlgate.api.messages.policies import Binding


def _day(value: Any) -> str:
    return date.fromisoformat(str(value)).isoformat()


Date = Annotated[str, Scalar(_day, str, {"type": "string", "format": "date"})]

# --------------------------------------------------------------------------------------------------------- policies


class BucketPolicy(Message, schema="Policy"):
    """Who has which role on a bucket."""

    bindings: list[Binding] | None = None
    etag: Bytes | None = None
    kind: str | None = None
    resource_id: str | None = None
    version: int | None = None


class TestBucketPermissionsResponse(Message, schema="TestIamPermissionsResponse"):
    kind: str | None = None
    permissions: list[str] | None = None


class ProjectTeam(Message):
    project_number: str | None = None
    team: str | None = None


class BucketAccessControl(Message):
    """An entry of a bucket's access control list; this server has policies only."""

    bucket: str | None = None
    domain: str | None = None
    email: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    etag: str | None = None
    id: str | None = None
    kind: str | None = None
    project_team: ProjectTeam | None = None
    role: str | None = None
    self_link: str | None = None


class ObjectAccessControl(Message):
    """An entry of an object's access control list; this server has policies only."""

    bucket: str | None = None
    domain: str | None = None
    email: str | None = None
    entity: str | None = None
    entity_id: str | None = None
    etag: str | None = None
    generation: Int64 | None = None
    id: str | None = None
    kind: str | None = None
    object: str | None = None
    project_team: ProjectTeam | None = None
    role: str | None = None
    self_link: str | None = None


class Owner(Message):
    entity: str | None = None
    entity_id: str | None = None


# ---------------------------------------------------------------------------------------------------------- buckets


class Autoclass(Message):
    enabled: bool | None = None
    terminal_storage_class: str | None = None
    terminal_storage_class_update_time: DateTime | None = None
    toggle_time: DateTime | None = None


class Billing(Message):
    requester_pays: bool | None = None


class Cors(Message):
    max_age_seconds: int | None = None
    method: list[str] | None = None
    origin: list[str] | None = None
    response_header: list[str] | None = None


class CustomPlacement(Message):
    data_locations: list[str] | None = None


class EncryptionEnforcement(Message):
    effective_time: DateTime | None = None
    restriction_mode: str | None = None


class Encryption(Message):
    customer_managed_encryption_enforcement_config: EncryptionEnforcement | None = None
    customer_supplied_encryption_enforcement_config: EncryptionEnforcement | None = None
    default_kms_key_name: str | None = None
    google_managed_encryption_enforcement_config: EncryptionEnforcement | None = None


class HierarchicalNamespace(Message):
    enabled: bool | None = None


class LockedSetting(Message):
    enabled: bool | None = None
    locked_time: DateTime | None = None


class IamConfiguration(Message):
    bucket_policy_only: LockedSetting | None = None
    public_access_prevention: str | None = None
    uniform_bucket_level_access: LockedSetting | None = None


class PublicNetworkSource(Message):
    allowed_ip_cidr_ranges: list[str] | None = None


class VpcNetworkSource(Message):
    allowed_ip_cidr_ranges: list[str] | None = None
    network: str | None = None


class IpFilter(Message):
    allow_all_service_agent_access: bool | None = None
    allow_cross_org_vpcs: bool | None = None
    mode: str | None = None
    public_network_source: PublicNetworkSource | None = None
    vpc_network_sources: list[VpcNetworkSource] | None = None


class LifecycleAction(Message):
    storage_class: str | None = None
    type: str | None = None


class LifecycleCondition(Message):
    age: int | None = None
    created_before: Date | None = None
    custom_time_before: Date | None = None
    days_since_custom_time: int | None = None
    days_since_noncurrent_time: int | None = None
    is_live: bool | None = None
    matches_pattern: str | None = None
    matches_prefix: list[str] | None = None
    matches_storage_class: list[str] | None = None
    matches_suffix: list[str] | None = None
    noncurrent_time_before: Date | None = None
    num_newer_versions: int | None = None
    size_above_bytes: Int64 | None = None
    size_below_bytes: Int64 | None = None


class LifecycleRule(Message):
    action: LifecycleAction | None = None
    condition: LifecycleCondition | None = None


class Lifecycle(Message):
    rule: list[LifecycleRule] | None = None


class Logging(Message):
    log_bucket: str | None = None
    log_object_prefix: str | None = None


class ObjectRetention(Message):
    mode: str | None = None


class RetentionPolicy(Message):
    effective_time: DateTime | None = None
    is_locked: bool | None = None
    retention_period: Int64 | None = None


class HardDeletePause(Message):
    effective_time: DateTime | None = None
    enabled: bool | None = None


class SoftDeletePolicy(Message):
    effective_time: DateTime | None = None
    hard_delete_pause: HardDeletePause | None = None
    retention_duration_seconds: Int64 | None = None


class Versioning(Message):
    enabled: bool | None = None


class Website(Message):
    main_page_suffix: str | None = None
    not_found_page: str | None = None


class Bucket(Message, wire_names={"satisfies_pzi": "satisfiesPZI", "satisfies_pzs": "satisfiesPZS"}):
    """A place for objects; it belongs to one project and has a policy of its own."""

    acl: list[BucketAccessControl] | None = None
    autoclass: Autoclass | None = None
    billing: Billing | None = None
    cors: list[Cors] | None = None
    custom_placement_config: CustomPlacement | None = None
    default_event_based_hold: bool | None = None
    default_object_acl: list[ObjectAccessControl] | None = None
    encryption: Encryption | None = None
    etag: str | None = None
    generation: Int64 | None = None
    hard_delete_time: DateTime | None = None
    hierarchical_namespace: HierarchicalNamespace | None = None
    iam_configuration: IamConfiguration | None = None
    id: str | None = None
    ip_filter: IpFilter | None = None
    kind: str | None = None
    labels: dict[str, str] | None = None
    lifecycle: Lifecycle | None = None
    location: str | None = None
    location_type: str | None = None
    logging: Logging | None = None
    metageneration: Int64 | None = None
    name: str | None = None
    object_retention: ObjectRetention | None = None
    owner: Owner | None = None
    project_number: UInt64 | None = None
    retention_policy: RetentionPolicy | None = None
    rpo: str | None = None
    satisfies_pzi: bool | None = None
    satisfies_pzs: bool | None = None
    self_link: str | None = None
    soft_delete_policy: SoftDeletePolicy | None = None
    soft_delete_time: DateTime | None = None
    storage_class: str | None = None
    time_created: DateTime | None = None
    updated: DateTime | None = None
    versioning: Versioning | None = None
    website: Website | None = None


class Buckets(Message):
    items: list[Bucket] | None = None
    kind: str | None = None
    next_page_token: str | None = None
    unreachable: list[str] | None = None


# ---------------------------------------------------------------------------------------------------------- objects


class ObjectCustomContextPayload(Message):
    create_time: DateTime | None = None
    extended_data_type_url: str | None = None
    update_time: DateTime | None = None
    value: str | None = None


class Contexts(Message):
    custom: dict[str, ObjectCustomContextPayload] | None = None


class CustomerEncryption(Message, wire_names={"key_sha256": "keySha256"}):
    encryption_algorithm: str | None = None
    key_sha256: str | None = None


class Retention(Message):
    mode: str | None = None
    retain_until_time: DateTime | None = None


class Object(Message):
    """Bytes under a name in a bucket. A new generation replaces the old one, which is not kept."""

    acl: list[ObjectAccessControl] | None = None
    bucket: str | None = None
    cache_control: str | None = None
    component_count: int | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    content_type: str | None = None
    contexts: Contexts | None = None
    crc32c: str | None = None
    custom_time: DateTime | None = None
    customer_encryption: CustomerEncryption | None = None
    etag: str | None = None
    event_based_hold: bool | None = None
    generation: Int64 | None = None
    hard_delete_time: DateTime | None = None
    id: str | None = None
    kind: str | None = None
    kms_key_name: str | None = None
    md5_hash: str | None = None
    media_link: str | None = None
    metadata: dict[str, str] | None = None
    metageneration: Int64 | None = None
    name: str | None = None
    owner: Owner | None = None
    restore_token: str | None = None
    retention: Retention | None = None
    retention_expiration_time: DateTime | None = None
    self_link: str | None = None
    size: UInt64 | None = None
    soft_delete_time: DateTime | None = None
    storage_class: str | None = None
    temporary_hold: bool | None = None
    time_created: DateTime | None = None
    time_deleted: DateTime | None = None
    time_finalized: DateTime | None = None
    time_storage_class_updated: DateTime | None = None
    updated: DateTime | None = None


class Objects(Message):
    items: list[Object] | None = None
    kind: str | None = None
    next_page_token: str | None = None
    prefixes: list[str] | None = None


class RewriteResponse(Message):
    done: bool | None = None
    kind: str | None = None
    object_size: Int64 | None = None
    resource: Object | None = None
    rewrite_token: str | None = None
    total_bytes_rewritten: Int64 | None = None


class SourcePreconditions(Message):
    if_generation_match: Int64 | None = None


class SourceObject(Message):
    generation: Int64 | None = None
    name: str | None = None
    object_preconditions: SourcePreconditions | None = None


class ComposeRequest(Message):
    delete_source_objects: bool | None = None
    destination: Object | None = None
    kind: str | None = None
    source_objects: list[SourceObject] | None = None


class ProjectServiceAccount(Message, schema="ServiceAccount", wire_names={"email_address": "email_address"}):
    email_address: str | None = None
    kind: str | None = None
