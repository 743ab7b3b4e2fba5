"""Who is on a film and how it was taken, as groups: sex, age group, race, view, site."""

import polars as pl

#: ChexGen's age groups in years, and those below.
AGES = ((18, "up to 18"), (40, "19-40"), (65, "41-65"))
OLDEST, UNKNOWN = "over 65", "unknown"
AXES = ("sex", "age_group", "race", "view_position", "site")
#: What a classifier of ours may learn; race is not among them on purpose.
LEARNED = ("sex", "age_group", "view_position")


def groups_of(manifest: pl.DataFrame) -> pl.DataFrame:
    """``image_id`` and each of :data:`AXES` of a manifest's films; ``site`` is its column of that name, else ``source``."""
    age = pl.when(pl.col("age").is_null()).then(pl.lit(UNKNOWN))
    for years, name in AGES:
        age = age.when(pl.col("age").floor() <= years).then(pl.lit(name))
    site = pl.col("site" if "site" in manifest.columns else "source").cast(pl.String)
    axes = manifest.with_columns(age_group=age.otherwise(pl.lit(OLDEST)), site=site)
    return axes.select("image_id", pl.col(AXES).fill_null(UNKNOWN))


def group_columns(manifest: pl.DataFrame) -> pl.DataFrame:
    """What a classifier of groups learns: a column ``axis:group`` (``sex:F``, ``age_group:19-40``) for each group of
    :data:`LEARNED` of which the manifest has films and films of others; 1, 0, NULL where it does not say."""
    groups = groups_of(manifest)
    found: dict[str, pl.Expr] = {}
    for axis in LEARNED:
        names = sorted(set(groups[axis]) - {UNKNOWN})
        known = pl.when(pl.col(axis) != UNKNOWN)
        if len(names) > 1:
            found |= {f"{axis}:{name}": known.then((pl.col(axis) == name).cast(pl.Int8)) for name in names}
    return groups.select(**found)
