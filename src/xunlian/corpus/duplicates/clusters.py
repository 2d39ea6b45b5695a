"""From pairs of similar documents to clusters, and the copies in each that go."""

from pathlib import Path

import numpy as np

from xunlian.corpus.duplicates.arrays import write_arrays, writing
from xunlian.corpus.duplicates.files import Work
from xunlian.corpus.duplicates.match import SURE, compare
from xunlian.corpus.duplicates.runs import Range, gather

_AT_ONCE = 1 << 20
_IN_MEMORY = 1 << 24  # documents: with more, their parents are in a file, mapped
_SMALL = (
    64  # documents: a larger cluster must lose a tenth in each round of comparing with the best
)
_ROUNDS = 200  # of choosing along the pairs; whoever is left then stays


def cluster(work: Work, out: Path) -> None:
    """Union-find over the verified pairs: roots (documents,), the first of each one's cluster."""
    kept_in = work.folder / "parents.part"
    try:
        parents = _alone(work.documents, kept_in)
        for path in work.files("verify"):
            arrays = work.maps(path)
            for begin in range(0, len(arrays["keys"]), _AT_ONCE):
                span = slice(begin, begin + _AT_ONCE)
                unite(parents, arrays["keys"][span].astype(np.int64), arrays["others"][span])
        with writing(out) as writer:
            writer.add("roots", np.zeros(0, np.int64))
            for begin in range(0, len(parents), _AT_ONCE):
                members = np.arange(begin, min(begin + _AT_ONCE, len(parents)))
                writer.add("roots", find(parents, members))
    finally:
        kept_in.unlink(missing_ok=True)


def members(work: Work, out: Path, begin: int, end: int) -> None:
    """Of these documents those that are not alone: keys (N,) the cluster's first, members (N,).

    The first of a cluster is not among its own members.
    """
    roots = work.maps(work.files("cluster")[0])["roots"][begin:end]
    joined = np.flatnonzero(roots != np.arange(begin, begin + len(roots)))
    roots = roots[joined]
    order = np.argsort(roots, kind="stable")
    write_arrays(out, {"keys": roots[order].astype(np.uint64), "members": joined[order] + begin})


def find(parents: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The root of each member; the ways there are halved."""
    while True:
        above = parents[members]
        roots = parents[above]
        if (above == roots).all():
            return above
        parents[members] = roots
        members = roots


def unite(parents: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Join the sets of a[i] and b[i], all at once; a set's root is its lowest member."""
    while len(a):
        a, b = find(parents, a), find(parents, b)
        apart = a != b
        a, b = np.minimum(a[apart], b[apart]), np.maximum(a[apart], b[apart])
        # Of several that would be the parent of one, the lowest is; the others come again.
        np.minimum.at(parents, b, a)


def choose(work: Work, out: Path, range_: Range, similarity: float) -> None:
    """What goes: keys (N,) documents, copy_of (N,) the one that stays, similarities (N,).

    In each cluster the longest document stays and is compared with all others; those that are
    similar enough go; so on with what is left. A large cluster that hardly shrinks that way is a
    chain of small changes: there each document that is longer than those it is paired with stays,
    and these go.
    """
    found = gather(work.runs_of("members"), range_)
    keys, others = found or (np.zeros(0, np.uint64), np.zeros(0, np.int64))
    roots = np.unique(keys).astype(np.int64)
    clusters = np.concatenate([keys.astype(np.int64), roots])
    documents = np.concatenate([others, roots])
    tokens = work.look_up("tokens", documents).astype(np.int64)
    exact = work.look_up("exact", documents)[:, 0]
    order = np.lexsort((exact, -tokens, clusters))
    parts, chained = _by_best(work, clusters[order], documents[order], similarity)
    parts.append(_by_pairs(work, chained))
    gone, stay, similar = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(gone)
    write_arrays(
        out,
        {
            "keys": gone[order].astype(np.uint64),
            "copy_of": stay[order],
            "similarities": similar[order].astype(np.float32),
        },
    )


Gone = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Documents, those that stay for them, and how similar they are."""


def _by_best(
    work: Work, clusters: np.ndarray, documents: np.ndarray, similarity: float
) -> tuple[list[Gone], np.ndarray]:
    """What goes, and the documents of the clusters that hardly shrink; the best come first."""
    parts: list[Gone] = []
    chained = [np.zeros(0, np.int64)]
    while len(clusters):
        best = np.ones(len(clusters), bool)
        best[1:] = clusters[1:] != clusters[:-1]
        index = (np.cumsum(best) - 1)[~best]
        kept = documents[best][index]
        clusters, documents = clusters[~best], documents[~best]
        similar = compare(work, kept, documents)
        goes = similar >= similarity - SURE
        parts.append((documents[goes], kept[goes], similar[goes]))
        sizes = np.bincount(index, minlength=int(best.sum()))
        gone = np.bincount(index[goes], minlength=len(sizes))
        slow = ((sizes > _SMALL) & (10 * gone < sizes))[index]
        chained.append(documents[~goes & slow])
        clusters, documents = clusters[~goes & ~slow], documents[~goes & ~slow]
    return parts, np.concatenate(chained)


def _by_pairs(work: Work, documents: np.ndarray) -> Gone:
    """Of documents, the best first: what a better one that stays is verified to be similar to.

    The same as going through them one by one; all at once (Luby, 1986, with ranks for chance).
    """
    a, b = _pairs_among(work, documents)
    alive = np.ones(len(documents), bool)
    stay_of = np.full(len(documents), -1)
    for _ in range(_ROUNDS):
        open_ = alive[a] & alive[b]
        a, b = a[open_], b[open_]  # a is better
        if not len(a):
            break
        best = np.ones(len(documents), bool)
        best[b] = False
        best &= alive
        from_best = best[a]
        # Of several that stay the best counts: written last.
        order = np.argsort(-a[from_best], kind="stable")
        stay_of[b[from_best][order]] = a[from_best][order]
        alive[b[from_best]] = False
        alive[best] = False
    gone = np.flatnonzero(stay_of >= 0)
    stay = documents[stay_of[gone]]
    return documents[gone], stay, compare(work, documents[gone], stay)


def _pairs_among(work: Work, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Verified pairs of these documents, as their places here, the lower place first."""
    order = np.argsort(documents)
    ordered = documents[order]
    found = [np.zeros((2, 0), np.int64)]
    for path in work.files("verify") if len(documents) else ():
        arrays = work.maps(path)
        keys, others = arrays["keys"], arrays["others"]
        starts = np.searchsorted(keys, ordered.astype(np.uint64))
        sizes = np.searchsorted(keys, ordered.astype(np.uint64), side="right") - starts
        offset = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        other = others[np.repeat(starts, sizes) + offset]
        place = np.minimum(np.searchsorted(ordered, other), len(ordered) - 1)
        both = np.stack([np.repeat(order, sizes), order[place]])
        found.append(both[:, ordered[place] == other])
    pairs = np.concatenate(found, axis=1)
    return pairs.min(axis=0), pairs.max(axis=0)


def _alone(documents: int, file: Path) -> np.ndarray:
    if documents <= _IN_MEMORY:
        return np.arange(documents)
    # As a plain array: still the file, without the subclass's overhead.
    parents = np.asarray(np.memmap(file, np.int64, "w+", shape=(documents,)))
    for begin in range(0, documents, _AT_ONCE):
        end = min(begin + _AT_ONCE, documents)
        parents[begin:end] = np.arange(begin, end)
    return parents
