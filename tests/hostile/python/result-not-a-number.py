#| tries = "returns numbers that JSON does not have"
#| python = "result_unusable: NaN or infinity"
#| sandbox = "result_unusable: NaN or infinity"


def main():
    return [float("nan"), float("inf"), -float("inf")]
