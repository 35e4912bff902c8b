"""A map from content to behaviour: a new item behaves as the one known item most like it.

Entry point, group `sparring.maps`: `nearest = map:Nearest`. Recipes then say `new_items = { maps = ["nearest"] }`;
beside others it is taken where it ranks known items treated as new best.
"""

import numpy as np

from augment.contracts.content_map import ContentMap


class Nearest(ContentMap):
    name = "nearest"
    what = "as the one known item most like it"

    def fit(self, content, behaviour):
        self.content = content
        return self

    def weights(self, content):
        nearest = (content @ self.content.T).argmax(axis=1)
        return np.eye(len(self.content), dtype=np.float32)[nearest]


if __name__ == "__main__":
    known, new = np.eye(3, dtype=np.float32), np.float32([[0.1, 0.9, 0.2]])
    print("weights of known items:", Nearest(None).fit(known, known).weights(new).tolist())
