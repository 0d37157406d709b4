#| tries = "has coroutines that refuse to be cancelled and start others"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["timeout", "memory_limit"]
#| limits = { timeout = 2 }

import asyncio


async def immortal():
    while True:
        try:
            await asyncio.sleep(0)
        except BaseException:
            asyncio.ensure_future(immortal())


def main():
    async def all_of_them():
        tasks = [asyncio.ensure_future(immortal()) for _ in range(10)]
        # One that was never begun would end with its cancellation.
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of_them())
