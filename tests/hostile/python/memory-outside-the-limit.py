#| tries = "keeps data where the limit on addresses does not count it: files in memory, pipes, shared mappings"
#| python = "ok true"
#| sandbox = "ok true"
#| limits = { timeout = 20, memory_limit_bytes = 134217728 }

BLOCK = bytes(1 << 20)


def main():
    import os

    # Bounded to twice what the task may have.
    kept, bytes_kept = [], 0
    try:
        for number in range(8):
            descriptor = os.memfd_create(f"hoard-{number}")
            kept.append(descriptor)
            for _ in range(32):
                bytes_kept += os.write(descriptor, BLOCK)
    except Exception:
        pass
    try:
        while bytes_kept < 256 << 20:
            reading, writing = os.pipe()
            kept += [reading, writing]
            os.set_blocking(writing, False)
            bytes_kept += os.write(writing, BLOCK)
    except Exception:
        pass
    return bytes_kept <= 160 << 20
