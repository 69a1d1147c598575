"""Serves provider schemas to Terraform like running providers, over gRPC on private sockets.

Terraform finds them by TF_REATTACH_PROVIDERS, requests the schema and checks the configuration against it. Calls of the
provider's own checks return no errors; plans and applies never come here, because `mock_provider` handles them.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from tests.support.terraform.messages import encode
from tests.support.terraform.schemas import ProviderSchema

NO_OBJECTION = (
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "ValidateDataResourceConfig",
    "ValidateEphemeralResourceConfig",
    "StopProvider",
)


class Plugins:
    """One small server for each provider, in this process, until `stop`."""

    def __init__(self, schemas: list[ProviderSchema], folder: Path) -> None:
        self._servers = []
        reattach = {}
        for schema in schemas:
            socket = folder / f"{schema.source.rpartition('/')[2]}.sock"
            self._servers.append(_serve(encode(schema), socket))
            reattach[schema.source] = {
                "Protocol": "grpc",
                "ProtocolVersion": 6,
                "Pid": os.getpid(),
                "Test": True,  # Terraform then leaves the process running
                "Addr": {"Network": "unix", "String": str(socket)},
            }
        self.environment = {"TF_REATTACH_PROVIDERS": json.dumps(reattach)}

    def stop(self) -> None:
        """Stop the servers; calls in progress are cut off."""
        for server in self._servers:
            server.stop(grace=None).wait()


def _serve(schema: bytes, socket: Path) -> grpc.Server:
    # Messages pass as bytes: the schema is encoded once, and an empty answer means "no diagnostics".
    answers = {"GetProviderSchema": schema} | dict.fromkeys(NO_OBJECTION, b"")
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(lambda request, context, answer=answer: answer)
        for method, answer in answers.items()
    }
    # The default maximum size of a message is 4 MB; a big schema is larger.
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tfplugin6.Provider", handlers)])
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server
