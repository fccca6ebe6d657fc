"""A local sandbox tenant of the Intune Data Warehouse: real HTTP on loopback, deterministic data, faults on demand.

with Sandbox(TenantConfig(devices=50)) as sandbox:
    requests.get(sandbox.feed_url, headers={"Authorization": "Bearer any"})
"""

from intune_dw_cli.sandbox.config import GraphConfig, ServerConfig, TenantConfig
from intune_dw_cli.sandbox.faults import Fault
from intune_dw_cli.sandbox.server import RecordedRequest, Sandbox
from intune_dw_cli.sandbox.tenant import Tenant

__all__ = ["Fault", "GraphConfig", "RecordedRequest", "Sandbox", "ServerConfig", "Tenant", "TenantConfig"]
