"""Delimited text is read by its own dialect and encoding from the first byte to the last, by a run and by a night."""

import gzip

import pyarrow as pa
import pytest
from logs import read_twice

from augment.base.errors import BadInput, UsageError
from augment.recipes.schema import Source
from augment.sources import dialects

LATE = 21_000  # rows, beyond what a sniffer looks at
ENDS = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}


def source(where, **options):
    columns = {"id": "id", "user": "id", "item": "kind", "text": "text", "segment": "kind"}
    return Source.model_validate({"path": str(where), "columns": columns, **options})


def read(path, folder, **options):
    """Id, text and segment of each row, and the malformed lines."""
    return read_twice(source(path, **options), folder, "id, text, segment", "behaviour")


def lines(rows, delimiter=",", end="\n", header=("id", "text", "kind"), quote='"'):
    def cell(value):
        odd = quote and (quote in value or delimiter in value or "\n" in value)
        return f"{quote}{value.replace(quote, quote * 2)}{quote}" if odd else value

    return "".join(delimiter.join(map(cell, row)) + end for row in [*([header] if header else []), *rows])


def rows(count, first=0):
    return [(f"r{i:06}", f"good {i}", f"k{i % 3}") for i in range(first, first + count)]


def test_a_quote_that_comes_late_is_a_quote(tmp_path):
    given = [*rows(LATE), *((f"s{i:03}", f'bad, "{i}"\nreally', "k1") for i in range(900))]
    (tmp_path / "a.csv").write_text(lines(given))
    assert read(tmp_path / "a.csv", tmp_path) == (given, [])


def test_each_file_of_a_glob_is_read_by_its_own_first_line(tmp_path):
    given = [(f"r{i}", f'a, b; c | d "{i}"', f"k{i}") for i in range(6)]
    (tmp_path / "1.csv").write_text(lines([(a, "plain", c) for a, _, c in given[:1]]))
    (tmp_path / "2.csv").write_text(lines(given[1:2], ";"))
    (tmp_path / "3.csv").write_text(lines(given[2:3], "\t", "\r\n"), newline="")
    (tmp_path / "4.csv").write_text(
        lines([(c, a, b, "more") for a, b, c in given[3:4]], "|", header=("kind", "id", "text", "new"))
    )
    (tmp_path / "5.csv").write_text(f"sep=;\n{lines(given[4:5], ';')}")
    (tmp_path / "6.txt").write_text("﻿" + lines(given[5:], ",", header=('i"d', "text", "kind")).replace('i""d', "id"))
    (tmp_path / "7.csv").write_text(lines([]))
    expected = [("r0", "plain", "k0"), *given[1:]]
    assert read(tmp_path / "[1-7].*", tmp_path) == (expected, [])


def test_a_file_of_a_glob_without_a_column_is_named(tmp_path):
    (tmp_path / "1.csv").write_text(lines(rows(3)))
    (tmp_path / "2.csv").write_text("id,text,sort\nr9,x,k\n")
    with pytest.raises(BadInput, match=r"2\.csv has no column 'kind'"):
        read(tmp_path / "*.csv", tmp_path)
    (tmp_path / "2.csv").write_text("id,text,kind,text\nr9,x,k,y\n")
    with pytest.raises(BadInput, match=r"2\.csv has 2 columns 'text'"):
        read(tmp_path / "*.csv", tmp_path)


@pytest.mark.parametrize("end", [*ENDS.values(), "mixed"])
@pytest.mark.parametrize("delimiter", [",", "::", "§", "~|~"])
def test_delimiters_and_ends_of_lines(tmp_path, delimiter, end):
    given = [*rows(50), ("s", f"one{delimiter}two\nthree", "k1")]
    text = lines(given, delimiter, "\n" if end == "mixed" else end)
    if end == "mixed":
        head, tail = text[:300], text[300:-100]
        text = head + tail.replace("\n", "\r\n") + text[-100:]
    (tmp_path / "a.dat").write_text(text, "utf-8", newline="")
    assert read(tmp_path / "a.dat", tmp_path, delimiter=delimiter) == (given, [])


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("options", [{}, {"header": False, "names": ["id", "text", "kind"]}], ids=["header", "none"])
@pytest.mark.parametrize("first", ["", "\ufeff", "\ufeff\ufeff"], ids=["", "mark", "marks"])
def test_empty_lines_before_the_first_are_none(tmp_path, end, options, first):
    given = [*rows(50), ("s1", "two\nlines", "k")]
    head = None if options else ("id", "text", "kind")
    text = first + "\n  \n" + lines(given, header=head)
    (tmp_path / "a.csv").write_bytes(text.replace("\n", end).encode())
    given[-1] = ("s1", f"two{end}lines", "k")
    assert read(tmp_path / "a.csv", tmp_path, **options) == (given, [])


def test_without_header_and_without_quotes(tmp_path):
    given = [("r1", 'say "hi', "k"), ("r2", '"', "k"), ("r3", '"x"y"', "k")]
    (tmp_path / "a.log").write_text(lines(given, "|", header=None, quote=""))
    options = {"header": False, "names": ["id", "text", "kind"], "quote": ""}
    assert read(tmp_path / "a.log", tmp_path, **options) == (given, [])
    (tmp_path / "a.log").write_text(lines(given, "|", header=None, quote="'").replace("say", "'it''s|'"))
    assert read(tmp_path / "a.log", tmp_path, **(options | {"quote": "'"}))[1] == ["r1|'it''s|' \"hi|k"]


def test_a_quote_that_is_never_closed_costs_its_own_line(tmp_path):
    given = [*rows(3000), ("s1", "fine,\n\nfine", "k"), *rows(3000, 3000)]
    text = lines(given).splitlines(keepends=True)
    text.insert(100, 'x1,"great,k\n')
    text.insert(2000, 'x2,"great" stuff,k\n')
    text.insert(5000, 'x3,"never closed,k\n')
    text.append("x4,too few\n")
    text.append("x5,too,many,of them\n")
    text.append('x6,"\n')
    (tmp_path / "a.csv").write_text("".join(text))
    bad = ['x1,"great,k', 'x2,"great" stuff,k', 'x3,"never closed,k', "x4,too few", "x5,too,many,of them", 'x6,"']
    found, malformed = read(tmp_path / "a.csv", tmp_path)
    assert (sorted(found), malformed) == (sorted(given), bad)


OPEN = ['x1,"never closed,k', 'x1,never,"closed', 'x1,"never', '"x1,never,k', 'x1,"never ""closed""', 'x1,",",k"",k"']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("line", OPEN)
def test_after_the_last_quote_that_is_never_closed_nothing_is_lost(tmp_path, line, end):
    """DuckDB says nothing of it where no other quote follows."""
    given = [("r000000", 'the "best"', "k"), ("r000001", '5" of it', "k"), *rows(60, 2)]
    content = lines(given, end=end, header=("id", "text", "kind")).split(end)
    content[2] = 'r000001,5" of it,k'  # an inch mark: an even number of quotes tells nothing
    content.insert(40, line)
    (tmp_path / "a.csv").write_bytes(end.join(content).encode())
    assert read(tmp_path / "a.csv", tmp_path) == (given, [line])


@pytest.mark.parametrize(
    ("last", "open_"),
    [('a,"b"', False), ('a,"b ""c"""', False), ('a,""', False), ('"b",a', False), ("a,b", False), ('a,"b', True),
     ('"b,c', True), ('a,"', True), ('a,"b ""c""', True), ('a, "b', True), ('a,"""', True)],
)  # fmt: skip
@pytest.mark.parametrize("filler", [0, 50, 80])
def test_a_last_quote_is_told_in_blocks_of_any_size(tmp_path, monkeypatch, last, open_, filler):
    path = tmp_path / "a.csv"
    path.write_text(f'id,text\n1,"one"\n{last}\n' + "2,two\n" * filler)
    for size in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(dialects, "BLOCK", size)
        assert dialects.may_end_open(str(path), dialects.Dialect(["id", "text"], ",", '"', True)) is open_


def test_a_quoted_text_full_of_lines_that_look_like_rows(tmp_path):
    """From the middle of the file, nobody can tell: DuckDB, reading from several places at once, took them for rows."""
    inner = "\n".join(f"{i},{i},{i}" for i in range(20_000))
    given = [(f"r{i:03}", inner, "k") for i in range(120)]
    (tmp_path / "a.csv").write_text(lines(given))
    assert read(tmp_path / "a.csv", tmp_path, max_text=10**9) == (given, [])


TEXTS = {
    "gb18030": ["这件衣服很好看，质量不错", "客服态度很差，再也不会买了"],
    "big5": ["這個產品很好，我很喜歡", "客服態度不佳，等了很久"],
    "shift_jis": ["この商品はとても良いです。①", "配送が遅くて残念でした"],
    "latin-1": ["très déçu par la qualité", "Größe passt nicht"],
    "windows-1251": ["Очень хороший товар", "Доставка долгая"],
    "utf-16": ["这件衣服很好看", "plain"],
}


@pytest.mark.parametrize("kind", ["", ".gz", ".zst"])
@pytest.mark.parametrize("encoding", TEXTS)
def test_another_encoding_is_read_when_set_and_named_when_not(tmp_path, encoding, kind):
    given = [*rows(20), *((f"s{i:04}", TEXTS[encoding][i % 2] + f" {i}", "k") for i in range(100))]
    content = lines(given, ";").encode("cp932" if encoding == "shift_jis" else encoding)
    packed = {"": bytes, ".gz": gzip.compress, ".zst": lambda b: pa.compress(b, "zstd", asbytes=True)}[kind](content)
    path = tmp_path / f"a.csv{kind}"
    path.write_bytes(packed)
    with pytest.raises(BadInput, match=f'is not UTF-8 .*set `encoding = "{encoding}"`'):
        read(path, tmp_path)
    assert read(path, tmp_path, encoding=encoding.upper()) == (given, [])


def test_text_in_utf_8_is_not_read_as_something_else(tmp_path):
    (tmp_path / "a.csv").write_text(lines([("r", "très bien 这件衣服很好看，质量不错，客服态度很差", "k")]), "utf-8")
    for encoding in ("latin-1", "gb18030", "big5"):
        with pytest.raises(BadInput, match="is UTF-8, not"):
            read(tmp_path / "a.csv", tmp_path, encoding=encoding)


def test_a_few_damaged_characters_are_malformed_lines(tmp_path):
    text = lines([*rows(3000), ("s", "这件", "k")], end="\r\n").encode("gb18030").replace(b"good 77,", b"\xff\xff 77,")
    (tmp_path / "a.csv").write_bytes(text)
    found, malformed = read(tmp_path / "a.csv", tmp_path, encoding="gb18030")
    assert len(found) == 3000
    assert [line[:8] for line in malformed] == ["r000077,"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.parquet", {"delimiter": ";"}, "`delimiter` is for delimited text: there is none in Parquet"),
        ("a.parquet", {"encoding": "gb18030"}, "`encoding` is for delimited text"),
        ("a.jsonl", {"decimal": ","}, "`decimal` is for delimited text: there is none in JSON lines"),
        ("a.csv", {"timestamp_format": "%Q"}, "timestamp_format: .*%Q"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(tmp_path, name, options, message):
    if name.endswith("parquet"):
        pa.parquet.write_table(pa.table({"id": ["a"], "text": ["b"], "kind": ["c"]}), tmp_path / name)
    else:
        (tmp_path / name).write_text('{"id": 1}')
    with pytest.raises(UsageError, match=message):
        read(tmp_path / name, tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ""}, "one to four bytes"),
        ({"delimiter": "12345"}, "one to four bytes"),
        ({"delimiter": "\n"}, "end of a line"),
        ({"quote": "''"}, "one ASCII character"),
        ({"quote": ","}, None),
        ({"delimiter": "a'", "quote": "'"}, "not in `delimiter`"),
        ({"header": False}, "`names`"),
        ({"names": ["a"]}, "`names`"),
        ({"header": False, "names": ["a", "a"]}, "twice"),
        ({"encoding": "klingon"}, "no encoding 'klingon'"),
        ({"encoding": "hex"}, "no encoding 'hex'"),
        ({"path": None, "connection": "sqlite:///x", "query": "SELECT 1", "quote": "'"}, "for files, not for a query"),
    ],
)
def test_options_that_cannot_be(options, message):
    if message is None:
        assert source("a.csv", **options)
    else:
        with pytest.raises(ValueError, match=message):
            source("a.csv", **options)
