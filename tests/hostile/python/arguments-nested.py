#| tries = "is called with arguments that are nested a million deep"
#| args_text = { before = "[", repeat = "[", times = 1000000, closing = "]", after = "]" }
#| python = "task_failed: recursion"
#| sandbox = "task_failed"


def main(*args):
    return 1
