"""Lets Spark's tasks use the code that was compiled in their JVM before.

Spark makes Java code of a plan and keeps what it compiled, by the code's text and by the class loader of the
thread that asks (SPARK-44795). Tasks that run in the driver's JVM have a class loader of their own, a new one
with each SparkContext: driver and tasks compile the same code one after the other, and a later run in the
same JVM compiles, interprets and optimises it all anew. Here the tasks get the driver's class loader, which
stays.

There is no setting for that; it reaches into private fields of the pinned PySpark's Spark.
"""

from __future__ import annotations

from typing import Any

CACHE_SETTINGS = {"spark.sql.codegen.cache.maxEntries": "1000"}
"""One run of a job compiles some hundred classes; Spark keeps a hundred unless told otherwise."""


def share_compiled_code() -> None:
    """Let the tasks of each SparkContext that this process makes from now on share the driver's code."""
    from pyspark import SparkContext

    initialise = SparkContext._initialize_context

    def initialise_and_share(self: SparkContext, configuration: Any) -> Any:
        context, loader = initialise(self, configuration), _driver_class_loader()
        for executor in _executors_of_this_jvm(context):
            session = executor.defaultSessionState()
            for name in ("urlClassLoader", "replClassLoader"):
                _field(session, name).set(session, loader)
        return context

    SparkContext._initialize_context = initialise_and_share  # type: ignore[method-assign,assignment]


def jars_were_added() -> bool:
    """Whether a script has added jars, which the JVM's class loader now holds for ever."""
    return len(_driver_class_loader().getURLs()) > 0


def _driver_class_loader() -> Any:
    from pyspark import SparkContext

    jvm: Any = SparkContext._jvm
    return jvm.java.lang.Thread.currentThread().getContextClassLoader()


def _executors_of_this_jvm(context: Any) -> list[Any]:
    """One if the master is local; those of other masters are processes of their own."""
    dispatcher = _value(context.sc().env().rpcEnv(), "dispatcher")
    endpoints = _value(dispatcher, "endpointRefs").keySet().toArray()
    return [
        _value(endpoint, "executor")
        for endpoint in endpoints
        if endpoint.getClass().getSimpleName() == "LocalEndpoint"
    ]


def _value(owner: Any, name: str) -> Any:
    return _field(owner, name).get(owner)


def _field(owner: Any, name: str) -> Any:
    """A field of a Java object (Scala puts the class before the names of some). Raises AttributeError."""
    declaring = owner.getClass()
    while declaring is not None:
        for field in declaring.getDeclaredFields():
            if field.getName().split("$")[-1] == name:
                field.setAccessible(True)
                return field
        declaring = declaring.getSuperclass()
    raise AttributeError(f"{owner.getClass().getName()} has no field {name}")
