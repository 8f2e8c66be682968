"""The demo domains: small invented shops in which taste follows meaning, so that transfer has a known effect.

**The planted model.** Every item has a *theme* (one of twelve) and a *style* (one of six). Its text names both, in
words that mean the same in every domain; product nouns and brands differ from domain to domain. What comes next
follows the meaning of what came last: after a theme comes, most often, the next one of `THEMES`. Every user also
prefers one style and, less so, two themes. All domains share these rules. Among items of one theme and style their
popularity decides, which no text tells. A target alone is too small to show well which words belong together and
what follows what; the three sources together are not.

**The effect is tunable.** ``transfer`` is the share of a source's items whose text tells the truth. The other items of
the source have swapped texts among themselves: behaviour, popularity, and the texts as a set stay what they were, but
they say nothing about each other. At 0 the sources hold nothing that could help. Targets do not depend on
``transfer``, so a method that does not look at the sources scores the same in both worlds. (A method may well score
*worse* for having trained on sources that mean nothing, above all if part of it stays frozen afterwards; and a target
trained too briefly can gain from any warm start, so compare runs that were trained until they no longer improved.)

``python -m benchmark.prepare.demo`` writes the files under ``datasets/demo`` again. Random numbers are fractions
straight from PCG64 and weights are whole numbers, so that what is drawn does not hang on rounding.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from benchmark.cards import card_folder
from benchmark.domain import Domain, Sequences
from benchmark.formats import write_atomic
from benchmark.jobs import derive_seed

SEED = 1
"""Seed of the committed files."""

THEMES = tuple(
    tuple(words.split())
    for words in (
        "frost snowflake icicle glacier polar winter sleigh arctic",
        "hearth ember kindling fireside chimney lantern candle smoky",
        "harvest pumpkin wheat barley acorn autumn orchard scarecrow",
        "ocean seashell anchor lighthouse coral mermaid harbour tide",
        "meadow daisy clover butterfly bumblebee buttercup poppy ladybird",
        "rocket planet comet galaxy astronaut moon starlight orbit",
        "cactus dune camel oasis mirage canyon scorpion sandstone",
        "castle knight dragon turret shield crown unicorn moat",
        "jungle parrot monkey vine tiger toucan bamboo orchid",
        "locomotive railway station signal carriage whistle tunnel conductor",
        "circus juggler acrobat carousel clown trapeze popcorn marquee",
        "violin trumpet piano melody drum waltz harp choir",
    )
)
"""Words of each theme. After a theme comes most often the next row, after the last one the first."""

STYLES = tuple(
    tuple(words.split())
    for words in (
        "rustic farmhouse weathered homespun timber",
        "sleek minimalist modern geometric streamlined",
        "ornate baroque gilded filigree velvet",
        "vintage retro antique heirloom nostalgic",
        "playful cartoon whimsical bubbly zany",
        "industrial riveted gunmetal factory concrete",
    )
)
"""Words of each style."""

COLOURS = ("red", "blue", "green", "yellow", "orange", "purple", "brown", "black", "white", "grey", "pink", "teal")
"""Words that mean nothing to anybody's taste."""

NEXT_THEME, LIKED_STYLE, LIKED_THEME = 60, 16, 2
"""How many times likelier an item becomes when its theme comes next, its style or its theme is to the user's taste."""

MIDNIGHT = 1_451_606_400
"""2016-01-01 00:00:00 UTC, when the demo world begins."""
DAY, MINUTE = 86_400, 60


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one demo domain is made of."""

    source: bool
    """Whether it is pre-trained on; a target otherwise."""
    nouns: str
    """Its products, none of which another domain has."""
    brands: str = ""
    """Its brands, none of which another domain has; sessions name none."""
    n_users: int
    n_items: int
    """Items offered. The few that nobody takes are left out of the domain."""
    shortest: int
    """Fewest interactions of a user."""
    longest: int
    """Most interactions of a user."""
    sessions: bool = False
    """Users are anonymous sessions of less than a minute, some of them of one customer; texts are terse capitals."""


RECIPES = {
    "demo-kitchen": Recipe(
        source=True,
        nouns="kettle teapot saucepan colander whisk spatula apron trivet ladle grater skillet mug",
        brands="Norvik Pellano Cresswood Brimley Tavora Ostrel Quillby Mardane",
        n_users=540,
        n_items=380,
        shortest=6,
        longest=12,
    ),
    "demo-garden": Recipe(
        source=True,
        nouns="trowel planter hose rake birdbath trellis wheelbarrow gnome hammock sprinkler bench pergola",
        brands="Fernhollow Dunstead Larkmoor Veldra Thistleby Oakmere Sorrelle Grenfold",
        n_users=500,
        n_items=360,
        shortest=6,
        longest=12,
    ),
    "demo-toys": Recipe(
        source=True,
        nouns="puzzle plush kite doll yoyo puppet blocks marbles boardgame scooter dollhouse rattle",
        brands="Tumblewick Zippolo Wobblekin Pipnose Marvolo Jollibar Snugglo Twizzle",
        n_users=460,
        n_items=340,
        shortest=6,
        longest=12,
    ),
    "demo-workshop": Recipe(
        source=False,
        nouns="hammer toolbox chisel clamp workbench sander drill screwdriver vise level pliers sawhorse",
        brands="Harkon Steelbrook Tornwell Grindal Bolterra Vickshaw Ironmoss Draymond",
        n_users=480,
        n_items=350,
        shortest=5,
        longest=7,
    ),
    "demo-shop": Recipe(
        source=False,
        nouns="tray coaster doormat bunting wreath napkin jar keyring notebook umbrella cushion clock",
        n_users=520,
        n_items=340,
        shortest=5,
        longest=8,
        sessions=True,
    ),
}
"""The demo domains by name: three sources, a cross-domain target, a cross-platform target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Planted:
    """A demo domain and the truth behind it."""

    domain: Domain
    themes: NDArray[np.int64]
    """What each item is about to the users, rows of `THEMES`, int64 [n_items]."""
    styles: NDArray[np.int64]
    """The style of each item to the users, rows of `STYLES`, int64 [n_items]."""


def plant(name: str, *, transfer: float = 1.0, seed: int = SEED) -> Planted:
    """A demo domain, drawn anew. Raises KeyError for a name that is not in `RECIPES`.

    transfer: share of a source's items, from 0 to 1, whose text tells the truth. Targets ignore it.
    """
    recipe = RECIPES[name]
    rng = Generator(PCG64(derive_seed(seed, name, "items")))
    themes = _order(rng, recipe.n_items) % len(THEMES)
    styles = _order(rng, recipe.n_items) % len(STYLES)
    popularity = 4000 // (_order(rng, recipe.n_items) + 60)
    texts = [_text(rng, recipe, THEMES[theme], STYLES[style]) for theme, style in zip(themes, styles, strict=True)]

    rng = Generator(PCG64(derive_seed(seed, name, "users")))
    shoppers = _shoppers(rng, recipe)
    rows = _behaviour(rng, recipe, shoppers, themes, styles, popularity)
    lengths = [len(row) for row in rows]
    times = _times(rng, recipe, lengths)

    taken, items = np.unique(np.concatenate(rows), return_inverse=True)
    themes, styles, texts = themes[taken], styles[taken], [texts[item] for item in taken]
    if recipe.source:
        rng = Generator(PCG64(derive_seed(seed, name, "swaps")))
        texts = _swapped(rng, texts, round((1 - transfer) * len(texts)))
    shop = name.removeprefix("demo-")
    domain = Domain(
        name=name,
        sequences=Sequences(items.astype(np.int32), np.cumsum([0, *lengths], dtype=np.int64)),
        item_ids=tuple(f"{shop}-i{item:03}" for item in range(len(taken))),
        user_ids=tuple(f"{shop}-{'s' if recipe.sessions else 'u'}{user:03}" for user in range(recipe.n_users)),
        texts=tuple(texts),
        timestamps=times,
        clusters=_numbered(shoppers) if recipe.sessions else None,
    )
    return Planted(domain=domain, themes=themes, styles=styles)


def _below(rng: Generator, n: int) -> int:
    """A whole number from 0 to n - 1."""
    return int(rng.random() * n)


def _order(rng: Generator, n: int) -> NDArray[np.int64]:
    """The numbers from 0 to n - 1 in random order."""
    return np.argsort(rng.random(n), kind="stable")


def _pick(rng: Generator, weights: NDArray[np.int64]) -> int:
    """A row with probability in proportion to its weight, by inversion of the cumulative sum."""
    upto = np.cumsum(weights)
    return int(np.searchsorted(upto, rng.random() * upto[-1], side="right"))


def _text(rng: Generator, recipe: Recipe, theme: tuple[str, ...], style: tuple[str, ...]) -> str:
    first, second, third = (theme[row] for row in _order(rng, len(theme))[:3])
    look, noun = _word(rng, style), _word(rng, recipe.nouns.split())
    if recipe.sessions:
        return f"{first} {look} {noun} {second}".upper()
    return (
        f"{_word(rng, recipe.brands.split())} {look} {noun} with {first}, {second} and {third}, {_word(rng, COLOURS)}."
    )


def _word(rng: Generator, words: Sequence[str]) -> str:
    return words[_below(rng, len(words))]


def _shoppers(rng: Generator, recipe: Recipe) -> list[int]:
    """Whose taste each user has: their own; in three of five sessions that of a returning customer."""
    own = range(recipe.n_users)
    if not recipe.sessions:
        return list(own)
    customers = recipe.n_users // 4
    return [_below(rng, customers) if rng.random() < 0.6 else customers + user for user in own]


def _behaviour(
    rng: Generator,
    recipe: Recipe,
    shoppers: list[int],
    themes: NDArray[np.int64],
    styles: NDArray[np.int64],
    popularity: NDArray[np.int64],
) -> list[list[int]]:
    """Items each user takes, in order, none of them twice."""
    tastes = []
    for _ in range(max(shoppers) + 1):
        style, liked, also = _below(rng, len(STYLES)), _below(rng, len(THEMES)), _below(rng, len(THEMES))
        weights = popularity * np.where(styles == style, LIKED_STYLE, 1)
        tastes.append(weights * np.where((themes == liked) | (themes == also), LIKED_THEME, 1))
    follows = [np.where(themes == (theme + 1) % len(THEMES), NEXT_THEME, 1) for theme in range(len(THEMES))]
    rows = []
    for shopper in shoppers:
        weights = tastes[shopper].copy()
        row: list[int] = []
        for _ in range(recipe.shortest + _below(rng, recipe.longest - recipe.shortest + 1)):
            row.append(_pick(rng, weights * follows[themes[row[-1]]] if row else weights))
            weights[row[-1]] = 0
        rows.append(row)
    return rows


def _times(rng: Generator, recipe: Recipe, lengths: list[int]) -> NDArray[np.int64]:
    """Seconds since 1970 of each interaction, all different within a user, int64 [n_interactions].

    People come back after 1 to 30 days. Sessions, numbered in time, click every 1 to 5 seconds.
    """
    if recipe.sessions:
        starts, unit, longest_gap = np.sort(np.floor(rng.random(len(lengths)) * 365 * DAY / MINUTE)) * MINUTE, 1, 5
    else:
        starts, unit, longest_gap = np.floor(rng.random(len(lengths)) * 730) * DAY, DAY, 30
    times = []
    for start, length in zip(starts.astype(np.int64), lengths, strict=True):
        gaps = 1 + (rng.random(length - 1) * longest_gap).astype(np.int64)
        times.append(MIDNIGHT + start + unit * np.cumsum([0, *gaps]))
    return np.concatenate(times)


def _swapped(rng: Generator, texts: list[str], n: int) -> list[str]:
    """Texts of which n, chosen at random, have moved to the next one chosen."""
    chosen = _order(rng, len(texts))[:n]
    moved = list(texts)
    for old, new in zip(chosen, np.roll(chosen, 1), strict=True):
        moved[new] = texts[old]
    return moved


def _numbered(shoppers: list[int]) -> NDArray[np.int32]:
    """Shoppers numbered in the order in which they first appear, as readers of the files number them."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(shopper, len(numbers)) for shopper in shoppers], np.int32)


def write(folder: Path) -> list[Domain]:
    """Write every demo domain as gzipped atomic files into ``folder``, and return the domains."""
    domains = [plant(name).domain for name in RECIPES]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo.", dir=folder) as temporary:
        for domain in domains:
            write_atomic(domain, Path(temporary))
        for plain in sorted(Path(temporary).iterdir()):
            packed = plain.with_name(f"{plain.name}.gz")
            packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
            packed.replace(folder / packed.name)
    return domains


if __name__ == "__main__":
    for domain in write(card_folder() / "demo"):
        print(f"{domain.name}: {domain.n_users} users, {domain.n_items} items, {domain.n_interactions} interactions")
        print(f"  fingerprint {domain.fingerprint} (if it has changed, the card must say so)")
