"""Frontal chest X-rays, each with what its radiology report concludes: for text-to-image.

Source:  Johnson et al., "MIMIC-CXR, a de-identified publicly available database of chest radiographs with
         free-text reports", Scientific Data 6:317, 2019; PhysioNet: mimic-cxr-jpg (the images as JPEG and
         both tables) and mimic-cxr (the reports, and the images as DICOM).
Licence: PhysioNet Credentialed Health Data License 1.5.0: neither images nor prompts may be passed on.
Layout:  mimic-cxr-2.0.0-metadata.csv.gz, mimic-cxr-2.0.0-split.csv.gz (or unpacked),
         files/p10/p10000032/s50414267/<dicom_id>.jpg (or else .dcm), files/p10/p10000032/s50414267.txt;
         images and reports may lie in two such trees, each in any folder.
Splits:  the official one; its validate is val.
Groups:  subject_id, a patient.

A prompt is the report's IMPRESSION, or else its FINDINGS, of any length: the text-to-image task keeps
to the 77 tokens of CLIP.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from raypeft.core.errors import DataError, list_problems
from raypeft.datasets.base import register_dataset
from raypeft.datasets.downloads import Download, with_bare_ids
from raypeft.datasets.manifest import Row, Table, left_out, make_table
from raypeft.datasets.tables import Line, read_table

CLASS = "chest X-ray"  # the only one
METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"
SPLIT = "mimic-cxr-2.0.0-split.csv.gz"
SPLITS = {"train": "train", "validate": "val", "test": "test"}
VIEWS = ("AP", "PA")
IDS = {
    "subject_id": re.compile(r"\d{1,12}"),
    "study_id": re.compile(r"\d{1,12}"),
    "dicom_id": re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{,99}"),
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")  # the first that there is
TENTH = re.compile(r"p1\d")  # a folder that holds a tenth of the patients
MOST_MISSING = 0.5  # of the frontal images; beyond, the folder is wrong rather than a file lost

HEADER = re.compile(r"^[ \t]*([A-Z][A-Z ()/,&-]*):", re.MULTILINE)
PROMPTS = ("IMPRESSION", "FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION", "FINDINGS")  # the first there is


@register_dataset(
    "mimic_cxr",
    what="frontal chest X-rays with reports (Johnson et al. 2019)",
    source="https://physionet.org/content/mimic-cxr-jpg/ and https://physionet.org/content/mimic-cxr/",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    access="PhysioNet credentials, a training course and a signed data use agreement",
    layout=f"{METADATA}, {SPLIT}, files/p10/p10000032/s50414267.txt and s50414267/<dicom_id>.jpg",
    expected={CLASS: 377_110},
)
def mimic_cxr(root: Path, *, train_images: int | None = None) -> Table:
    """Read one class, and a prompt per image. Left out, with counts: other views, lost images, lost prompts.

    `train_images`: keep this many training images, those whose ids have the smallest hashes; the paper trains
    on 110,000 and does not say which.
    Raises: DataError for every bad row of a table, for half the images missing, for no prompt at all, and for
    fewer training images than asked for.
    """
    download = Download("mimic_cxr", root)
    lines = with_bare_ids(read_table(download.table(METADATA), needs=(*IDS, "ViewPosition")), "dicom_id")
    official = with_bare_ids(read_table(download.table(SPLIT), needs=("dicom_id", "split")), "dicom_id")
    splits = _splits(lines, official)
    frontal = [line for line in lines if line["ViewPosition"] in VIEWS]
    trees = _trees(download)
    paths = {line["dicom_id"]: path for line in frontal if (path := _image(trees, line))}
    _check_missing([line for line in frontal if line["dicom_id"] not in paths], len(frontal), trees, download)
    found = [line for line in frontal if line["dicom_id"] in paths]
    studies = {line["study_id"]: line for line in found}  # one report each, often for several images
    prompts = {study: _prompt(trees, line) for study, line in studies.items()}
    rows = [
        Row(
            path=paths[line["dicom_id"]],
            case_id=line["dicom_id"],
            label=CLASS,
            group=line["subject_id"],
            split=splits[line["dicom_id"]],
            prompt=prompt,
            origin=line.origin,
        )
        for line in found
        if (prompt := prompts[line["study_id"]])
    ]
    absent = [prompt for line in found if not (prompt := prompts[line["study_id"]])]
    parts = {
        "view is neither AP nor PA": len(lines) - len(frontal),
        "image is missing": len(frontal) - len(found),
        "report is missing": absent.count(None),
        "report has neither IMPRESSION nor FINDINGS": absent.count(""),
    }
    if not rows:
        _refuse_without_prompts(root, trees, parts)
    if train_images is not None:
        beyond = _beyond(rows, train_images, root=root)
        rows = [row for row in rows if row.case_id not in beyond]
        parts[f"beyond train_images={train_images}"] = len(beyond)
    lacking = [left_out(reason, [CLASS] * count) for reason, count in parts.items()]
    return make_table("mimic_cxr", rows, left_out=lacking)


def _refuse_without_prompts(root: Path, trees: Sequence[Path], parts: Mapping[str, int]) -> NoReturn:
    counts = "; ".join(f"{reason}: {count}" for reason, count in parts.items())
    looked = ", ".join(map(str, trees))
    raise DataError(
        f"mimic_cxr:{root}: no image with a prompt ({counts}); looked for p10/p10000032/s50414267.txt, "
        f"and so on, in {looked}; unpack mimic-cxr-reports there"
    )


def _beyond(rows: Sequence[Row], train_images: int, *, root: Path) -> set[str]:
    """Return the ids of surplus training images. Raises: DataError."""
    ids = [row.case_id for row in rows if row.split == "train"]
    if not 0 < train_images <= len(ids):
        raise DataError(
            f"mimic_cxr:{root}: train_images={train_images}, but {len(ids)} training images have a prompt: "
            f"must be from 1 to {len(ids)}"
        )
    ids.sort(key=lambda one: hashlib.sha256(one.encode()).digest())
    return set(ids[train_images:])


def read_prompt(report: str) -> str:
    """Return the last IMPRESSION with text in it, or else the last FINDINGS, on one line; '' without either.

    A section begins at a line that starts with a name in capitals and a colon, and ends at the next one.
    """
    _, *pieces = HEADER.split(report)
    sections = {
        " ".join(name.split()): words
        for name, text in zip(pieces[::2], pieces[1::2], strict=True)
        if (words := " ".join(text.split()))
    }
    return next((sections[name] for name in PROMPTS if name in sections), "")


def _splits(lines: Sequence[Line], split_lines: Sequence[Line]) -> dict[str, str]:
    """Return train, val or test for the dicom_id of every line. Raises: DataError."""
    official = {line["dicom_id"]: line for line in split_lines}
    splits: dict[str, str] = {}
    sides: dict[str, str] = {}
    problems = []
    for line in lines:
        image = line["dicom_id"]
        if bad := [name for name, form in IDS.items() if not form.fullmatch(line[name])]:
            problems.append(f"{line.origin}: {', '.join(bad)} is no id of MIMIC-CXR's form")
        elif image in splits:
            problems.append(f"{line.origin}: its dicom_id stands in an earlier line too")
        elif image not in official:
            problems.append(f"{line.origin}: its dicom_id is not in {SPLIT}; both tables must be whole")
        elif (name := official[image]["split"]) not in SPLITS:
            problems.append(f"{official[image].origin}: split {name!r}; allowed: {', '.join(SPLITS)}")
        elif sides.setdefault(line["subject_id"], name) != name:
            problems.append(f"{official[image].origin}: its patient is in two splits; get {SPLIT} again")
        else:
            splits[image] = SPLITS[name]
    if problems:
        raise DataError(f"mimic_cxr:\n{list_problems(problems)}")
    return splits


def _trees(download: Download) -> list[Path]:
    """Return the folders that hold p10 to p19: `files`, of the images and of the reports; they may differ."""
    return list(dict.fromkeys(path.parent for path in download.folders if TENTH.fullmatch(path.name)))


def _patient_folder(tree: Path, line: Line) -> Path:
    subject = line["subject_id"]
    return tree / f"p{subject[:2]}" / f"p{subject}"


def _image(trees: Sequence[Path], line: Line) -> Path | None:
    candidates = (
        _patient_folder(tree, line) / f"s{line['study_id']}" / f"{line['dicom_id']}{suffix}"
        for suffix in SUFFIXES
        for tree in trees
    )
    return next((path for path in candidates if path.is_file()), None)


def _check_missing(
    missing: Sequence[Line], num_frontal: int, trees: Sequence[Path], download: Download
) -> None:
    if len(missing) > MOST_MISSING * num_frontal:
        names = f"({', '.join(SUFFIXES)})"
        examples = [f"{line.origin}: {line['dicom_id']} {names} not found" for line in missing]
        looked = f"looked below {', '.join(map(str, trees))}" if trees else download.looked
        raise DataError(
            f"mimic_cxr: {len(missing)} of {num_frontal} frontal images are missing; unpack all of "
            f"mimic-cxr-jpg, with its folders p10 to p19; {looked}:\n{list_problems(examples)}"
        )


def _prompt(trees: Sequence[Path], line: Line) -> str | None:
    """Return the prompt; '' for a report without the sections, None without a report."""
    for tree in trees:
        # Plain ASCII; a byte that is not spoils one letter, which is no reason to stop.
        with contextlib.suppress(FileNotFoundError):
            report = _patient_folder(tree, line) / f"s{line['study_id']}.txt"
            return read_prompt(report.read_text("utf-8", "replace"))
    return None
