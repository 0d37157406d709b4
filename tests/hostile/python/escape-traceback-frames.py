#| tries = "gets at the worker's frames through the traceback of an exception and through generators"
#| python = "ok []"
#| sandbox = "ok []"

import sys


def main():
    reached = []
    try:
        raise ValueError
    except ValueError as error:
        frame = error.__traceback__.tb_frame
    generator = (sys._getframe() for _ in [0])
    for frame in (frame, next(generator)):
        while frame is not None:
            for name in ("socket", "claims", "secret", "identity", "token"):
                if name in frame.f_locals or (name in frame.f_globals and frame.f_globals is not globals()):
                    reached.append(name)
            frame = frame.f_back
    return reached
