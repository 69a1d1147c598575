"""Register the block types and the profile `default` , on the server that PREFECT_API_URL names."""

import asyncio

from stenopool.orchestration.blocks.profiles import register

if __name__ == "__main__":
    asyncio.run(register())
