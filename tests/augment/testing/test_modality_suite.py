from augment.contracts.registry import every
from augment.testing import modalities as suites

for name, modality in every("modalities").items():
    globals()[f"Test_{name}"] = suites.suite(modality)
