#| tries = "takes more memory than there are addresses, in one piece, in many ways"
#| python = "ok []"
#| sandbox = "ok []"
#| limits = { timeout = 20 }

import array
import io
import itertools
import struct


def main():
    got = []
    huge = (1 << 40) if struct.calcsize("P") == 8 else (1 << 31) - 64
    for name, function in (
        ("bytes", lambda: bytes(huge)),
        ("bytearray", lambda: bytearray(huge)),
        ("list", lambda: [0] * (huge // 4)),
        ("text", lambda: "x" * huge),
        ("tuple", lambda: (None,) * (huge // 4)),
        ("array", lambda: array.array("d", [0.0]) * (huge // 8)),
        ("ljust", lambda: "x".ljust(huge)),
        ("percent", lambda: "%*d" % (huge, 1)),
        ("format", lambda: f"{1:{huge}}"),
        ("expandtabs", lambda: "\t".expandtabs(huge)),
        ("replace", lambda: ("x" * 100_000).replace("x", "y" * 100_000)),
        ("join", lambda: ("x" * 100_000).join(["y"] * 100_000)),
        ("product", lambda: list(itertools.product(range(1000), repeat=4))),
        ("seek", lambda: io.BytesIO().truncate(0) or (stream := io.BytesIO()).seek(huge) and stream.write(b"x")),
        ("shift", lambda: 1 << (huge * 8 if huge < 1 << 32 else huge)),
    ):
        try:
            function()
            got.append(name)
        except (MemoryError, OverflowError, ValueError):
            pass
    return got
