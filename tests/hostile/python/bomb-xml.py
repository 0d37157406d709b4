#| tries = "parses a billion laughs, and entities that name files"
#| python = ["task_failed", "memory_limit"]
#| sandbox = ["task_failed", "memory_limit"]
#| limits = { timeout = 20 }

import xml.etree.ElementTree


def main():
    entities = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    return len(xml.etree.ElementTree.fromstring(f"<!DOCTYPE x [{entities}]><x>&a11;</x>").text)
