#| tries = "replaces the JSON functions, so that results and arguments of others are forged"
#| python = "ok 1"
#| sandbox = "ok 1"

import json
import json.decoder
import json.encoder


def forged(*args, **kwargs):
    return '"forged"'


def main():
    for module in (json, json.encoder, json.decoder):
        for name in list(vars(module)):
            if callable(vars(module)[name]):
                setattr(module, name, forged)
    return 1
