"""What a column's name says: which images belong together, and what would identify people or files."""

import re
from collections.abc import Sequence


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


LEVELS = (
    _set(
        "patient pat pt subject subj sub person participant individual volunteer donor proband client user "
        "animal mouse mrn pid empi"
    ),
    _set("eye breast knee hip ear"),
    _set("case study exam examination encounter visit admission accession session scan biopsy"),
    _set("lesion nodule tumor tumour polyp wound slide specimen sample"),
    _set("series stack video sequence clip"),
)
"""Words that name a group of images that belong together, the coarsest first."""

GROUPS = frozenset().union(*LEVELS)
ANONYMISED = _set(
    "anon anonym anonymous anonymized anonymised anonymization deid deidentified pseudo pseudonym "
    "pseudonymized pseudonymised hash hashed masked encrypted"
)
QUALIFIERS = ANONYMISED | _set(
    "unique internal external original new old global local hospital clinic de the of"
)
"""Words that change nothing about what a name names: deid_mrn is a patient's."""

WITH_ID = _set("breast knee hip ear session scan biopsy nodule tumor tumour polyp wound sample sequence")
"""Those that name a group only beside one of ID_WORDS: alone they are a kind or a size."""

ID_WORDS = _set("id ids no nr num number uid uuid guid key hash code index instance identifier")
RECORDS = _set("medicalrecordnumber recordnumber hospitalnumber chartnumber nhsnumber")
NAMES = _set("name names")
OF_PEOPLE = _set(
    "surname firstname lastname forename fullname initials dob birth birthday birthdate ssn nhs address "
    "street phone telephone tel fax mobile email mail zip zipcode postcode passport insurance"
)
OF_FILES = _set("path paths filepath file files filename folder directory url uri link uid uuid guid")
OF_STAFF = _set(
    "physician doctor radiologist pathologist operator technician technologist annotator rater reader grader "
    "reviewer"
)
OF_NOTES = _set("date datetime time timestamp comment comments note notes report text remark remarks")
OF_CODES = ANONYMISED | _set("id ids identifier key barcode")
BESIDE_NAMES = _set("first last full given family middle maiden birth the of")

IDENTIFIES = (
    re.compile(r"^[a-z]:[\\/]|^(\\\\|/|\.{1,2}/|~/)|[\\/].*[\\/]", re.IGNORECASE),  # a path
    re.compile(r"\.(png|jpe?g|dcm|tiff?|bmp|nii|gz|webp)$", re.IGNORECASE),  # a file
    re.compile(r"^\d+(\.\d+){4,}$|@|\w\^\w"),  # a UID, an address, a name as in DICOM
    re.compile(r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b"),  # a date
    re.compile(r"^(19|20)\d\d[01]\d[0-3]\d$"),  # a date as in DICOM
)


def identifies(name: str, cells: Sequence[str], *, strictly: bool) -> bool:
    """True if a column names people, files or paths, by its own name or in a cell.

    If not `strictly`, also for staff who took or read the images, dates, notes, and ids of anything.
    """
    words, level = words_of(name), level_of(name)
    if level == 0 or (level is not None and words & ID_WORDS) or words & (OF_PEOPLE | OF_FILES):
        return True
    if words & NAMES and words <= NAMES | BESIDE_NAMES | OF_STAFF | LEVELS[0]:
        return True
    if not strictly and words & (OF_STAFF | OF_NOTES | OF_CODES):
        return True
    return any(form.search(cell) for cell in set(cells) for form in IDENTIFIES)


def level_of(name: str) -> int | None:
    """Return the index in LEVELS of a name such as patient_id or StudyInstanceUID, by its finest word."""
    if joined(name) in RECORDS:
        return 0
    words = words_of(name)
    things = words - ID_WORDS - NAMES - QUALIFIERS
    if not things or things - GROUPS or (things <= WITH_ID and not words & ID_WORDS):
        return None
    return max(number for number, level in enumerate(LEVELS) if level & things)


def words_of(name: str) -> set[str]:
    """Return the words of a name: patientId, PatientID, patient_ids and patientid give {patient, id}."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    found: set[str] = set()
    for word in re.findall(r"[^\W\d_]+", parted.casefold()):
        found |= set(_unglued(word))
    return found


def _unglued(word: str) -> list[str]:
    for ending in sorted(ID_WORDS, key=len, reverse=True):
        if (start := word.removesuffix(ending)) in GROUPS and start != word:
            return [start, ending]
    return [word.removesuffix("s") if word.removesuffix("s") in GROUPS else word]


def has_number(name: str) -> bool:
    """True if the column holds a number of people or things, and not their names."""
    return bool(words_of(name) & (ID_WORDS | {"mrn", "pid", "empi"})) or joined(name) in RECORDS


def joined(name: str) -> str:
    """Return the name without case, spaces and punctuation: patient_ID gives patientid."""
    return re.sub(r"[\W_]", "", name.casefold())
