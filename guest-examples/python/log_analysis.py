"""Summarizes the access log of a web server (common or combined log format).

    main(lines, top=5)    summary of the log; lines is a list of lines or one text
    merge(summaries)      one summary out of many, when the log was cut into pieces

To merge, ask for enough of the top lists: main(lines, top=1000). A log is soon too long for a command
line; a batch takes it from a file:

    potluck cpu --file log_analysis.py --args "$(tail -n 100 access.log | jq -R -s '[.]')"
    jq -R -s -c '{args: [.]}' access.log | potluck batch - --file log_analysis.py
"""

import re
from collections import Counter

LINE = re.compile(
    r'(?P<host>\S+) \S+ \S+ \[(?P<day>[^:\]]+):(?P<hour>\d\d)[^\]]*\] '
    r'"(?P<method>[A-Z]+) (?P<path>\S+)[^"]*" (?P<status>\d{3}) (?P<size>\d+|-)'
)


def main(lines, top=5):
    if isinstance(lines, str):
        lines = lines.splitlines()
    statuses, paths, hosts, hours = Counter(), Counter(), Counter(), Counter()
    requests = unreadable = size_bytes = 0
    for line in lines:
        match = LINE.match(line)
        if match is None:
            # Logs hold half-written lines and worse; they are counted, not fatal.
            unreadable += bool(line.strip())
            continue
        requests += 1
        statuses[match["status"]] += 1
        # A query string would make a page of every visit.
        paths[match["path"].split("?")[0]] += 1
        hosts[match["host"]] += 1
        hours[match["hour"]] += 1
        size_bytes += 0 if match["size"] == "-" else int(match["size"])
    return {
        "requests": requests,
        "unreadable_lines": unreadable,
        "size_bytes": size_bytes,
        "statuses": dict(sorted(statuses.items())),
        "hours": dict(sorted(hours.items())),
        "paths": ranking(paths, top),
        "hosts": ranking(hosts, top),
    }


def ranking(counts, top):
    """The most frequent first; ties in alphabetical order, so that every machine gives the same answer."""
    return [list(item) for item in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top]]


def merge(summaries, top=5):
    names = ("requests", "unreadable_lines", "size_bytes")
    total = {name: sum(summary[name] for summary in summaries) for name in names}
    for name in ("statuses", "hours"):
        counts = Counter()
        for summary in summaries:
            counts.update(summary[name])
        total[name] = dict(sorted(counts.items()))
    for name in ("paths", "hosts"):
        counts = Counter()
        for summary in summaries:
            counts.update(dict(summary[name]))
        total[name] = ranking(counts, top)
    return total
