"""Instance and databases on the Spanner emulator, by explicit address: no environment variable is needed."""

from __future__ import annotations

from collections.abc import Sequence

from google.api_core.exceptions import AlreadyExists
from google.cloud.spanner_admin_database_v1 import DatabaseAdminClient
from google.cloud.spanner_admin_database_v1.services.database_admin.transports import DatabaseAdminGrpcTransport
from google.cloud.spanner_admin_instance_v1 import Instance, InstanceAdminClient
from google.cloud.spanner_admin_instance_v1.services.instance_admin.transports import InstanceAdminGrpcTransport

from shared.gateways.channels import loopback_channel

_DDL_TIMEOUT_S = 60


def create_instance(*, address: str, project_id: str, instance_id: str) -> None:
    """Create the instance; one that is there already is fine."""
    with loopback_channel(address) as channel:
        admin = InstanceAdminClient(transport=InstanceAdminGrpcTransport(channel=channel))
        project = f"projects/{project_id}"
        instance = Instance(
            config=f"{project}/instanceConfigs/emulator-config", display_name=instance_id[:30], node_count=1
        )
        try:
            admin.create_instance(parent=project, instance_id=instance_id, instance=instance).result(_DDL_TIMEOUT_S)
        except AlreadyExists:
            return


def create_database(
    *, address: str, project_id: str, instance_id: str, database_id: str, ddl: Sequence[str] = ()
) -> None:
    """Create the database with its tables; one that is there already is left as it is."""
    with loopback_channel(address) as channel:
        admin = DatabaseAdminClient(transport=DatabaseAdminGrpcTransport(channel=channel))
        request = {
            "parent": f"projects/{project_id}/instances/{instance_id}",
            "create_statement": f"CREATE DATABASE `{database_id}`",
            "extra_statements": list(ddl),
        }
        try:
            admin.create_database(request=request).result(_DDL_TIMEOUT_S)
        except AlreadyExists:
            return


def database_ddl(*, address: str, project_id: str, instance_id: str, database_id: str) -> tuple[str, ...]:
    """The statements that would make the database as it is now, parents before children."""
    with loopback_channel(address) as channel:
        admin = DatabaseAdminClient(transport=DatabaseAdminGrpcTransport(channel=channel))
        name = f"projects/{project_id}/instances/{instance_id}/databases/{database_id}"
        return tuple(admin.get_database_ddl(database=name).statements)


def drop_database(*, address: str, project_id: str, instance_id: str, database_id: str) -> None:
    """The emulator allows 100 databases for each instance; tests give theirs back."""
    with loopback_channel(address) as channel:
        admin = DatabaseAdminClient(transport=DatabaseAdminGrpcTransport(channel=channel))
        admin.drop_database(database=f"projects/{project_id}/instances/{instance_id}/databases/{database_id}")
