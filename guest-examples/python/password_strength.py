"""Judges passwords without storing or printing them.

    main(password)      {"bits": ..., "verdict": ..., "advice": [...]}
    judge(passwords)    the same for a list, in its order

The bits say how many guesses an attacker needs who knows how people choose: common words, years, runs of the
keyboard and repeated characters count little. It is an estimate and no promise.

Keep such work at home: `--confidential` runs it on this node alone, and no other peer or tracker learns of it.

    potluck cpu --file password_strength.py --args '["correct horse battery staple"]' --confidential
"""

import math
import re

COMMON = ("password", "passwort", "qwerty", "letmein", "welcome", "admin", "dragon", "monkey", "iloveyou", "secret")
ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm")

# Letters that people replace by digits and signs, which attackers know as well.
LEET = str.maketrans("@430!1$57", "aaeoiisst")

# A word out of a list of 7776, as in Diceware.
BITS_PER_WORD = math.log2(7776)

CLASSES = ((r"[a-z]", 26), (r"[A-Z]", 26), (r"[0-9]", 10), (r"[ -/:-@\[-`{-~]", 33), (r"[^ -~]", 100))


def main(password):
    advice = []
    length = effective_length(password, advice)
    alphabet = sum(size for pattern, size in CLASSES if re.search(pattern, password))
    bits = length * math.log2(alphabet) if alphabet else 0.0
    if re.fullmatch(r"[A-Za-z]+([ .-][A-Za-z]+)+", password):
        # A sentence is guessed word by word.
        bits = min(bits, len(re.split(r"[ .-]", password)) * BITS_PER_WORD)
    bits = round(bits, 1)
    if len(password) < 12:
        advice.append("use at least 12 characters")
    return {"bits": bits, "verdict": verdict(bits), "advice": advice}


def judge(passwords):
    return [main(password) for password in passwords]


def effective_length(password, advice):
    """The length, less what is easy to guess."""
    text = password.lower()
    length = float(len(password))
    for word in COMMON:
        if word in text.translate(LEET):
            advice.append("leave common passwords out")
            length -= len(word) - 1
            break
    run = longest_run(text)
    if run >= 4:
        advice.append("leave runs of the alphabet and the keyboard out")
        length -= run - 1
    if re.search(r"(19|20)\d\d", text):
        advice.append("leave years out")
        length -= 2
    repeated = sum(len(match[0]) - 1 for match in re.finditer(r"(.)\1{2,}", text))
    if repeated:
        advice.append("do not repeat characters")
        length -= repeated
    return max(length, 1.0 if password else 0.0)


def longest_run(text):
    longest = 0
    for row in ROWS:
        for line in (row, row[::-1]):
            for start in range(len(text)):
                end = start + longest + 1
                while end <= len(text) and text[start:end] in line:
                    longest = end - start
                    end += 1
    return longest


def verdict(bits):
    for limit, word in ((40, "weak"), (60, "fair"), (80, "good")):
        if bits < limit:
            return word
    return "strong"
