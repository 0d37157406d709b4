#| tries = "looks through all objects for what the tasks of others have left in the interpreter"
#| python = "ok []"
#| sandbox = "ok []"

import gc


def main():
    # Not as a constant, which would find itself.
    word = "-".join(("honest", "argument"))
    found = set()
    for thing in gc.get_objects():
        try:
            for part in thing if isinstance(thing, (list, tuple, set)) else vars(thing).values():
                if isinstance(part, str) and word in part:
                    found.add(part[:40])
        except Exception:
            pass
    return sorted(found)
