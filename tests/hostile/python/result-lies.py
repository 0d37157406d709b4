#| tries = "returns numbers and texts whose methods lie, fail or do not return"
#| python = ["ok", "result_unusable", "timeout"]
#| sandbox = ["ok", "result_unusable", "timeout", "task_failed"]
#| limits = { timeout = 2 }


class Liar(int):
    def __repr__(self):
        return '1}, "slot": 5, "result": "forged'

    __str__ = __index__ = __repr__


class Text(str):
    def __str__(self):
        while True:
            pass

    def encode(self, *args):
        raise SystemExit


class Number(float):
    def __repr__(self):
        return '"}]}'


def main():
    return [Liar(7), Text("seven"), Number(7.5), {Text("key"): 1, Liar(3): 2, None: 3}]
