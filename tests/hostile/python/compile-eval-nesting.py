#| tries = "evaluates texts that evaluate texts that evaluate texts"
#| python = "task_failed"
#| sandbox = ["task_failed", "memory_limit"]
#| limits = { timeout = 20 }


def main():
    source = "eval(source)"
    return eval(source, {"source": source})
