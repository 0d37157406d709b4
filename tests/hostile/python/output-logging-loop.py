#| tries = "has a log handler that logs, and one that fails"
#| python = ["task_failed: recursion", "output_limit", "ok"]
#| sandbox = ["task_failed", "output_limit", "ok"]
#| limits = { timeout = 20 }

import logging


class Echo(logging.Handler):
    def emit(self, record):
        logging.getLogger().error("again: %s", record.getMessage())


def main():
    logging.getLogger().addHandler(Echo())
    logging.getLogger().error("once")
    return 1
