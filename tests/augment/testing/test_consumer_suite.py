from augment.contracts.registry import every
from augment.testing import consumers as suites

for name, consumer in every("consumers").items():
    globals()[f"Test_{name}"] = suites.suite(consumer)
