from html.parser import HTMLParser

import pytest

from augment.cli.terminal import attribution_table, verdict_table
from augment.contracts.result import RunResult, TaskResult
from augment.judging import report

COMPARISON = {
    "real": 0.7, "mix": 0.72, "baseline": 0.71, "baseline_name": "EASE <tuned>",
    "diff": 0.02, "low": 0.01, "high": 0.03, "p": 0.01, "better_is": "higher",
}  # fmt: skip


def result(**changes):
    worse = {**COMPARISON, "better_is": "lower"}
    missing = {**COMPARISON, "diff": None, "low": None, "high": None}
    task = {
        "status": "published", "version": 3, "reason": "better: <b>auc</b>", "rows": 10, "kept_share": 0.5, "seeds": 3,
        "quarantined": 2, "quarantine": {"text missing": 2},
        "verdict": {"auc": COMPARISON, "loss": worse, "none": missing},
        "strategies": {"gan": {"proposed": 20, "kept": 10, "hardness_median": 0.5, "novelty_median": None}},
        "gates": {"implausible": 10}, "real_rows": {"train": 5}, "encoder": "e@1",
        "histograms": {"hardness": {"edges": [0, 1, 2], "real": [0.5, 0.5], "mix": [0.1, 0.9]}}, **changes,
    }  # fmt: skip
    return RunResult("abc", "published", {"ctr": TaskResult(**task)}, "r.html", 1.0)


class Balanced(HTMLParser):
    """Counts what is open; optional end tags of table cells do not count."""

    free = {"meta", "br", "html", "tr", "td", "th", "line", "circle", "rect", "img"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.free:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.free:
            assert self.open.pop() == tag


def page(tmp_path, **changes):
    return report.write(result(**changes), tmp_path / "deep" / "r.html").read_text()


def test_the_page_is_whole_and_escapes_what_it_is_given(tmp_path):
    text = page(tmp_path)
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert "EASE &lt;tuned&gt;" in text
    assert "<b>auc</b>" not in text
    assert "<script" not in text
    assert not list(tmp_path.glob("**/*.tmp"))


def test_lower_is_better_is_drawn_as_worse(tmp_path):
    text = page(tmp_path)
    assert "class=better>better" in text
    assert "class=worse>worse" in text


@pytest.mark.parametrize("status", ["rejected", "unchanged"])
def test_every_status_renders(tmp_path, status):
    assert f"class={status}" in page(tmp_path, status=status, version=None)


def test_what_cannot_be_measured_is_said_and_a_stronger_plain_model_too(tmp_path):
    text = page(tmp_path, advice="EASE is stronger <here>")
    assert text.count("not measurable on these test rows") == 1
    assert "EASE is stronger &lt;here&gt;." in text
    only = {"none": {**COMPARISON, "real": None, "mix": None, "diff": None, "low": None, "high": None}}
    assert "not measurable" in page(tmp_path, verdict=only)


def left_out(effect, **changes):
    figures = {"mix": 0.72, "without": 0.71, "diff": 0.01, "low": -0.001, "high": 0.021, "p": 0.06}
    return {**figures, "better_is": "higher", "effect": effect, **changes}


ATTRIBUTION = {
    "gan <own>": {
        "samples": 30, "share": 0.6, "weight_share": 0.75,
        "metrics": {"auc": left_out("may help"), "loss": left_out("hurts", better_is="lower", low=0.009)},
    },
    "masking": {"samples": 20, "share": 0.4, "weight_share": 0.25, "metrics": {"auc": left_out("helps", low=0.002)}},
}  # fmt: skip


def test_what_each_strategy_brings_is_a_table_and_a_picture(tmp_path):
    assert "Which strategy did it" not in page(tmp_path)
    text = page(tmp_path, attribution=ATTRIBUTION)
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    assert "gan &lt;own&gt;<br><span class=soft>60% of the samples<br>75% of the weight</span></tr>" in text
    assert "<tr><td>auc<td>0.7200<td>0.7100<td>+0.0100<td>-0.0010 … +0.0210" in text
    assert text.count("class=same>may help") == 1
    assert text.count("class=worse>hurts") == text.count("class=better>helps") == 1
    drawn = text[text.index("Which strategy did it") :].split("</svg>")[0]
    assert "masking: auc" in drawn
    colours = [drawn.count(f"fill=var(--{colour})") for colour in ("good", "bad", "soft")]
    assert colours == [1, 1, 1]
    assert "corrected over these 3 comparisons" in text


def test_the_terminal_says_what_each_strategy_brings():
    lines = attribution_table(ATTRIBUTION).splitlines()
    assert len(lines) == 4
    assert lines[1].split() == [
        "gan", "<own>", "60%", "75%", "auc", "0.7200", "0.7100", "+0.0100", "[-0.0010,", "+0.0210]",
        "may", "help",
    ]  # fmt: skip
    assert lines[2].split()[0] == "loss"
    assert lines[2].endswith("hurts")
    silent = {name: {**found, "metrics": {}} for name, found in ATTRIBUTION.items()}
    assert attribution_table(silent).count("not measurable on these test rows") == 2
    assert "every sample is of masking" in attribution_table({"masking": ATTRIBUTION["masking"]})


def test_the_terminal_says_it_in_the_metrics_place():
    missing = {**COMPARISON, "low": None, "high": None}
    plain = {**COMPARISON, "baseline": None}
    lines = verdict_table({"auc": COMPARISON, "none": missing, "no baseline": plain}).splitlines()
    assert "not measurable on these test rows" in lines[2]
    assert lines[1].endswith("0.7100 EASE <tuned>")
    assert lines[3].endswith("–")


def test_samples_that_are_pictures_are_shown_beside_what_they_were_made_of(tmp_path):
    assert "Before and after" not in page(tmp_path)
    text = page(tmp_path, examples=[{"strategy": "<gan>", "before": "QUJD", "after": "REVG"}])
    parser = Balanced()
    parser.feed(text)
    assert not parser.open
    strip = text.partition("Before and after")[2].partition("How hard")[0]
    assert strip.index("data:image/jpeg;base64,QUJD") < strip.index("data:image/jpeg;base64,REVG")
    assert "&lt;gan&gt;" in strip
