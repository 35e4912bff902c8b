from augment.contracts.registry import every
from augment.testing import engines as suites

for name, engine in every("engines").items():
    globals()[f"Test_{name}"] = suites.suite(engine)
