#| tries = "returns a list that holds itself"
#| python = "result_unusable: Circular"
#| sandbox = "result_unusable: Circular"


def main():
    circle = {}
    circle["self"] = [circle]
    return circle
