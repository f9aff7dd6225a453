"""Which functions of Trino are served: those whose answers were checked against Trino's documentation.

https://trino.io/docs/current/functions.html. Some need no translation beyond sqlglot's, others have a rule in
`functions`. A function of Trino that was not checked is refused by name, as is what Trino does not know:
DuckDB would answer many of both, and some otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from local_aws.athena.dialect import FUNCTION_NAME
from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import NUMERIC_ORDER, is_interval, is_unknown, type_of

_BY_FIRST_ARGUMENT = {
    "a number": """
        abs acos asin atan atan2 bitwise_and bitwise_and_agg bitwise_not bitwise_or bitwise_or_agg
        bitwise_xor cbrt ceil ceiling chr corr cos cosh covar_pop covar_samp degrees exp floor from_unixtime
        geometric_mean is_finite is_infinite is_nan ln log log10 log2 mod pow power radians regr_intercept
        regr_slope round sign sin sinh sqrt stddev stddev_pop stddev_samp tan tanh to_base truncate var_pop
        var_samp variance
        """,
    "a number or an interval": "avg sum",
    "a text": """
        codepoint concat_ws date_parse from_base64 from_hex from_iso8601_date from_iso8601_timestamp
        json_parse levenshtein_distance listagg lower lpad ltrim parse_datetime position regexp_count
        regexp_extract regexp_extract_all regexp_like regexp_replace regexp_split replace rpad rtrim split
        split_part starts_with strpos substr substring to_utf8 translate trim upper url_decode url_encode
        format
        """,
    "a text or a binary": "length",
    "a binary": "from_utf8 md5 sha1 sha256 to_base64 to_hex",
    "a date or a timestamp": """
        at_timezone date_format day day_of_month day_of_week day_of_year dow doy extract format_datetime
        hour last_day_of_month millisecond minute month quarter second to_iso8601 to_unixtime week
        week_of_year year year_of_week yow
        """,
    "an array": """
        all_match any_match array_distinct array_except array_intersect array_join array_max array_min
        array_position array_remove array_sort array_union arrays_overlap contains filter flatten
        map_from_entries ngrams none_match reduce slice transform trim_array zip zip_with
        """,
    "a map": "map_concat map_entries map_filter map_keys map_values transform_keys transform_values",
    "a text or an array": "concat reverse",
    "an array or a map": "cardinality element_at",
    "": """
        all any any_value approx_distinct approx_percentile arbitrary array_agg bool_and bool_or case cast
        coalesce count count_if cume_dist current_date current_timestamp current_timezone date date_add
        date_diff date_trunc dense_rank e every exists first_value greatest grouping histogram if infinity
        json_array_length json_extract json_extract_scalar json_format lag last_value lead least
        localtimestamp map map_agg max max_by min min_by nan now nth_value ntile nullif percent_rank pi rand
        random rank repeat row row_number sequence some to_milliseconds try try_cast typeof unnest uuid
        """,
}
CHECKED = {name: kind for kind, names in _BY_FIRST_ARGUMENT.items() for name in names.split()}
"""Name of each function that is served, and what its first argument must be (empty: checked elsewhere)."""

_INSTEAD = {
    "json_array": "CAST(ARRAY[...] AS json)",
    "json_array_contains": "contains(CAST(json_parse(...) AS array(...)), ...)",
    "json_array_get": "json_extract(..., '$[0]')",
    "json_exists": "json_extract(...) IS NOT NULL",
    "json_object": "CAST(MAP(...) AS json)",
    "json_query": "json_extract",
    "json_size": "json_array_length, or cardinality of a cast",
    "json_value": "json_extract_scalar",
    "url_extract_fragment": "regexp_extract",
    "url_extract_host": "regexp_extract",
    "url_extract_parameter": "regexp_extract",
    "url_extract_path": "regexp_extract",
    "url_extract_port": "regexp_extract",
    "url_extract_protocol": "regexp_extract",
    "url_extract_query": "regexp_extract",
    "with_timezone": "AT TIME ZONE",
    "current_time": "current_timestamp",
    "localtime": "localtimestamp",
    "split_to_map": "split",
    "table": "UNNEST(sequence(...)) AS t (n)",
    "sha512": "sha256",
}
_UNCHECKED = """
    approx_most_frequent approx_set array_first array_histogram array_last bar beta_cdf bing_tile
    bing_tile_at bing_tile_coordinates bing_tile_polygon bing_tile_quadkey bing_tile_zoom_level
    bing_tiles_around bit_count bitwise_left_shift bitwise_right_shift bitwise_right_shift_arithmetic
    bitwise_xor_agg char2hexint checksum classify color combinations contains_sequence convex_hull_agg
    cosine_distance cosine_similarity crc32 current_catalog current_groups current_schema current_user
    dot_product empty_approx_set ends_with euclidean_distance features format_number from_base from_base32
    from_base64url from_big_endian_32 from_big_endian_64 from_encoded_polyline from_geojson_geometry
    from_ieee754_32 from_ieee754_64 from_iso8601_timestamp_nanos from_unixtime_nanos
    geometry_from_hadoop_shape geometry_invalid_reason geometry_nearest_points geometry_to_bing_tiles
    geometry_union geometry_union_agg great_circle_distance hamming_distance hash_counts hmac_md5
    hmac_sha1 hmac_sha256 hmac_sha512 human_readable_seconds index intersection_cardinality
    inverse_beta_cdf inverse_normal_cdf is_json_scalar jaccard_index json_serialize kurtosis
    learn_classifier learn_libsvm_classifier learn_libsvm_regressor learn_regressor line_interpolate_point
    line_interpolate_points line_locate_point luhn_check make_set_digest map_union map_zip_with merge
    merge_set_digest multimap_agg multimap_from_entries murmur3 normal_cdf normalize numeric_histogram
    objectid objectid_timestamp parse_data_size parse_duration parse_presto_data_size qdigest_agg
    random_string reduce_agg regexp_position regress render rgb set_agg set_union sha512 shuffle
    simplify_geometry skewness soundex spatial_partitioning spatial_partitions split_to_multimap
    spooky_hash_v2_32 spooky_hash_v2_64 tdigest_agg theta_sketch_cardinality theta_sketch_union
    timestamp_objectid timezone timezone_hour timezone_minute to_base32 to_base64url to_big_endian_32
    to_big_endian_64 to_char to_date to_encoded_polyline to_geojson_geometry to_geometry to_ieee754_32
    to_ieee754_64 to_spherical_geography to_timestamp value_at_quantile values_at_quantiles version
    width_bucket wilson_interval_lower wilson_interval_upper word_stem xxhash64
    """
"""Functions of Trino that nobody has checked yet, besides those that begin with `st_`."""

_WITHOUT_PARENTHESES: dict[type[exp.Expr], str] = {
    exp.CurrentCatalog: "current_catalog",
    exp.CurrentSchema: "current_schema",
    exp.CurrentTime: "current_time",
    exp.CurrentUser: "current_user",
    exp.Localtime: "localtime",
}


def require_served(statement: exp.Expr) -> None:
    """Raises QueryFailed for the first function call that is not served: NOT_SUPPORTED, with what to use
    instead where there is something, or FUNCTION_NOT_FOUND where Trino knows no such function.
    """
    for name, call in _calls(statement):
        if name in CHECKED:
            continue
        if name in _INSTEAD or name in _UNCHECKED.split() or name.startswith("st_"):
            advice = f"; use {_INSTEAD[name]}" if name in _INSTEAD else ""
            raise QueryFailed(
                "NOT_SUPPORTED", f"Function '{name}' is not available in the embedded AWS{advice}", call
            )
        raise QueryFailed("FUNCTION_NOT_FOUND", f"Function '{name}' not registered", call)


def _calls(statement: exp.Expr) -> Iterator[tuple[str, exp.Expr]]:
    for node in statement.walk(bfs=False):
        name = node.meta.get(FUNCTION_NAME) or _WITHOUT_PARENTHESES.get(type(node))
        if name:
            yield name, node


def require_arguments(query: exp.Expr) -> None:
    """Raises QueryFailed (TYPE_MISMATCH) where the first argument's type is not one that Trino takes."""
    for name, call in _calls(query):
        expected = CHECKED.get(name, "")
        argument = call.this if isinstance(call.this, exp.Expr) else next(iter(call.expressions), None)
        if isinstance(call, exp.Extract):
            argument = call.expression
        if not expected or argument is None or isinstance(argument, exp.Star):
            continue
        found = type_of(argument)
        if not is_unknown(found) and not any(_is(found, kind) for kind in expected.split(" or ")):
            raise QueryFailed(
                "TYPE_MISMATCH",
                f"Unexpected parameters ({found.sql('athena').lower()}) for function {name}. "
                f"Expected: {expected}",
                call,
            )


def _is(data_type: exp.DataType, kind: str) -> bool:
    if kind == "an interval":
        return is_interval(data_type)
    return data_type.this in _TYPES[kind] or data_type.this == exp.DType.NULL


_TYPES: dict[str, frozenset[exp.DType]] = {
    "a number": frozenset(NUMERIC_ORDER),
    "a text": frozenset(exp.DataType.TEXT_TYPES),
    "a binary": frozenset((exp.DType.VARBINARY, exp.DType.BINARY)),
    "a date": frozenset((exp.DType.DATE,)),
    "a timestamp": frozenset((exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ)),
    "an array": frozenset((exp.DType.ARRAY, exp.DType.LIST)),
    "a map": frozenset((exp.DType.MAP,)),
}
