"""Conformance suites for authors of plug-ins: one call gives the tests that a class of a kind must pass.

    from augment.testing import strategies
    from shouting import Shouting

    TestShouting = strategies.suite(Shouting)

`pytest` runs them, a test for each promise of the contract in `augment.contracts`. Data they need is small and made
here (`augment.testing.data`), or the author's own. Where one plug-in needs another, as a consumer of a new modality
does, their package is installed first, or `augment.testing.promises.registered` stands in for that.
"""
