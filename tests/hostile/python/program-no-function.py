#| tries = "has something in place of its function that answers every question and loops when it is called"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }


class Anything:
    def __getattribute__(self, name):
        return self

    def __call__(self, *args):
        while True:
            pass


main = Anything()
