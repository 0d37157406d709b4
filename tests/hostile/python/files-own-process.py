#| tries = "lifts its restrictions through its own entries of /proc: memory, files that are mapped, scores, limits"
#| needs = ["landlock"]
#| python = "ok []"
#| sandbox = "ok []"

import os


def main():
    reached = []
    for name, mode in (
        ("mem", "r+b"),
        ("mem", "rb"),
        ("oom_score_adj", "r+b"),
        ("oom_adj", "r+b"),
        ("loginuid", "r+b"),
        ("uid_map", "r+b"),
        ("coredump_filter", "r+b"),
        ("clear_refs", "wb"),
        ("attr/current", "wb"),
        ("timens_offsets", "wb"),
    ):
        try:
            with open(f"/proc/self/{name}", mode):
                reached.append(f"{name} {mode}")
        except OSError:
            pass
    for folder in ("map_files", "fd", "root/etc", "cwd/.."):
        try:
            os.listdir(f"/proc/self/{folder}")
            reached.append(folder)
        except OSError:
            pass
    return reached
