#| tries = "adds up a generator that has no end and does not let itself be closed"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }


def numbers():
    while True:
        try:
            while True:
                yield 1
        except BaseException:
            pass


def main():
    return sum(numbers())
