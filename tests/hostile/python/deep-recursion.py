#| tries = "calls itself for ever"
#| python = "task_failed: recursion"
#| sandbox = "task_failed"


def main():
    return main()
