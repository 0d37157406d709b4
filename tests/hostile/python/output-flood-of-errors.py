#| tries = "prints to standard error without end, through warnings and logs"
#| python = "output_limit"
#| sandbox = "output_limit"
#| limits = { timeout = 20 }

import itertools
import logging
import warnings


def main():
    warnings.simplefilter("always")
    for number in itertools.count():
        warnings.warn(f"{number} " + "w" * 1000, stacklevel=1)
        logging.getLogger(f"logger.{number % 10}").error("e" * 1000)
