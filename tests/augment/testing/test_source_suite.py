import sqlite3
from contextlib import closing

import pyarrow.csv
import pyarrow.parquet as pq

from augment.contracts.registry import every
from augment.testing import sources as suites

KINDS = every("sources")


def put_csv(folder, rows):
    pyarrow.csv.write_csv(rows, folder / "rows.csv")
    return {"path": str(folder / "*.csv")}


def put_parquet(folder, rows):
    pq.write_table(rows, folder / "rows.parquet")
    return {"path": str(folder / "rows.parquet")}


def put_sqlite(folder, rows):
    with closing(sqlite3.connect(folder / "shop.db")) as db, db:
        names = ", ".join(rows.column_names)
        db.executescript(f"DROP TABLE IF EXISTS log; CREATE TABLE log ({names})")
        values = list(zip(*rows.to_pydict().values(), strict=True))
        db.executemany(f"INSERT INTO log VALUES ({', '.join('?' * rows.num_columns)})", values)
    return {"connection": f"sqlite:///{folder}/shop.db", "query": "SELECT * FROM log"}


def spoil_csv(folder):
    with (folder / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("one,two\n")


TestCsv = suites.suite(KINDS["files"], put_csv, spoil_csv)
TestParquet = suites.suite(KINDS["files"], put_parquet)
TestSqlite = suites.suite(KINDS["database"], put_sqlite)
