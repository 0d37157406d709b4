#| tries = "catches every MemoryError and asks for more, again and again"
#| python = "timeout"
#| sandbox = ["timeout", "memory_limit", "task_failed"]
#| limits = { timeout = 3, memory_limit_bytes = 134217728 }


def main():
    hoard = []
    size = 1 << 20
    while True:
        try:
            while True:
                hoard.append(bytearray(size))
        except MemoryError:
            size = max(size // 2, 16)
