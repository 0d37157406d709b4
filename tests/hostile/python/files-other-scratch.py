#| tries = "looks into the folders of other tasks, and writes there"
#| args = ["$data"]
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main(data):
    reached = []
    try:
        own = os.path.realpath(".")
    except OSError:
        own = ""
    for number in range(500):
        for folder in (f"../worker-{number}", f"{data}/providers/cpu/scratch/worker-{number}"):
            if os.path.realpath(folder) == own:
                continue
            for name, function in (
                ("list", lambda: os.listdir(folder)),
                ("enter", lambda: os.chdir(folder)),
                ("write", lambda: open(f"{folder}/planted.txt", "w").close()),
            ):
                try:
                    function()
                except OSError:
                    continue
                if name == "enter":
                    # Entering alone shows nothing.
                    try:
                        os.listdir(".")
                        open("planted.txt", "w").close()
                    except OSError:
                        os.chdir(own)
                        continue
                reached.append(f"{name} {folder}")
    return reached
