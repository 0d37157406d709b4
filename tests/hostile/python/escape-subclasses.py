#| tries = "finds a way out among the classes that the interpreter knows: Popen, modules in globals of methods"
#| python = "ok []"
#| sandbox = "ok []"

NAMES = ("system", "popen", "execv", "execve", "fork", "forkpty", "posix_spawn", "spawnv")


def classes():
    seen, unseen = set(), [object]
    while unseen:
        cls = unseen.pop()
        if cls not in seen:
            seen.add(cls)
            unseen.extend(type.__subclasses__(cls))
    return seen


def main():
    reached = []
    for cls in classes():
        if cls.__name__ == "Popen":
            try:
                cls(["true"]).wait()
                reached.append("Popen")
            except Exception:
                pass
        names = getattr(getattr(cls, "__init__", None), "__globals__", {})
        system = names.get("system")
        if callable(system) and not isinstance(system, type):
            try:
                if system("true") == 0:
                    reached.append(f"system of {names['__name__']}")
            except Exception:
                pass
    return reached
