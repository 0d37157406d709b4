#| tries = "is itself a number with a hundred thousand signs"
#| program = { before = "x = ", repeat = "-", times = 100000, after = "1" }
#| python = ["task_failed", "memory_limit", "worker_died"]
#| sandbox = ["task_failed", "memory_limit", "worker_died"]
