#| tries = "catches every exception, so that nothing interrupts it"
#| python = "timeout"
#| sandbox = "timeout"
#| limits = { timeout = 1 }


def main():
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
