#| tries = "returns a hundred megabytes"
#| python = ["result_unusable: over the limit", "memory_limit"]
#| sandbox = ["result_unusable: over the limit", "memory_limit"]
#| limits = { timeout = 30 }


def main():
    return "\x01" * (100 << 20)
