"""An engine: each training waits until the machine is not busy, so that the shop's own work goes first.

Entry point, group `sparring.engines`: `polite = engine:Polite`. Recipes then say `engine = "polite"`.
"""

import os
import time


class Polite:
    name = "polite"
    busy = float(os.environ.get("POLITE_LOAD", os.cpu_count() or 1))  # processes that want to run, over a minute
    patience = 300.0  # seconds that one training waits at most

    def map(self, work, items):
        for item in items:
            until = time.monotonic() + self.patience
            while os.getloadavg()[0] > self.busy and time.monotonic() < until:
                time.sleep(1)
            yield work(item)


if __name__ == "__main__":
    for square in Polite().map(lambda number: number**2, range(4)):
        print(f"{square:2} at a load of {os.getloadavg()[0]:.1f}")
