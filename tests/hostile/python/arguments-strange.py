#| tries = "is called with halves of characters, NUL, numbers of a thousand digits, keys that are there twice"
#| args_text = { before = "[\"\\ud800\\u0000\", {\"a\": 1, \"a\": 2, \"__proto__\": 1}, -0.0, 1e999, ", repeat = "9", times = 1000, closing = "", after = "]" }
#| python = ["ok", "result_unusable"]
#| sandbox = ["ok", "result_unusable"]


def main(*args):
    return args
