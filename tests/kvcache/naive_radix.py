"""SGLang's radix tree written a second time, on single tokens and with nothing counted beforehand."""

from typing import Any


class Branch:
    """A run of tokens below another; `locks` are the names of the requests that run below it."""

    def __init__(self, tokens: list[Any], above: "Branch | None") -> None:
        self.tokens, self.above = tokens, above
        self.below: list[Branch] = []
        self.locks: set[int] = set()
        self.used = 0

    def path(self) -> list["Branch"]:
        return [*self.above.path(), self] if self.above else []

    def all(self) -> list["Branch"]:
        return [self, *(one for branch in self.below for one in branch.all())]


class NaiveRadix:
    def __init__(self, pages: int, page: int) -> None:
        self.pages, self.page = pages, page
        self.root = Branch([], None)
        self.own: dict[int, int] = {}  # pages of running requests that are not in the tree
        self.depth: dict[int, int] = {}
        self.now = 0

    def evictable(self) -> int:
        return sum(len(b.tokens) for b in self.root.all() if not b.locks) // self.page

    def empty(self) -> int:
        return self.pages - sum(len(b.tokens) for b in self.root.all()) // self.page - sum(self.own.values())

    def found(self, tokens: list[Any]) -> int:
        """Longest beginning, in whole pages, over every way down the tree."""
        best = 0
        for branch in self.root.all():
            way = [token for b in branch.path() for token in b.tokens]
            common = 0
            while common < min(len(way), len(tokens)) and way[common] == tokens[common]:
                common += 1
            best = max(best, common // self.page * self.page)
        return best

    def walk(self, tokens: list[Any]) -> Branch:
        """Down to where `tokens`, which are all in the tree, end; splits there."""
        self.now += 1
        branch, rest = self.root, tokens
        while rest:
            branch = next(b for b in branch.below if b.tokens[: self.page] == rest[: self.page])
            if len(branch.tokens) > len(rest):
                upper = Branch(branch.tokens[: len(rest)], branch.above)
                assert branch.above
                branch.above.below.remove(branch)
                branch.above.below.append(upper)
                upper.below, upper.locks = [branch], set(branch.locks)
                branch.tokens, branch.above, branch.used = branch.tokens[len(rest) :], upper, self.now
                branch = upper
            branch.used = self.now
            rest = rest[len(branch.tokens) :]
        return branch

    def lock(self, name: int, branch: Branch) -> None:
        for one in self.root.all():
            one.locks.discard(name)
        for one in branch.path():
            one.locks.add(name)

    def take(self, name: int, pages: int) -> None:
        while self.empty() < pages:
            leaves = [b for b in self.root.all() if b.above and not b.below and not b.locks]
            oldest = min(leaves, key=lambda leaf: leaf.used)
            assert oldest.above
            oldest.above.below.remove(oldest)
        self.own[name] += pages

    def admit(self, name: int, tokens: list[Any], hit: int) -> None:
        self.own[name], self.depth[name] = 0, hit
        self.lock(name, self.walk(tokens[:hit]))

    def insert(self, name: int, tokens: list[Any]) -> None:
        """The tokens, in whole pages, are in the tree from now on, and no longer the request's own."""
        tokens = tokens[: len(tokens) // self.page * self.page]
        common = self.found(tokens)
        branch = self.walk(tokens[:common])
        if common < len(tokens):
            leaf = Branch(tokens[common:], branch)
            leaf.used = self.now
            branch.below.append(leaf)
            branch = leaf
        self.own[name] -= (len(tokens) - self.depth[name]) // self.page
        self.depth[name] = len(tokens)
        self.lock(name, branch)

    def leave(self, name: int) -> None:
        del self.own[name], self.depth[name]
        self.lock(name, self.root)
