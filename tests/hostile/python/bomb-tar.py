#| tries = "extracts an archive to its folder: a huge sparse file, absolute paths, links, devices, `..`"
#| args = ["$canary"]
#| python = "ok []"
#| sandbox = "ok []"
#| limits = { timeout = 20 }

import io
import os
import tarfile


def main(canary):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, target in (
            (f"{canary}/planted.txt", tarfile.REGTYPE, ""),
            ("../planted.txt", tarfile.REGTYPE, ""),
            ("a/../../planted.txt", tarfile.REGTYPE, ""),
            ("link", tarfile.SYMTYPE, canary),
            ("link/planted.txt", tarfile.REGTYPE, ""),
            ("hard", tarfile.LNKTYPE, f"{canary}/secret.txt"),
            ("device", tarfile.CHRTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
    reached = []
    for filtered in (True, False):
        stream.seek(0)
        with tarfile.open(fileobj=stream) as archive:
            for entry in archive.getmembers():
                try:
                    options = {"filter": "fully_trusted"} if filtered and hasattr(tarfile, "fully_trusted_filter") else {}
                    archive.extract(entry, ".", **options)
                except Exception:
                    pass
    for path in (f"{canary}/planted.txt", "../planted.txt", "link/planted.txt"):
        try:
            os.stat(path)
            reached.append(path)
        except OSError:
            pass
    return reached
