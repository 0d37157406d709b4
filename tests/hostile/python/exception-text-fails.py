#| tries = "raises an exception whose text raises, whose class lies about its name, and whose attributes raise"
#| python = "task_failed"
#| sandbox = "task_failed"


class Meta(type):
    def __getattribute__(cls, name):
        if name in ("__name__", "__module__", "__qualname__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Meta):
    def __str__(self):
        raise self

    __repr__ = __str__

    def __getattribute__(self, name):
        raise SystemExit


def main():
    raise Nameless
