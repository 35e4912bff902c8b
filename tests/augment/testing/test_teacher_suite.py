from augment.contracts.registry import every, modality_class
from augment.teachers.saved import Saved
from augment.testing import teachers as suites
from augment.testing.shop import usual

OPTIONS = {
    "mean": {"of": "cross-fitted+logistic regression"},
    "ensemble": {"members": 2},
    "cross-fitted": {"folds": 2},
}
FIELDS = usual(modality_class("fields"))

for name, teacher in every("teachers").items():
    if name in OPTIONS:
        globals()[f"Test_{name}"] = suites.suite(teacher, options=OPTIONS[name], shop=FIELDS)


def test_a_saved_model_keeps_its_promises(tmp_path):
    FIELDS.victim.save(tmp_path)
    case = suites.Case(Saved, FIELDS, {"folder": str(tmp_path)})
    promises = suites.TeacherPromises()
    promises.test_labels_are_probabilities_with_a_spread(case)
    promises.test_it_is_measured_as_the_consumer_is(case)
