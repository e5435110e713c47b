"""Lists installed packages with version and licence, from their metadata: `python list_packages.py [REQUIREMENT]`.

One line a package, with tabs between the columns, sorted by name. Without a requirement all packages are listed, which
in the image is what the image contains; with one, such as `linnaeus[server]`, it and what it requires.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution, distributions

_CLASSIFIER = "License :: "
# A field `License` may hold the whole text of a licence; its name stands in the first line.
_LONGEST_NAME = 80


def main() -> None:
    """Prints the list."""
    listed = required(sys.argv[1]) if len(sys.argv) > 1 else distributions()
    for row in sorted(set(map(row_of, listed)), key=lambda row: row[0].lower()):
        print(*row, sep="\t")


def row_of(package: Distribution) -> tuple[str, str, str]:
    """Returns name, version and licence of a package."""
    return package.metadata["Name"], package.version, licence(package)


def licence(package: Distribution) -> str:
    """Returns the licence as the package declares it: the SPDX expression, else the classifiers, else the old field."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = metadata.get_all("Classifier") or []
    if names := [each.split(" :: ")[-1] for each in classifiers if each.startswith(_CLASSIFIER)]:
        return "; ".join(names)
    field = (metadata.get("License") or "").strip().partition("\n")[0]
    files = ", ".join(metadata.get_all("License-File") or [])
    return field[:_LONGEST_NAME] or (f"see {files}" if files else "not declared")


def required(requirement: str) -> Iterable[Distribution]:
    """Returns the package that a requirement names and all that it requires, with its extras, on this machine."""
    # Imported here, because the image has no need of it.
    from packaging.requirements import Requirement

    found: dict[tuple[str, str], Distribution] = {}
    pending = [Requirement(requirement)]
    while pending:
        wanted = pending.pop()
        package = distribution(wanted.name)
        for key in ((package.metadata["Name"], extra) for extra in wanted.extras | {""}):
            if key not in found:
                found[key] = package
                named = map(Requirement, package.requires or ())
                pending += [each for each in named if not each.marker or each.marker.evaluate({"extra": key[1]})]
    return found.values()


if __name__ == "__main__":
    main()
