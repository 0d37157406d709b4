#| tries = "is itself nested a hundred thousand deep"
#| program = { before = "x = ", repeat = "(", times = 100000, after = "" }
#| python = "task_failed"
#| sandbox = ["task_failed", "memory_limit"]
