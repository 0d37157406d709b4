#| tries = "never ends"
#| python = "timeout: Task execution timeout"
#| sandbox = "timeout: Task execution timeout"
#| limits = { timeout = 1 }


def main():
    while True:
        pass
