"""What stands before or after the numbers of a column: money, and measures."""

from __future__ import annotations

import re

_MONEY = """€ $ £ ¥ ₹ ₽ ₩ ₺ ₴ ₫ zł kr kr. lei Ft Kč R$ US$ CHF EUR USD GBP JPY CNY RMB INR RUB KRW PLN SEK NOK DKK CZK
BRL CAD AUD TRY 元 円 원 руб. руб"""
_MEASURES = "% kg g mg lb lbs oz ml l cl L cm mm m km in inch ft s sec ms min h hrs days mg stars points pts ★"
UNITS = sorted({*_MONEY.split(), *_MEASURES.split()}, key=len, reverse=True)


def unit(words: list[str]) -> str:
    """What all these values have before or after a number, of `UNITS`; nothing where they differ in it."""
    found = {_unit(word) for word in words}
    return found.pop() if len(found) == 1 else ""


def _unit(word: str) -> str:
    bare = word.strip().lstrip("+-")
    for one in UNITS:
        if bare.startswith(one) and re.match(r"\s*\d", bare[len(one) :]) and one in _MONEY.split():
            return one
        if bare.endswith(one) and re.search(r"^\d[\d.,'’\s]*$", bare[: -len(one)]):
            return one
    return ""
