#| tries = "waits for a lock that it holds itself"
#| python = "timeout"
#| sandbox = ["timeout", "task_failed"]
#| limits = { timeout = 1 }

import threading


def main():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
