#| tries = "starts programs in every way that the library has"
#| needs = ["seccomp"]
#| python = "ok []"
#| sandbox = "ok []"

import os
import subprocess
import sys


def forked(function):
    pid = function()
    pid = pid[0] if isinstance(pid, tuple) else pid
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def main():
    reached = []

    def exec_in_place():
        # Only where it is refused before anything happens: it would end this process.
        os.execv("/nonexistent/program", ["program"])

    attempts = {
        "system": lambda: os.system("true") == 0,
        "popen": lambda: os.popen("echo reached").read() != "",
        "run": lambda: subprocess.run(["true"]).returncode == 0,
        "shell": lambda: subprocess.run("true", shell=True).returncode == 0,
        "spawn": lambda: os.spawnlp(os.P_WAIT, "true", "true") == 0,
        "posix_spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0,
        "fork": lambda: forked(os.fork),
        "forkpty": lambda: forked(os.forkpty),
        "self": lambda: subprocess.run([sys.executable, "-c", ""]).returncode == 0,
    }
    for name, attempt in attempts.items():
        try:
            if attempt():
                reached.append(name)
        except Exception:
            pass
    return reached
