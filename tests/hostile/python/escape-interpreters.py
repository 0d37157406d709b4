#| tries = "loops in an interpreter within the interpreter"
#| python = ["timeout", "task_failed"]
#| sandbox = ["timeout", "task_failed"]
#| limits = { timeout = 2 }

LOOP = "while True:\n try:\n  while True: pass\n except BaseException: pass"


def main():
    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    another = interpreters.create()
    if hasattr(interpreters, "run_string"):
        interpreters.run_string(another, LOOP)
    else:
        interpreters.exec(another, LOOP)
    return "ended"
