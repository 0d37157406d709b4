#| tries = "asks for a function by a name that leads elsewhere"
#| function = "__builtins__"
#| python = "task_failed"
#| sandbox = "task_failed"


def main():
    return 1
