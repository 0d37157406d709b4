#| tries = "raises an exception whose name is a megabyte of control characters, and notes that are no texts"
#| python = "task_failed"
#| sandbox = "task_failed"


def main():
    error = type("\x1b[31m\n\"" + "\u202e" * (1 << 20), (Exception,), {})("\x00\x1b[2J\ud800")
    error.__notes__ = [b"bytes", 7, object(), "\ud800" * 1000]
    error.__cause__ = error.__context__ = None
    raise error
