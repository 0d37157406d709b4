#| tries = "uses more processor time than it may"
#| python = "cpu_limit: 0.4 seconds"
#| sandbox = "cpu_limit: 0.4 seconds"
#| limits = { cpu_limit_seconds = 0.4, timeout = 20 }


def main():
    while True:
        pass
