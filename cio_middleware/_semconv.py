"""
What we call ourselves in telemetry, and the names of attributes, in one place.

From OpenTelemetry's semantic conventions 1.44.0 (messaging: development; HTTP, server, error: stable). Written out here
because the package that holds them is a beta pinned to the SDK.
"""

from __future__ import annotations

SCOPE = "cio_middleware"
VERSION = "0.1.0"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
BATCH_COUNT = "messaging.batch.message_count"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_METHOD = "http.request.method"
HTTP_STATUS = "http.response.status_code"
HTTP_RESENDS = "http.request.resend_count"
URL_FULL = "url.full"
URL_TEMPLATE = "url.template"
ERROR_TYPE = "error.type"

EVENT_TYPE = "customerio.event.type"
EVENT_NAME = "customerio.event.name"
REGION = "customerio.region"
BACKEND = "customerio.backend"
RETRIES = "customerio.retry.count"
DROPPED = "customerio.dropped.count"
LINKS_DROPPED = "customerio.links.dropped"
