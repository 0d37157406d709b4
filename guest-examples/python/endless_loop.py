"""Never ends, to show that a task can be stopped.

    main()               computes for ever
    hungry()             takes memory for ever
    talkative()          prints for ever

Each is stopped at its limit, or at once by Ctrl-C or `potluck cancel`; the peer goes on with other work.

    potluck cpu --file endless_loop.py --timeout 2
    potluck cpu --file endless_loop.py --cpu-limit 1
    potluck cpu --file endless_loop.py --function hungry --memory-limit 256M
    potluck cpu --file endless_loop.py --function talkative --output-limit 64K
"""


def main():
    while True:
        pass


def hungry():
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def talkative():
    while True:
        print("and another thing")
