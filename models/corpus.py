"""Collect the Python source the demo pair is trained on: the standard library and permissively licensed packages.

Writes `corpus.jsonl` (one document a line) to the work directory and `corpus.json` (licences, versions, bytes, hashes)
beside this script. Splits are made by unit (a top-level standard-library module, or a family of distributions), so that
files that resemble each other stay on one side; what still looks alike is removed.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

PERMISSIVE = re.compile(r"\b(MIT|MIT-CMU|BSD|Apache|ISC|PSF|Python Software Foundation|0BSD|BSL-1\.0)\b", re.IGNORECASE)
RESTRICTED = re.compile(r"GPL|MPL|ZPL|EPL|CDDL|Proprietary|NVIDIA|Mozilla", re.IGNORECASE)
SKIP_DIRS = {
    "test",
    "tests",
    "_vendor",
    "vendored",
    "site-packages",
    "__pycache__",
    "lib2to3",
    "idlelib",
    "node_modules",
}
SKIP_PACKAGES = {"pip", "setuptools", "adaspec-serve"}  # the first two carry copies of other packages
MAX_FILE_BYTES = 150_000
MAX_PACKAGE_CHARS = 7_000_000  # no package may dominate
HELDOUT_MAX_PACKAGE_BYTES = 2_000_000  # a large package is always trained on: holding it out would cost too much text
HELDOUT_ONE_IN = 8
SHINGLE_LINES = 5
DUPLICATE_SHARE = 0.4
LEAK_SHARE = 0.1


@dataclass(frozen=True)
class Document:
    """One file (or one package description); `unit` is what the split is made by."""

    domain: str
    package: str
    unit: str
    path: str
    split: str
    sha256: str
    text: str


def licence_of(dist: Distribution) -> str:
    """The licence a distribution declares, or an empty string."""
    meta = dist.metadata
    classifiers = [c.split("::")[-1].strip() for c in meta.get_all("Classifier") or [] if c.startswith("License")]
    by_field = [meta[field].split("\n")[0] for field in ("License-Expression", "License") if field in meta]
    # an SPDX expression is one line and exact; the old free-text field is the last resort
    candidates = by_field if "License-Expression" in meta else [" / ".join(classifiers), *by_field]
    return next((text.strip() for text in candidates if text.strip()), "")


def is_permissive(licence: str) -> bool:
    """Only clearly permissive licences are taken."""
    return bool(PERMISSIVE.search(licence)) and not RESTRICTED.search(licence)


def readable(path: Path) -> str:
    """The text of a source file, or an empty string where it is not plain hand-written Python."""
    if not path.is_file() or not 200 < path.stat().st_size <= MAX_FILE_BYTES:
        return ""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    lines = text.splitlines()
    long_lines = sum(len(line) > 160 for line in lines)
    digits = sum(map(str.isdigit, text))
    plain = text.isascii() or sum(ord(c) > 127 for c in text) < 0.01 * len(text)
    return text if plain and long_lines <= 0.02 * len(lines) and digits < 0.15 * len(text) else ""


def split_of(unit: str) -> str:
    """The side a unit falls on, by its name alone."""
    chosen = int(hashlib.sha256(unit.encode()).hexdigest(), 16) % HELDOUT_ONE_IN == 0
    return "heldout" if chosen else "train"


def document(domain: str, package: str, unit: str, path: str, text: str, split: str) -> Document:
    """A document with its hash."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Document(domain, package, unit, path, split, digest, text)


def library_documents() -> Iterator[Document]:
    """The standard library of the running interpreter, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIP_DIRS.isdisjoint(relative.parts) and (text := readable(path)):
            unit = relative.parts[0].removesuffix(".py").strip("_")
            yield document("library", "python", f"python/{unit}", str(relative), text, split_of(f"python/{unit}"))


def capped(texts: dict[str, str]) -> dict[str, str]:
    """A fixed pseudo-random choice of files, at most MAX_PACKAGE_CHARS in all."""
    kept: dict[str, str] = {}
    total = 0
    for path in sorted(texts, key=lambda p: hashlib.sha256(p.encode()).hexdigest()):
        total += len(texts[path])
        if total <= MAX_PACKAGE_CHARS and texts[path]:
            kept[path] = texts[path]
    return kept


def package_documents(dist: Distribution) -> Iterator[Document]:
    """Source files and the description of one installed distribution."""
    name = dist.metadata["Name"]
    files = sorted(str(f) for f in dist.files or [] if str(f).endswith(".py") and ".." not in str(f))
    texts = {f: readable(Path(str(dist.locate_file(f)))) for f in files if SKIP_DIRS.isdisjoint(f.split("/"))}
    # one family, one side: opentelemetry-api with opentelemetry-sdk, httpx with httpx2
    unit = re.split(r"[-_.\d]", name.lower())[0]
    small = sum(map(len, texts.values())) <= HELDOUT_MAX_PACKAGE_BYTES
    split = split_of(unit) if small else "train"
    for path, text in capped(texts).items():
        yield document("third_party", name, unit, path, text, split)
    description = (dist.read_text("METADATA") or "").partition("\n\n")[2]  # headers, an empty line, the README
    if len(description) > 500:
        yield document("prose", name, unit, f"{name}/README", description[:50_000], split)


def third_party() -> tuple[list[Document], dict[str, tuple[str, str]]]:
    """Documents of every permissively licensed distribution, and name -> (version, licence)."""
    found: list[Document] = []
    licences: dict[str, tuple[str, str]] = {}
    for dist in sorted(distributions(), key=lambda d: d.metadata["Name"].lower()):
        name, licence = dist.metadata["Name"], licence_of(dist)
        if name not in SKIP_PACKAGES and is_permissive(licence) and name not in licences:
            licences[name] = (dist.version, licence)
            found.extend(package_documents(dist))
    return found, licences


def docstrings(source: Document) -> Iterator[Document]:
    """Long docstrings of a held-out file: held-out prose."""
    try:
        tree = ast.parse(source.text)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if len(text) > 1200:
                name = getattr(node, "name", "module")
                yield document("prose", source.package, source.unit, f"{source.path}#{name}", text, "heldout")


def shingles(text: str) -> set[int]:
    """Hashes of every run of SHINGLE_LINES non-empty lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return {hash("\n".join(lines[i : i + SHINGLE_LINES])) for i in range(max(1, len(lines) - SHINGLE_LINES + 1))}


def without_duplicates(documents: list[Document]) -> list[Document]:
    """Drop files that repeat earlier ones, and held-out files that share text with the training side."""
    seen: set[int] = set()
    kept: list[Document] = []
    for doc in sorted(documents, key=lambda d: d.split != "train"):
        own = shingles(doc.text)
        limit = DUPLICATE_SHARE if doc.split == "train" else LEAK_SHARE
        if len(own & seen) <= limit * len(own):
            kept.append(doc)
            seen |= own
    return kept


def record(documents: list[Document], licences: dict[str, tuple[str, str]]) -> dict[str, object]:
    """What is committed about the corpus: packages with licences, and hashes of every file by split."""
    packages: dict[str, dict[str, object]] = {}
    for name in sorted({d.package for d in documents}):
        own = [d for d in documents if d.package == name]
        version, licence = licences[name]
        packages[name] = {
            "version": version,
            "licence": licence,
            "files": len(own),
            "train_bytes": sum(len(d.text.encode()) for d in own if d.split == "train"),
            "heldout_bytes": sum(len(d.text.encode()) for d in own if d.split == "heldout" and "#" not in d.path),
        }
    return {
        "python": sys.version.split()[0],
        "packages": packages,
        "heldout_sha256_16": {
            f"{d.domain}:{d.package}:{d.path}": d.sha256[:16] for d in documents if d.split == "heldout"
        },
        "train_sha256_16": sorted(d.sha256[:16] for d in documents if d.split == "train"),
    }


def main() -> None:
    """Collect, split, write the text to the work directory and the record beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory for the collected text")
    args = parser.parse_args()
    found, licences = third_party()
    licences["python"] = (sys.version.split()[0], "PSF-2.0")
    documents = without_duplicates(list(library_documents()) + found)
    documents += [p for d in documents if d.split == "heldout" and d.domain != "prose" for p in docstrings(d)]
    args.work.mkdir(parents=True, exist_ok=True)
    with (args.work / "corpus.jsonl").open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(asdict(d)) + "\n" for d in documents)
    summary = json.dumps(record(documents, licences), indent=1) + "\n"
    (Path(__file__).parent / "corpus.json").write_text(summary, encoding="utf-8")
    for split in ("train", "heldout"):
        for domain in ("library", "third_party", "prose"):
            sizes = [len(d.text) for d in documents if (d.split, d.domain) == (split, domain)]
            print(f"{split:8} {domain:12} {len(sizes):6} documents {sum(sizes) / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
