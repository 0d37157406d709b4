#| tries = "writes outside its folder: temporary folders, the installation, the node's data, the worker's own library"
#| args = ["$data", "$canary"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import sys
import sysconfig


def main(data, canary):
    folders = ["/tmp", "/var/tmp", "/dev/shm", "/", "/etc", "/root", "/usr/lib", "/run", "..", "../..", data, canary]
    folders += [path for path in sysconfig.get_paths().values()] if sys.platform == "linux" else []
    folders += [os.path.dirname(getattr(module, "__file__", None) or "/nowhere/x") for module in list(sys.modules.values())]
    reached = []
    for folder in dict.fromkeys(folders):
        path = os.path.join(folder, "potluck-hostile-corpus-was-here")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except OSError:
            continue
        os.close(descriptor)
        os.unlink(path)
        reached.append(folder)
    # Opened only: what can be opened for writing is not written to.
    worker = getattr(sys.modules.get("potluck_worker"), "__file__", None)
    for path in (f"{canary}/secret.txt", f"{data}/identity.key", f"{data}/peer_id.txt", sys.executable, os.__file__, worker):
        try:
            os.close(os.open(path, os.O_WRONLY))
            reached.append(path)
        except (OSError, TypeError):
            pass
    return reached
