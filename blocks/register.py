"""Register the block types and the profile `default` , on the server that PREFECT_API_URL names."""

import asyncio

from stenopool.orchestration.blocks.profiles import register
from stenopool.orchestration.deploy.server import require_server

if __name__ == "__main__":
    require_server()
    asyncio.run(register())
