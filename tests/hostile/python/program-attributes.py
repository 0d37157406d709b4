#| tries = "is itself a chain of a million attributes"
#| program = { before = "x = main", repeat = ".a", times = 1000000, after = "" }
#| python = ["task_failed", "memory_limit", "worker_died"]
#| sandbox = ["task_failed", "memory_limit", "worker_died"]
#| limits = { timeout = 30 }
