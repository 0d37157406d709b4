#| tries = "raises an exception that never finishes saying what it is"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }


class Endless(Exception):
    def __str__(self):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass

    __repr__ = __str__


def main():
    raise Endless
