#| tries = "prints without end"
#| python = "output_limit"
#| sandbox = "output_limit"
#| limits = { timeout = 20 }


def main():
    while True:
        print("x" * 10_000)
