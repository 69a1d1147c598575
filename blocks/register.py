"""Register the block types and the profile `default` on the server in PREFECT_API_URL."""

import asyncio

from stenopool.orchestration.blocks.profiles import register
from stenopool.orchestration.deploy.server import require_server

if __name__ == "__main__":
    require_server()
    asyncio.run(register())
