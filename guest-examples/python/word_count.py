"""Counts the words of a text.

    main(text, top=10)   the most frequent words, as [[word, count], ...], most frequent first
    count(text)          how often everything occurs: {"words": {word: count}, "identifiers": {identifier: count}}
    words(text)          the words, in lower case
    identifiers(text)    the identifiers of a program, as they are written

A word is a run of letters A to Z. An identifier also has digits and underscores, so that the same program counts
prose and source code. The counts of the pieces of a text add up to those of the whole.

    potluck cpu --file word_count.py --args '["to be or not to be", 3]'
"""

import re
from collections import Counter


def words(text):
    return [word.lower() for word in re.findall(r"[A-Za-z]+", text)]


def identifiers(text):
    return re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)


def count(text):
    return {"words": dict(Counter(words(text))), "identifiers": dict(Counter(identifiers(text)))}


def main(text, top=10):
    # Ties are in alphabetical order, so that every machine gives the same answer.
    ranking = sorted(Counter(words(text)).items(), key=lambda item: (-item[1], item[0]))
    return [list(item) for item in ranking[:top]]
