"""The job's protocol as a model: folders, short runs, random histories, a crash at any change of the store.

For: telling within seconds whether the rules of `glue_scripts/capstone_etl.py` suffice before they are code.
Not for: the code itself; the tests of killed runs hold that to the same on S3.

A store maps keys to rows. A key stands for a folder: replacing it is delete, half, whole (three points to die
at). Single objects (note, index, gold) are replaced at once, as a PUT does. New objects are told by the
bookmark, unless Glue's reader fails, which is drawn, and by the listing against the index. Compaction,
bookmark resets, expired raw objects and gold objects that somebody deleted are drawn, too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

Row = tuple[Any, ...]
Raw = dict[int, tuple[int, list[Row]]]
"""Object -> its version, and rows (identity, payload, day, visitor)."""

RULES = ("noted objects", "noted days", "noted run", "all own rows")
"""What can be left out of a run, to see that the check finds it."""

REBUILT = "rebuilt"


class Crash(BaseException):
    """The run was killed."""


class Store(dict[tuple[Any, ...], Any]):
    """Folders and objects; `budget` more changes until the crash."""

    budget: int | None = None

    def step(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise Crash
            self.budget -= 1

    def drop(self, *key: Any) -> None:
        if key in self:
            self.step()
            del self[key]

    def add(self, rows: Iterable[Row], *key: Any) -> None:
        """Rows appear file by file."""
        before, rows = self.get(key, []), list(rows)
        for part in (rows[: len(rows) // 2], rows) if len(rows) > 1 else (rows,):
            if part:
                self.step()
                self[key] = [*before, *part]

    def put(self, value: Any, *key: Any) -> None:
        self.step()
        self[key] = value

    def of_day(self, table: str, day: str) -> dict[tuple[Any, ...], list[Row]]:
        return {key: rows for key, rows in self.items() if key[:2] == (table, day)}


def latest_versions(rows: Iterable[Row]) -> dict[tuple[Any, str], tuple[Any, str]]:
    """Rows (object, identity, payload, day, visitor) -> (identity, day): payload and visitor of the last."""
    latest: dict[tuple[Any, str], Any] = {}
    for order, identity, payload, day, visitor in rows:
        latest[identity, day] = max(latest.get((identity, day), ((-1, -1), "")), ((order, payload), visitor))
    return {key: (version[1], visitor) for key, (version, visitor) in latest.items()}


def run(
    store: Store, raw: Raw, bookmark: dict[int, int], reader_fails: bool, compacted: set[str], left_out: str
) -> None:
    """One run, as `run` in the script: find the work, take in, refine."""
    index = {key[1]: entry for key, entry in store.items() if key[0] == "index"}  # version, rows by day
    noted_run, noted_objects, noted_days = store.get(("note",), (None, [], []))
    new = {one for one, (version, _) in raw.items() if one not in index or index[one][0] != version}
    if not reader_fails:
        new |= {one for one, (version, _) in raw.items() if bookmark.get(one) != version}
    if left_out != "noted objects":
        new |= raw.keys() & set(noted_objects)
    objects = sorted(new)
    own = noted_run if noted_run is not None and left_out != "noted run" else min(objects, default=REBUILT)
    days = set(noted_days) if left_out != "noted days" else set()
    days |= {day for day in compacted if any(key[2] != REBUILT for key in store.of_day("silver", day))}
    for one in noted_objects:  # expired since
        if one not in objects and one in index:
            days |= index[one][1].keys()

    def note() -> None:
        store.put((own, objects, sorted(days)), "note")

    if objects or days or noted_objects:
        note()
    for one in {*objects, *noted_objects}:
        if one in objects or one not in index:
            store.drop("bronze", one)
    delivered = {one: by_day(raw[one][1]) for one in objects}
    for one in objects:
        store.add(raw[one][1], "bronze", one)
        if one in index:
            before = index[one][1]
            days |= {
                day
                for day in before.keys() | delivered[one].keys()
                if before.get(day) != delivered[one].get(day)
            }
    if not objects and not days:
        store.drop("note")
        return
    note()
    for one in objects:
        store.put((raw[one][0], delivered[one]), "index", one)
    added_to = append_new_events(store, raw, objects, own, days)
    note()
    rebuild(store, days)
    for day, run_id in [(day, own) for day in added_to - days] + [(day, REBUILT) for day in days]:
        renew_cube(store, day, run_id, left_out)
    write_gold(store, added_to | days)
    store.drop("note")
    store.step()
    bookmark.update({one: version for one, (version, _) in raw.items()})


def by_day(rows: list[Row]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    for row in sorted(rows):
        days.setdefault(row[2], []).append(row)
    return days


def append_new_events(store: Store, raw: Raw, objects: list[int], own: Any, days: set[str]) -> set[str]:
    """Silver of the run's own folders; adds days in conflict to `days`. Returns all days of the delivery."""
    delivered = latest_versions((one, *row) for one in objects for row in raw[one][1])
    fresh: dict[str, list[Row]] = {}
    conflicts = set()
    for (identity, day), (payload, visitor) in sorted(delivered.items()):
        if day not in days:
            held = {
                row[1] for rows in store.of_day("silver", day).values() for row in rows if row[0] == identity
            }
            if not held:
                fresh.setdefault(day, []).append((identity, payload, visitor))
            elif held != {payload}:
                conflicts.add(day)
    for day, rows in fresh.items():
        store.add(rows, "silver", day, own)
    days |= conflicts
    return {day for _, day in delivered}


def rebuild(store: Store, days: set[str]) -> None:
    """Silver of these days from bronze, as far as the index has it."""
    for day in days:
        deliverers = [key[1] for key, entry in store.items() if key[0] == "index" and day in entry[1]]
        rows = [(one, *row) for one in deliverers for row in store.get(("bronze", one), ()) if row[2] == day]
        events = [(identity, *version) for (identity, _), version in sorted(latest_versions(rows).items())]
        for table in ("silver", "cube", "visitors"):
            for key in store.of_day(table, day):
                store.drop(*key)
        store.add(events, "silver", day, REBUILT)


def renew_cube(store: Store, day: str, run_id: Any, left_out: str) -> None:
    """Counts and visitors of a run's folder of silver. A visitor of a day is in one run's folder only."""
    for table in ("cube", "visitors"):
        store.drop(table, day, run_id)
    events = store.get(("silver", day, run_id), [])
    if left_out == "all own rows":  # wrong: as if a killed run had appended nothing
        events = events[-1:]
    store.add(sorted(Counter(payload for _, payload, _ in events).items()), "cube", day, run_id)
    known = {visitor for rows in store.of_day("visitors", day).values() for visitor in rows}
    store.add(sorted({(visitor,) for *_, visitor in events} - known), "visitors", day, run_id)


def write_gold(store: Store, days: set[str]) -> None:
    """One object a table, put back at once; all days if one table is missing."""
    if ("gold", "counts") not in store or ("gold", "activity") not in store:
        days = days | {key[1] for key in store if key[0] in ("cube", "visitors")}
    counts = {key: n for key, n in store.get(("gold", "counts"), {}).items() if key[0] not in days}
    activity = {day: n for day, n in store.get(("gold", "activity"), {}).items() if day not in days}
    for day in days:
        for rows in store.of_day("cube", day).values():
            for payload, number in rows:
                counts[day, payload] = counts.get((day, payload), 0) + number
        visitors = sum(map(len, store.of_day("visitors", day).values()))
        if visitors:
            activity[day] = visitors
    store.put(counts, "gold", "counts")
    store.put(activity, "gold", "activity")


def difference(store: Store, delivered: Raw) -> str:
    """In what the store differs from what all objects ever delivered make, "" if in nothing."""
    events = latest_versions((one, *row) for one, (_, rows) in delivered.items() for row in rows)
    silver = sorted((day, identity, payload) for (identity, day), (payload, _) in events.items())
    stored = [(key[1], row[0], row[1]) for key, rows in store.items() if key[0] == "silver" for row in rows]
    visitors: dict[str, set[str]] = {}
    for (_, day), (_, visitor) in events.items():
        visitors.setdefault(day, set()).add(visitor)
    bronze = sorted((one, *row) for one, (_, rows) in delivered.items() for row in rows)
    pairs = {
        "bronze": (
            sorted((key[1], *row) for key, rows in store.items() if key[0] == "bronze" for row in rows),
            bronze,
        ),
        "silver": (sorted(stored), silver),
        "counts": (
            store.get(("gold", "counts"), {}),
            dict(Counter((day, payload) for day, _, payload in silver)),
        ),
        "activity": (store.get(("gold", "activity"), {}), {day: len(who) for day, who in visitors.items()}),
    }
    return ", ".join(name for name, (found, wanted) in pairs.items() if found != wanted)


def history(seed: int, left_out: str = "") -> tuple[int, str]:
    """Tell a random history; returns how many runs crashed, and what the first wrong table was after one."""
    draw, store, bookmark = random.Random(seed), Store(), dict[int, int]()
    raw: Raw = {}
    delivered: Raw = {}
    names, crashes, version = list(range(8)), 0, 0
    if draw.random() < 0.6:
        draw.shuffle(names)  # objects come late, too
    for _ in range(draw.randint(1, 7)):
        for _ in range(draw.randint(0, 3)):
            version += 1
            again = raw and (not names or draw.random() < 0.25)
            if not again and not names:
                continue
            one = draw.choice(list(raw)) if again else names.pop(0)
            kinds = draw.sample(range(4), draw.randint(1 if again else 0, 4))
            rows = [(kind, draw.randint(0, 2), draw.choice("aaab"), f"v{kind % 3}") for kind in kinds]
            raw[one] = delivered[one] = (version, rows)
        if draw.random() < 0.1:
            bookmark.clear()

        def once(draw: random.Random = draw) -> None:
            compacted = {"a"} if draw.random() < 0.1 else set()
            run(store, raw, bookmark, draw.random() < 0.3, compacted, left_out)

        if draw.random() < 0.6:
            store.budget = draw.randint(0, 40)
            try:
                once()
            except Crash:
                crashes += 1
                if draw.random() < 0.5:
                    store.budget = None
                    continue  # more objects come before the job is started again
            store.budget = None
        once()
        if found := difference(store, delivered):
            return crashes, found
        if draw.random() < 0.1:  # somebody deletes a table of gold; the next object mends it
            store.pop(("gold", draw.choice(["counts", "activity"])), None)
            version += 1
            one = draw.choice(list(raw)) if raw else 0
            raw[one] = delivered[one] = (version, raw.get(one, (0, []))[1])
            once()
        for one in draw.sample(list(raw), len(raw) // 4):  # what was taken in may expire
            del raw[one]
    once()
    return crashes, difference(store, delivered)
