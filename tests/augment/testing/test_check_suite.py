from augment.contracts.check import checks_of
from augment.contracts.tally import Tally
from augment.testing import checks as suites

BAD = {
    "few_rows": {"day_rows": 100},
    "bad_rows": {"quarantined": {"label missing": 200}},
    "drift": {"drift": {"device": 0.4, "genre": 0.0}},
    "poison": {"quarantined": {"fake user": 500}, "poisoned": 500},
    "alarms": {"alarms": ["one item in every sample"]},
    "kept_share": {"tallies": {"noise": Tally(wanted=60, proposed=1000, kept=3)}},
}

for name, check in checks_of({}).items():
    globals()[f"Test_{name}"] = suites.suite(check, BAD[name])
