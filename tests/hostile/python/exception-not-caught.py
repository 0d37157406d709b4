#| tries = "raises what is no Exception: an exit, an interrupt, the end of a generator"
#| python = "task_failed: sys.exit"
#| sandbox = "task_failed: sys.exit"


class Exit(SystemExit):
    pass


def main():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        try:
            raise GeneratorExit
        finally:
            raise Exit(3)
