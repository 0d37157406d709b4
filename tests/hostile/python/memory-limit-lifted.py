#| tries = "lifts its memory limit, and uses what is above it"
#| python = "memory_limit"
#| sandbox = "memory_limit"
#| limits = { memory_limit_bytes = 134217728 }


def main():
    try:
        import resource

        for limit in (resource.RLIM_INFINITY, 1 << 40, resource.getrlimit(resource.RLIMIT_AS)[1]):
            for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_RSS):
                for pair in ((limit, limit), (resource.getrlimit(kind)[0], limit)):
                    try:
                        resource.setrlimit(kind, pair)
                    except (ValueError, OSError):
                        pass
    except ImportError:
        pass
    return len(bytearray(200 << 20))
