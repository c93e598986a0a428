"""Messages of cloudidentity v1: groups and who is in them."""

from __future__ import annotations

from typing import Literal

from mlgate.api.messages.message import FieldMask, Message, Timestamp

RelationType = Literal["RELATION_TYPE_UNSPECIFIED", "DIRECT", "INDIRECT", "DIRECT_AND_INDIRECT"]


class EntityKey(Message):
    """An address. Groups of other identity sources, which have a namespace, are not on this server."""

    id: str | None = None
    namespace: str | None = None


class DynamicGroupQuery(Message):
    query: str | None = None
    resource_type: Literal["RESOURCE_TYPE_UNSPECIFIED", "USER"] | None = None


class DynamicGroupMetadata(Message):
    queries: list[DynamicGroupQuery] | None = None


class ExternalId(Message):
    id: str | None = None
    namespace: str | None = None


class Group(Message):
    create_time: Timestamp | None = None
    description: str | None = None
    display_name: str | None = None
    dynamic_group_metadata: DynamicGroupMetadata | None = None
    external_ids: list[ExternalId] | None = None
    group_key: EntityKey | None = None
    labels: dict[str, str] | None = None
    name: str | None = None
    parent: str | None = None
    update_time: Timestamp | None = None


class ListGroupsResponse(Message):
    groups: list[Group] | None = None
    next_page_token: str | None = None


class SearchGroupsResponse(Message):
    groups: list[Group] | None = None
    next_page_token: str | None = None


class LookupGroupNameResponse(Message):
    name: str | None = None


class ExpiryDetail(Message):
    expire_time: Timestamp | None = None


class MembershipRole(Message):
    """What a member is: MEMBER (everybody in the group), and MANAGER or OWNER beside it."""

    expiry_detail: ExpiryDetail | None = None
    name: str | None = None


class Membership(Message):
    create_time: Timestamp | None = None
    name: str | None = None
    preferred_member_key: EntityKey | None = None
    roles: list[MembershipRole] | None = None
    type: (
        Literal[
            "TYPE_UNSPECIFIED",
            "USER",
            "SERVICE_ACCOUNT",
            "GROUP",
            "SHARED_DRIVE",
            "CBCM_BROWSER",
            "CHROME_OS_DEVICE",
            "PERSONAL_AGENT",
            "COWORKER_AGENT",
            "OTHER",
        ]
        | None
    ) = None
    update_time: Timestamp | None = None


class ListMembershipsResponse(Message):
    memberships: list[Membership] | None = None
    next_page_token: str | None = None


class LookupMembershipNameResponse(Message):
    name: str | None = None


class UpdateMembershipRolesParams(Message):
    field_mask: FieldMask | None = None
    membership_role: MembershipRole | None = None


class ModifyMembershipRolesRequest(Message):
    add_roles: list[MembershipRole] | None = None
    remove_roles: list[str] | None = None
    update_roles_params: list[UpdateMembershipRolesParams] | None = None


class ModifyMembershipRolesResponse(Message):
    membership: Membership | None = None


class CheckTransitiveMembershipResponse(Message):
    has_membership: bool | None = None


class TransitiveMembershipRole(Message):
    role: str | None = None


class GroupRelation(Message):
    """A group around a member, and how the member is in it."""

    display_name: str | None = None
    group: str | None = None
    group_key: EntityKey | None = None
    labels: dict[str, str] | None = None
    relation_type: RelationType | None = None
    roles: list[TransitiveMembershipRole] | None = None


class SearchTransitiveGroupsResponse(Message):
    memberships: list[GroupRelation] | None = None
    next_page_token: str | None = None


class MemberRelation(Message):
    """A member of a group, and how it is in it."""

    member: str | None = None
    preferred_member_key: list[EntityKey] | None = None
    relation_type: RelationType | None = None
    roles: list[TransitiveMembershipRole] | None = None


class SearchTransitiveMembershipsResponse(Message):
    memberships: list[MemberRelation] | None = None
    next_page_token: str | None = None


class MembershipRelation(Message):
    """A group that holds a member directly."""

    description: str | None = None
    display_name: str | None = None
    group: str | None = None
    group_key: EntityKey | None = None
    labels: dict[str, str] | None = None
    membership: str | None = None
    roles: list[MembershipRole] | None = None


class SearchDirectGroupsResponse(Message):
    memberships: list[MembershipRelation] | None = None
    next_page_token: str | None = None
