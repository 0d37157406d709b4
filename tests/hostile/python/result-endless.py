#| tries = "returns a mapping that goes on for ever and a list that grows while it is read"
#| python = ["timeout", "memory_limit", "result_unusable", "ok"]
#| sandbox = ["timeout", "memory_limit", "result_unusable", "ok"]
#| limits = { timeout = 3 }


class Endless(dict):
    def items(self):
        number = 0
        while True:
            yield str(number), [self]
            number += 1

    def __iter__(self):
        while True:
            yield "x"


class Growing(list):
    def __iter__(self):
        while True:
            self.append(self)
            yield 1


def main():
    return [Growing([1]), Endless(a=1)]
