"""Actions of the Data Catalog that MiniStack lacks, or answers otherwise than Glue does.

Partitions that meet an expression, partitions of tables that do not exist, versions of tables, SearchTables.
Databases and tables themselves are MiniStack's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from local_aws.glue.errors import ApiError
from local_aws.glue.expressions import matching

Request = dict[str, Any]
Result = dict[str, Any]

_PAGE_SIZE = 1000
_MOST_DELETED = 25
"""Partitions of a BatchDeletePartition."""
_NOT_EMPTY = ("Owner", "Description", "ViewOriginalText", "ViewExpandedText", "ViewDefinition")
"""Members of a table that Glue leaves out when they say nothing; its API does not even take some empty."""
_SEARCHED = ("Name", "DatabaseName", "Description", "Owner", "TableType")


class CatalogActions:
    """The actions: request members in, result members out, or ApiError."""

    def __init__(self, glue: Any, call: Callable[[str, Request], Result]) -> None:
        """`call` runs one of MiniStack's own actions, by the name of its function."""
        self._glue = glue
        self._call = call
        self._versions = type(glue._tables)()
        # As MiniStack's own: saved with its state, and restored from it.
        glue._ALL_STATE["table_versions"] = self._versions

    def actions(self) -> dict[str, Callable[[Request], Result]]:
        """Each action by its name in the API."""
        return {
            "GetTable": self.get_table,
            "GetTables": self.get_tables,
            "SearchTables": self.search_tables,
            "GetTableVersion": self.get_table_version,
            "GetTableVersions": self.get_table_versions,
            "DeleteTableVersion": self.delete_table_version,
            "BatchDeleteTableVersion": self.batch_delete_table_version,
            "GetPartitions": self.get_partitions,
            "GetPartition": self._of_table("_get_partition"),
            "BatchGetPartition": self._of_table("_batch_get_partition"),
            "CreatePartition": self._of_table("_create_partition"),
            "BatchCreatePartition": self._of_table("_batch_create_partition"),
            "DeletePartition": self.delete_partition,
            "BatchDeletePartition": self.batch_delete_partition,
        }

    def replacements(self) -> dict[str, Callable[[Request], Result]]:
        """What takes the place of MiniStack's functions, for CloudFormation calls them, too."""
        return {
            "_update_table": self.update_table,
            "_delete_table": self.delete_table,
            "_batch_delete_table": self.batch_delete_table,
        }

    def reset(self) -> None:
        """Forget all versions."""
        self._versions.clear()

    # Tables

    def get_table(self, data: Request) -> Result:
        """GetTable."""
        return {"Table": _shown(self._call("_get_table", data)["Table"])}

    def get_tables(self, data: Request) -> Result:
        """GetTables."""
        result = self._call("_get_tables", data)
        return {**result, "TableList": [_shown(table) for table in result["TableList"]]}

    def update_table(self, data: Request) -> Result:
        """UpdateTable, keeping the version before unless SkipArchive says otherwise."""
        key = _key(data, data.get("TableInput", {}).get("Name"))
        before = copy.deepcopy(self._glue._tables.get(key))
        result = self._call("_update_table", data)
        if before is not None and not data.get("SkipArchive"):
            self._versions.setdefault(key, []).append(before)
        return result

    def delete_table(self, data: Request) -> Result:
        """DeleteTable, with its versions."""
        result = self._call("_delete_table", data)
        self._versions.pop(_key(data, data.get("Name")), None)
        return result

    def batch_delete_table(self, data: Request) -> Result:
        """BatchDeleteTable, with their versions."""
        result = self._call("_batch_delete_table", data)
        for name in data.get("TablesToDelete", []):
            if _key(data, name) not in self._glue._tables:
                self._versions.pop(_key(data, name), None)
        return result

    def search_tables(self, data: Request) -> Result:
        """SearchTables by filters, and by words of name, description, columns, parameters; quoted, by all."""
        if data.get("SortCriteria"):
            raise _invalid("SearchTables: SortCriteria is not served; sort TableList yourself")
        found = [
            _shown(table)
            for _, table in sorted(self._glue._tables.items())
            if _meets_text(table, data.get("SearchText") or "") and _meets(table, data.get("Filters") or [])
        ]
        return _page(data, "TableList", found)

    def get_table_version(self, data: Request) -> Result:
        """GetTableVersion; the current one, unless a version is named."""
        wanted = data.get("VersionId")
        for table in self._all_versions(data):
            if wanted is None or table["VersionId"] == str(wanted):
                return {"TableVersion": _version(table)}
        raise ApiError("EntityNotFoundException", f"Version {wanted} of {data.get('TableName')} not found")

    def get_table_versions(self, data: Request) -> Result:
        """GetTableVersions, newest first."""
        return _page(data, "TableVersions", [_version(table) for table in self._all_versions(data)])

    def delete_table_version(self, data: Request) -> Result:
        """DeleteTableVersion, of an earlier version."""
        for error in self._delete_versions(data, [data.get("VersionId")]):
            raise ApiError(error["ErrorDetail"]["ErrorCode"], error["ErrorDetail"]["ErrorMessage"])
        return {}

    def batch_delete_table_version(self, data: Request) -> Result:
        """BatchDeleteTableVersion, of earlier versions."""
        return {"Errors": self._delete_versions(data, data.get("VersionIds", []))}

    def _all_versions(self, data: Request) -> list[Result]:
        table = self._table(data)
        earlier = self._versions.get(_key(data, data.get("TableName")), [])
        return [table, *reversed(earlier)]

    def _delete_versions(self, data: Request, version_ids: Iterable[Any]) -> list[Result]:
        current = self._table(data)["VersionId"]
        versions = self._versions.setdefault(_key(data, data.get("TableName")), [])
        errors = []
        for version_id in map(str, version_ids):
            kept = [table for table in versions if table["VersionId"] != version_id]
            if len(kept) == len(versions):
                code = "InvalidInputException" if version_id == current else "EntityNotFoundException"
                why = "is the current one" if version_id == current else "not found"
                detail = {"ErrorCode": code, "ErrorMessage": f"Version {version_id} {why}"}
                errors.append(
                    {"TableName": data.get("TableName"), "VersionId": version_id, "ErrorDetail": detail}
                )
            versions[:] = kept
        return errors

    # Partitions

    def get_partitions(self, data: Request) -> Result:
        """GetPartitions: those that meet the expression, if there is one."""
        table = self._table(data)
        partitions = self._partitions(data)
        if data.get("Expression"):
            values = [partition.get("Values", []) for partition in partitions]
            chosen = matching(data["Expression"], table.get("PartitionKeys") or [], values)
            partitions = [partitions[position] for position in chosen]
        segment = data.get("Segment")
        if segment:
            partitions = partitions[int(segment["SegmentNumber"]) :: int(segment["TotalSegments"])]
        if data.get("ExcludeColumnSchema"):
            partitions = [_without_columns(partition) for partition in partitions]
        return _page(data, "Partitions", partitions)

    def delete_partition(self, data: Request) -> Result:
        """DeletePartition."""
        self._table(data)
        self._require_partition(data, data.get("PartitionValues", []))
        return self._call("_delete_partition", data)

    def batch_delete_partition(self, data: Request) -> Result:
        """BatchDeletePartition; what is not there is among the errors."""
        self._table(data)
        doomed = data.get("PartitionsToDelete", [])
        if len(doomed) > _MOST_DELETED:
            raise ApiError(
                "ValidationException", f"PartitionsToDelete has {len(doomed)} members, of {_MOST_DELETED}"
            )
        errors = []
        for values in (entry.get("Values", []) for entry in doomed):
            try:
                self.delete_partition({**data, "PartitionValues": values})
            except ApiError as error:
                detail = {"ErrorCode": error.code, "ErrorMessage": str(error)}
                errors.append({"PartitionValues": values, "ErrorDetail": detail})
        return {"Errors": errors}

    def _of_table(self, function: str) -> Callable[[Request], Result]:
        """One of MiniStack's actions on partitions, for tables that exist."""

        def act(data: Request) -> Result:
            self._table(data)
            return self._call(function, data)

        return act

    def _table(self, data: Request) -> Result:
        table = self._glue._tables.get(_key(data, data.get("TableName")))
        if table is None:
            raise ApiError(
                "EntityNotFoundException",
                f"Table {data.get('TableName')} not found in database {data.get('DatabaseName')}",
            )
        return dict(table)

    def _partitions(self, data: Request) -> list[Result]:
        return list(self._glue._partitions.get(_key(data, data.get("TableName")), []))

    def _require_partition(self, data: Request, values: list[str]) -> None:
        if not any(partition.get("Values") == values for partition in self._partitions(data)):
            raise ApiError("EntityNotFoundException", f"Partition {values} not found")


def _key(data: Request, table: str | None) -> str:
    return f"{data.get('DatabaseName')}/{table}"


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidInputException", message)


def _shown(table: Mapping[str, Any]) -> Result:
    """A table without the members that say nothing."""
    return {name: value for name, value in table.items() if name not in _NOT_EMPTY or value}


def _version(table: Result) -> Result:
    return {"Table": _shown(table), "VersionId": table["VersionId"]}


def _without_columns(partition: Result) -> Result:
    storage = {**partition.get("StorageDescriptor", {})}
    storage.pop("Columns", None)
    return {**partition, "StorageDescriptor": storage}


def _page(data: Request, name: str, items: list[Result]) -> Result:
    """A page of the items: those after NextToken, MaxResults of them at most. Raises ApiError."""
    token = str(data.get("NextToken") or 0)
    if not token.isdigit():
        raise _invalid(f"NextToken {token!r} is not one that this action returned")
    start, size = int(token), min(int(data.get("MaxResults") or _PAGE_SIZE), _PAGE_SIZE)
    page: Result = {name: items[start : start + size]}
    if start + size < len(items):
        page["NextToken"] = str(start + size)
    return page


def _meets_text(table: Mapping[str, Any], text: str) -> bool:
    columns = [
        column.get("Name", "") for column in (table.get("StorageDescriptor") or {}).get("Columns") or []
    ]
    parameters = [str(value) for value in (table.get("Parameters") or {}).values()]
    texts = [str(table.get(member) or "") for member in _SEARCHED] + columns + parameters
    return not text or any(_matches(text, candidate) for candidate in texts)


def _meets(table: Mapping[str, Any], filters: Iterable[Mapping[str, str]]) -> bool:
    for one in filters:
        key, comparator = one.get("Key", ""), one.get("Comparator", "EQUALS")
        if key not in _SEARCHED or comparator != "EQUALS":
            raise _invalid(
                f"SearchTables: a filter {comparator} on {key} is not served; use EQUALS on one of "
                f"{', '.join(_SEARCHED)}"
            )
        if not _matches(one.get("Value", ""), str(table.get(key) or "")):
            return False
    return True


def _matches(wanted: str, text: str) -> bool:
    """In quotes the whole text, else a word of it; words are what punctuation sets apart."""
    wanted, text = wanted.lower(), text.lower()
    if len(wanted) > 1 and wanted[0] == wanted[-1] == '"':
        return text == wanted[1:-1]
    return wanted == text or set(re.findall(r"\w+", wanted.replace("_", " "))) <= set(
        re.findall(r"\w+", text.replace("_", " "))
    )
