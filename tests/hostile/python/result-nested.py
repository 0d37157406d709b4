#| tries = "returns lists that are nested a hundred thousand deep"
#| python = "result_unusable: recursion"
#| sandbox = ["result_unusable", "task_failed"]


def main():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested
