#| tries = "ends its own process without an answer"
#| python = "worker_died: exit code 0"
#| sandbox = "worker_died: exit code 0"

import os


def main():
    os._exit(0)
