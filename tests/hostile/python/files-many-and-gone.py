#| tries = "makes hundreds of thousands of files, and ends its process, so that others wait until they are removed"
#| python = "scratch_limit"
#| sandbox = ["worker_died", "task_failed"]
#| limits = { timeout = 60 }

import os


def main():
    for number in range(400_000):
        if number % 5000 == 0:
            os.mkdir(f"folder-{number // 5000}")
        os.close(os.open(f"folder-{number // 5000}/{number}", os.O_CREAT | os.O_WRONLY))
    os._exit(1)
