"""What a campaign is going to do, and how long that may take from what stored runs took."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict

from benchmark import groundwork
from benchmark.cards import Cards
from benchmark.execute import facts_key, row_name
from benchmark.forecast import Estimate, Forecast, Size, in_words
from benchmark.hardware import Hardware
from benchmark.jobs import digest
from benchmark.place import Place
from benchmark.plan import Named, Task, alike
from benchmark.prepare import Prepared
from benchmark.runner import Facts


def estimate(task: Task, facts: Mapping[str, Facts], forecast: Forecast) -> Estimate | None:
    size = Size.of_target(facts[facts_key(task)].target)
    return forecast.run(task.job.method, task.job.target, size, task.job.few_shot)


def sizes_of(names: Iterable[str], prepared: Mapping[str, Prepared], cards: Cards) -> dict[str, Size]:
    """How large the domains are, those that are missing as their cards expect them; without what no card says."""
    found: dict[str, Size] = {}
    for name in dict.fromkeys(names):
        if name in prepared:
            domain = prepared[name].domain
            found[name] = Size(users=domain.n_users, items=domain.n_items, interactions=domain.n_interactions)
            continue
        for expected in (given.expect for given in groundwork.card_of(name, cards).inputs if given.expect):
            found[name] = Size(users=expected.users, items=expected.items, interactions=expected.interactions)
    return found


def say_forecast(
    tasks: Sequence[Task],
    waiting: Sequence[Named],
    sizes: Mapping[str, Size],
    forecast: Forecast,
    hardware: Hardware,
    place: Place,
    say: Callable[[str], None],
) -> None:
    """What is going to be run, and how long that may take on this hardware from what stored runs took."""
    slowness = forecast.slowness.get(hardware)
    total, unknown, guessed = 0.0, 0, False

    def tell(what: str, times: int, estimate: Estimate | None) -> None:
        nonlocal total, unknown, guessed
        if estimate is None:
            say(f"{what}, no estimate: nothing like it is stored")
            unknown += times
            return
        never = ", a guess: it was never run" if estimate.guessed else ""
        seconds = estimate.seconds * (slowness or 1.0)
        say(f"{what}, about {in_words(seconds)}{' each' if times > 1 else ''}{never}")
        total, guessed = total + seconds * times, guessed or estimate.guessed

    artefacts = {task.artefact.key: task.artefact for task in tasks if task.artefact}
    missing = [artefact.spec for artefact in artefacts.values() if not place.has(artefact)]
    specs = [*missing, *(named.job.pretraining for named in waiting if named.job.pretraining)]
    # what differs in length alone is one piece of work: a longer one goes on from a shorter one
    for group in alike(specs, lambda spec: digest({**asdict(spec), "epochs": None})):
        longest = max(group, key=lambda spec: spec.epochs)
        sources = [sizes[name] for name in longest.sources if name in sizes]
        known = len(sources) == len(longest.sources)
        estimate = forecast.pretraining(longest.family, sources, longest.epochs) if known else None
        tell(f"to pre-train: {longest.family} on {', '.join(longest.sources)}, {longest.epochs} epochs", 1, estimate)
    rows = [*(Named(job=task.job, label=task.label) for task in tasks), *waiting]
    for group in alike(rows, lambda row: f"{row.job.target} {row_name(row.job, row.label)}"):
        job, what = group[0].job, f"to run: {group[0].job.target} {row_name(group[0].job, group[0].label)}"
        if not job.training:
            say(f"{what}, {len(group)} x, not trained")
            continue
        size = sizes.get(job.target)
        estimate = forecast.run(job.method, job.target, size, job.few_shot) if size else None
        tell(f"{what}, {len(group)} x", len(group), estimate)
    if rows:
        without = f", and {unknown} without an estimate" if unknown else ""
        rough = "; what is guessed may take many times as long" if guessed else ""
        say(f"in all about {in_words(total)} of one worker, pre-training included{without}{rough}")
    if total and slowness is None:
        say(f"these are times of {forecast.usual}; nothing tells how long {hardware} takes")
