#| tries = "computes an integer with hundreds of millions of digits, in one operation"
#| python = ["timeout", "memory_limit"]
#| sandbox = ["timeout", "memory_limit"]
#| limits = { timeout = 1 }


def main():
    return 7 ** 10**9 % 10
