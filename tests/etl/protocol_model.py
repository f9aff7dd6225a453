"""The job's protocol as a model, against random histories with a crash at any change of the store.

For: what no test of the real job can afford, some thousand crashes in a second. It follows `find_work`,
`take_in` and `refine` of `glue_scripts/capstone_etl.py`: a change of the protocol is tried here first.
Not for: what the steps compute. Here an event is a number, with a payload and a visitor.

A store maps keys to rows. In silver and visitors a key stands for a folder: rows appear in it file by file,
and a run can die in between. Single objects (note, files of bronze, index, cube, gold) are replaced at once,
as a PUT does. What is new is told by the bookmark, unless Glue's reader fails, and by the listing against the
index. Rounds of a run that watches, compaction, joined files, bookmark resets, expired raw objects and tables
of gold that somebody deleted are drawn, too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# What can be left out of a run, to see that the check finds it.
RULES = {
    "objects": "what a killed run had in hand is taken in again, or its days are computed anew if it expired",
    "days": "days to be rebuilt stand in the note",
    "run": "the note tells the run's name, and the next run goes on under it",
    "own rows": "visitors come from all that the run has in silver, also from what a killed one had",
    "through twice": "a run that brings more through all layers is from then on as one that is repeated",
    "counted anew": "what a killed run may have added to the cube is counted anew, with all other events",
    "joined noted": "a day stands in the note while its visitors' files are joined",
    "other visitors": "who is a visitor in another run's folder is none in this one's",
    "indexed": "what a killed run had brought to bronze as a whole is indexed, though its raw object expired",
    "half done": "what it may have written there besides is deleted",
    "stale": "what bronze had of another version of an object is deleted",
    "stale first": "as long as the index names it",
    "noted first": "all this comes before another note takes the place of the one that names it",
    "note first": "the note is written before anything else is changed",
    "all of gold": "where one gold table is missing, all of them are computed from the whole cube",
}
REBUILT = "rebuilt"

Key = tuple[Any, ...]


class Crash(BaseException):
    """The run ended here."""


class Row(NamedTuple):
    identity: int
    day: int
    payload: str
    visitor: str


class Raw(NamedTuple):
    """A raw object as it was last uploaded; also what bronze holds of one, as index and note tell it."""

    version: int
    arrival: int
    rows: tuple[Row, ...]

    @property
    def days(self) -> set[int]:
        return {row.day for row in self.rows}

    def files_of(self, o: int) -> dict[Key, list[Any]]:
        """What it has in bronze: what was accepted, and of every other version something rejected."""
        files: dict[str, list[Any]] = {
            "accepted": list(self.rows),
            "rejected": [self.version] if self.version % 2 else [],
        }
        return {("bronze", o, self.arrival, self.version, name): rows for name, rows in files.items() if rows}


NO_NOTE: tuple[str, dict[int, Raw], set[int], set[int]] = ("", {}, set(), set())
"""The run, its objects, days to be rebuilt, and which of the objects bronze has as a whole."""


class Store(dict[Key, Any]):
    budget: int | None = None  # of changes, until the run is killed

    def step(self) -> None:
        if self.budget is not None:
            if self.budget == 0:
                raise Crash
            self.budget -= 1

    def drop(self, key: Key) -> None:
        if key in self:
            self.step()
            del self[key]

    def append(self, key: Key, rows: Iterable[Any]) -> None:
        for row in rows:
            self.step()
            self[key] = [*self.get(key, ()), row]

    def put(self, key: Key, value: Any) -> None:
        self.step()
        self[key] = value

    def below(self, *beginning: Any) -> list[tuple[Key, Any]]:
        return [(key, value) for key, value in self.items() if key[: len(beginning)] == beginning]


Copy = tuple[tuple[int, int], Row]
"""A row, after arrival and name of the object that delivered it."""


def latest(copies: Iterable[Copy]) -> dict[tuple[int, int], Row]:
    """Each event once: the latest arrival wins, then the last name, then the greatest payload."""
    events: dict[tuple[int, int], tuple[Any, Row]] = {}
    for delivery, row in copies:
        key, order = (row.identity, row.day), (delivery, row.payload)
        if key not in events or order > events[key][0]:
            events[key] = (order, row)
    return {key: row for key, (_, row) in events.items()}


@dataclass
class World:
    """Buckets and a bookmark; `run` leaves out the rule of that name."""

    without: str = ""
    store: Store = field(default_factory=Store)
    raw: dict[int, Raw] = field(default_factory=dict)
    bookmark: dict[int, int] = field(default_factory=dict)
    runs: int = 0  # that got a name of their own
    visitors_first: bool = False  # of those that are written side by side with the cube

    @property
    def index(self) -> dict[int, Raw]:
        return {key[1]: one for key, one in self.store.below("index")}

    def run(
        self,
        *,
        reader_fails: bool,
        compacted: set[int],
        too_many_rejected: bool,
        joins: bool = False,
        is_last: bool = True,
        done: set[int] | None = None,
    ) -> set[int]:
        """A round; the last one asks the reader and moves the bookmark. Returns what it has taken in."""
        store, index = self.store, self.index
        run, left, noted_days, noted_whole = store.get(("note",), NO_NOTE)
        is_repeated = bool(run)

        def put_in_index(objects: dict[int, Raw]) -> None:
            before = {key for o in objects.keys() & index.keys() for key in index[o].files_of(o)}
            stale = before.difference(*(one.files_of(o) for o, one in objects.items()))
            if self.without == "stale first":
                for o, one in objects.items():
                    store.put(("index", o), one)
            if self.without != "stale":
                for key in stale:
                    store.drop(key)
            for o, one in objects.items():
                store.put(("index", o), one)
            index.update(objects)

        if self.without != "indexed":
            put_in_index({o: left[o] for o in noted_whole})
        new = {o for o, one in self.raw.items() if o not in index or index[o].version != one.version}
        handed = {o for o, one in self.raw.items() if self.bookmark.get(o) != one.version}
        days = set() if self.without == "days" else set(noted_days)
        if self.without != "objects":
            new |= left.keys() & self.raw.keys()
            days |= {day for o in left.keys() & index.keys() - new for day in index[o].days}
        work = {o: self.raw[o] for o in sorted(new)}
        whole = set[int]()  # in bronze
        days |= {day for day in compacted if any(key[2] != REBUILT for key, _ in store.below("silver", day))}
        if not run or self.without == "run":
            self.runs += 1
            run = str(self.runs)

        def note() -> None:
            store.put(("note",), (run, dict(work), set(days), set(whole)))

        def take_in(objects: dict[int, Raw]) -> None:
            for o, one in objects.items():
                for key, rows in one.files_of(o).items():
                    store.put(key, rows)
            for o in objects.keys() & index.keys():
                if index[o].version != objects[o].version:
                    days.update(index[o].days | objects[o].days)
            whole.update(objects)
            note()
            put_in_index(objects)

        if self.without == "noted first":
            note()
        if self.without != "half done":
            written = {key for o, one in left.items() for key in one.files_of(o)}
            for key in written.difference(*(one.files_of(o) for o, one in index.items())):
                store.drop(key)
        if (work or days or left) and self.without != "note first":
            note()
        is_through = bool(work)  # all layers, before the reader has answered
        if is_through:
            take_in(dict(work))
            self.refine(run, is_repeated, work, days, note, joins)
        once_more = handed - work.keys() - (done or set()) if is_last and not reader_fails else set()
        if again := {o: self.raw[o] for o in sorted(once_more)}:
            is_repeated = is_repeated or (is_through and self.without != "through twice")
            work |= again
            note()
            take_in(again)
        if again or (not is_through and (days or self.lacks_gold)):
            self.refine(run, is_repeated, work, days, note, joins)
        if too_many_rejected:
            raise Crash
        store.drop(("note",))
        if is_last:
            store.step()
            self.bookmark |= {o: one.version for o, one in self.raw.items()}
        return set(work)

    def refine(
        self,
        run: str,
        is_repeated: bool,
        work: dict[int, Raw],
        days: set[int],
        note: Callable[[], None],
        joins: bool,
    ) -> None:
        store = self.store
        delivered = latest(((one.arrival, o), row) for o, one in work.items() for row in one.rows)
        fresh: dict[int, list[Row]] = {}
        conflicts = set()
        for (identity, day), row in delivered.items():
            held = [one for _, rows in store.below("silver", day) for one in rows if one.identity == identity]
            if day not in days and not held:
                fresh.setdefault(day, []).append(row)
            elif day not in days and any(one.payload != row.payload for one in held):
                conflicts.add(day)
        for day, rows in fresh.items():
            store.append(("silver", day, run), rows)
        if conflicts:
            days |= conflicts
            note()
        for day in days:
            self.rebuild(day)
        added_to = {day for one in work.values() for day in one.days} - days
        for day in added_to:
            own = store.get(("silver", day, run), [])
            self.renew(day, run, own, fresh.get(day, []) if self.without == "own rows" else own, is_repeated)
        for day in days:
            rebuilt = store.get(("silver", day, REBUILT), [])
            self.renew(day, REBUILT, rebuilt, rebuilt, is_repeated)
        self.write_gold(added_to | days)
        for day in added_to if joins else ():
            if self.without != "joined noted":
                days.add(day)
                note()
            files = store.below("visitors", day)
            store.append(("visitors", day, f"{run}-joined"), [one for _, rows in files for one in rows])
            for key, _ in files:
                store.drop(key)

    def rebuild(self, day: int) -> None:
        store = self.store
        copies = [
            ((one.arrival, o), row)
            for o, one in self.index.items()
            for row in store.get(("bronze", o, one.arrival, one.version, "accepted"), ())
        ]
        for table in ("silver", "cube", "visitors"):
            for key, _ in store.below(table, day):
                store.drop(key)
        rows = [row for row in latest(copies).values() if row.day == day]
        store.append(("silver", day, REBUILT), rows)

    def renew(self, day: int, run: str, own: list[Row], visits: list[Row], is_repeated: bool) -> None:
        """Cube and visitors, side by side: a run can be killed in either when the other is there."""
        if self.visitors_first:
            self.renew_visitors(day, run, visits)
        self.renew_cube(day, own, is_repeated)
        if not self.visitors_first:
            self.renew_visitors(day, run, visits)

    def renew_cube(self, day: int, own: list[Row], is_repeated: bool) -> None:
        counts = Counter(row.payload for row in own)
        if is_repeated and self.without != "counted anew":
            counts = Counter(row.payload for _, rows in self.store.below("silver", day) for row in rows)
        else:
            counts += self.store.get(("cube", day), Counter())
        self.store.put(("cube", day), counts)

    def renew_visitors(self, day: int, run: str, own: list[Row]) -> None:
        store = self.store
        store.drop(("visitors", day, run))
        seen = {row.visitor for row in own}
        if self.without != "other visitors":
            seen -= {visitor for _, visitors in store.below("visitors", day) for visitor in visitors}
        store.append(("visitors", day, run), sorted(seen))

    @property
    def lacks_gold(self) -> bool:
        return bool(self.index) and len(self.store.below("gold")) < 2

    def write_gold(self, days: set[int]) -> None:
        store = self.store
        if self.lacks_gold and self.without != "all of gold":
            days = days | {key[1] for key, _ in store.below("cube")}
        counts = {key: n for key, n in store.get(("gold", "counts"), {}).items() if key[0] not in days}
        visitors = {day: n for day, n in store.get(("gold", "visitors"), {}).items() if day not in days}
        for day in days:
            for payload, n in store.get(("cube", day), {}).items():
                counts[day, payload] = n
            found = sum(len(rows) for _, rows in store.below("visitors", day))
            visitors |= {day: found} if found else {}
        store.put(("gold", "counts"), counts)
        store.put(("gold", "visitors"), visitors)

    def check(self) -> None:
        """Raises AssertionError unless each layer is what follows from all that was delivered."""
        store, index = self.store, self.index
        assert index.items() >= self.raw.items(), "index"
        expected = {key: rows for o, one in index.items() for key, rows in one.files_of(o).items()}
        assert dict(store.below("bronze")) == expected, "bronze"
        events = latest(((one.arrival, o), row) for o, one in index.items() for row in one.rows).values()
        silver = sorted(row for _, rows in store.below("silver") for row in rows)
        assert [row[:3] for row in silver] == sorted(row[:3] for row in events), "silver"
        counts = Counter((row.day, row.payload) for row in events)
        visitors = Counter(day for day, _ in {(row.day, row.visitor) for row in silver})
        assert (store.get(("gold", "counts"), {}), store.get(("gold", "visitors"), {})) == (counts, visitors)


def tell(seed: int, without: str = "") -> int:
    """A history, checked after each run that was not killed. Returns how many were; raises AssertionError."""
    chance, world, version, crashes = random.Random(seed), World(without), 0, 0
    names = list(range(8))
    if chance.random() < 0.6:
        chance.shuffle(names)  # objects come late, too

    def deliver() -> None:
        nonlocal version
        version += 1
        is_again = world.raw and chance.random() < 0.25
        o = chance.choice(list(world.raw)) if is_again else names.pop() if names else version + 8
        rows = {}
        for _ in range(chance.randint(0, 4)):
            i = chance.randint(0, 3)
            rows[i] = Row(i, chance.randint(0, 2), chance.choice("aaab"), f"v{i % 3}")
        # The keys of some do not tell when they arrived: then it is whenever they were last uploaded.
        world.raw[o] = Raw(version, version if o % 3 == 0 else o, tuple(rows.values()))

    def survives(budget: int | None) -> bool:
        world.store.budget, world.visitors_first = budget, chance.random() < 0.5
        fate = {"joins": chance.random() < 0.2, "too_many_rejected": False}
        fate["too_many_rejected"] = budget is not None and chance.random() < 0.05
        done = set[int]()
        try:
            while chance.random() < 0.2:  # It watches.
                done |= world.run(reader_fails=False, compacted=set(), is_last=False, done=done, **fate)
                if chance.random() < 0.5:
                    deliver()
            world.run(
                reader_fails=chance.random() < 0.3,
                compacted={0} if chance.random() < 0.1 else set(),
                done=done,
                **fate,
            )
        except Crash:
            return False
        finally:
            world.store.budget = None
        world.check()
        return True

    for _ in range(chance.randint(1, 7)):
        for _ in range(chance.randint(0, 3)):
            deliver()
        if chance.random() < 0.1:
            world.bookmark.clear()
        if chance.random() < 0.1:
            world.store.pop(("gold", chance.choice(("counts", "visitors"))), None)
        while chance.random() < 0.6 and not survives(chance.randint(0, 40)):
            crashes += 1
            if world.raw and chance.random() < 0.3:
                del world.raw[chance.choice(sorted(world.raw))]  # It expires.
            if chance.random() < 0.3:
                break  # more objects come before the job is started again
        else:
            survives(None)
    survives(None)
    return crashes
