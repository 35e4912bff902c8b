from pathlib import Path

from augment.contracts.strategy import strategies
from augment.testing import strategies as suites

OURS = strategies()
SYNONYMS = Path(__file__).with_name("synonyms.txt")  # WordNet is not everywhere

TestOurs = suites.suite(*(strategy for name, strategy in OURS.items() if name != "synonym"))
TestSynonym = suites.suite(OURS["synonym"], options={"source": str(SYNONYMS), "similarity": 0.1})
