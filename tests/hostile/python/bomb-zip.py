#| tries = "reads a zip file whose entries all are the same bytes, and says of each that it is huge"
#| python = ["memory_limit", "task_failed", "timeout"]
#| sandbox = ["memory_limit", "task_failed", "timeout"]
#| limits = { timeout = 10 }

import io
import zipfile


def main():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("bomb", "w") as entry:
            for _ in range(64):
                entry.write(bytes(1 << 20))
        for number in range(10_000):
            twin = zipfile.ZipInfo(f"twin-{number}")
            twin.header_offset, twin.compress_type = archive.infolist()[0].header_offset, zipfile.ZIP_DEFLATED
            twin.compress_size, twin.file_size = archive.infolist()[0].compress_size, 64 << 20
            twin.CRC = archive.infolist()[0].CRC
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    archive = zipfile.ZipFile(stream)
    kept = [archive.open(name).read() if name == "bomb" else archive.read(name) for name in archive.namelist()]
    return sum(map(len, kept))
