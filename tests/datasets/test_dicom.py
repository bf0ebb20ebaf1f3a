"""A DICOM file becomes the picture that its header describes; a tag without a value counts as absent."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from raypeft.core.resize import Resize
from raypeft.datasets import images
from raypeft.datasets.check import check_dataset
from raypeft.datasets.decoder import decode_into
from raypeft.datasets.images import is_image_file, read_image, to_rgb
from raypeft.datasets.pixels import ABSENT, KEPT, WINDOWED, Display, shown
from raypeft.datasets.prepared import prepare


def write_dicom(path, pixels, *, bits=None, photometric="MONOCHROME2", **header):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.7",
        generate_uid(),
    )
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape[:2] if pixels.ndim < 4 else pixels.shape[1:3]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 and pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    for name, value in header.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    return np.asarray(to_rgb(path))[..., 0].tolist()


def test_eight_bits_of_dicom_stay_as_they_are(tmp_path):
    pixels = np.array([[7, 100], [180, 200]], np.uint8)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels)) == pixels.tolist()


def test_monochrome1_is_inverted(tmp_path):
    pixels = np.array([[0, 100], [180, 255]], np.uint8)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, photometric="MONOCHROME1")) == (255 - pixels).tolist()


def test_sixteen_bits_without_a_window_run_from_lowest_to_highest(tmp_path):
    pixels = np.array([[1000, 2000], [3000, 4000]], np.uint16)
    # (value - 1000) / 3000 x 255
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, bits=12)) == [[0, 85], [170, 255]]


def test_signed_values_and_the_rescale_are_honoured(tmp_path):
    pixels = np.array([[-100, 0], [100, 300]], np.int16)
    header = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": -924.5, "WindowWidth": 401}
    # values -1224, -1024, -824, -424; the window from -1125 to -725 (DICOM PS3.3 C.11.2.1.2.1)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, **header)) == [[0, 64], [192, 255]]


def test_colour_dicom_keeps_its_colours(tmp_path):
    pixels = np.array([[[200, 100, 50], [0, 1, 2]]], np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, photometric="RGB", PlanarConfiguration=0)
    assert np.asarray(to_rgb(path)).tolist() == pixels.tolist()


def test_a_palette_of_dicom_gives_its_colours():
    path = pydicom.examples.get_path("palette_color")
    header = pydicom.dcmread(path)
    wanted = []
    for colour in ("Red", "Green", "Blue"):
        table = np.frombuffer(getattr(header, f"{colour}PaletteColorLookupTableData"), np.uint16)
        wanted.append(table[header.pixel_array] // 256)
    assert np.array_equal(np.asarray(to_rgb(path)), np.stack(wanted, axis=-1))


def test_several_frames_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((3, 2, 2), np.uint8), NumberOfFrames=3, Rows=2, Columns=2)
    with pytest.raises(ValueError, match="3 frames; save one image per file"):
        to_rgb(path)


def test_half_a_dicom_file_is_an_error(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(Exception, match=r"(?i)pixel data|bytes"):
        to_rgb(path)


@pytest.mark.parametrize("name", ["MR_small.dcm", "CT_small.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_the_files_that_pydicom_ships_are_read_without_a_warning(name):
    image = to_rgb(Path(pydicom.data.get_testdata_file(name)))
    pixels = np.asarray(image)
    assert pixels.min() < 64 < 128 < pixels.max()


@pytest.mark.parametrize(
    "name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"]
)
def test_lossless_compression_gives_the_pixels_of_the_plain_file(name):
    packed, plain = (
        np.asarray(to_rgb(Path(pydicom.data.get_testdata_file(one, download=False))))
        for one in (name, "MR_small.dcm")
    )
    assert np.array_equal(packed, plain)


def test_a_dicom_file_without_an_image_is_told():
    with pytest.raises(Exception, match="no pixel data to decode"):
        to_rgb(Path(pydicom.data.get_testdata_file("rtplan.dcm", download=False)))


def test_a_small_dicom_file_that_claims_to_be_a_giant_is_refused_before_any_pixel_is_decoded(tmp_path):
    header = {"Rows": 65535, "Columns": 65535}
    path = write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint16), **header)
    with pytest.raises(ValueError, match=r"65,535 x 65,535 pixels; at most 268 megapixels"):
        to_rgb(path)


BICUBIC = Resize(image_size=16, interpolation="bicubic")
RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)  # 12 bits, 256 values
NO_WINDOW = "no window: 0 to 4,080, the lowest and highest value of all such images, is black to white"


def look_up_table(*, data=(0, 255), descriptor=None, **lacking):
    item = Dataset()
    item.LUTDescriptor = descriptor or [len(data), 0, 8]
    item.LUTData = np.array(data, np.uint16).tobytes()
    item["LUTData"].VR = "OW"
    for name in lacking:
        delattr(item, name)
    return item


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowWidth": 4096},
        {"WindowCenter": 2048},
        {"WindowCenter": 2048, "WindowWidth": None},
        {"WindowCenter": None, "WindowWidth": 4096},
        {"WindowCenter": 2048, "WindowWidth": 0},
        {"WindowCenter": 2048, "WindowWidth": -4096},
        {"WindowCenter": 2048, "WindowWidth": 0.5},  # the linear function needs 1
        {"WindowCenter": [None, None], "WindowWidth": [None, None]},
        {"VOILUTSequence": []},
        {"VOILUTSequence": [Dataset()]},
        {"VOILUTSequence": [look_up_table(LUTData=None)]},
        {"VOILUTSequence": [look_up_table(LUTDescriptor=None)]},
        {"VOILUTSequence": [look_up_table(descriptor=[4096, 0, 8])]},  # 2 of 4,096 entries
        {"VOILUTSequence": [look_up_table(data=(7, 7))]},
        {"VOILUTFunction": ""},
        {"VOILUTFunction": None},
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 2},
        {"RescaleIntercept": -1024},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"RescaleSlope": None, "RescaleIntercept": -1024},
        {"ModalityLUTSequence": []},
        {"ModalityLUTSequence": [Dataset()]},
        {"PixelPaddingValue": None},
        {"NumberOfFrames": None},
        {"Modality": None},
    ],
)
def test_a_tag_without_a_usable_value_counts_as_absent_and_is_told(tmp_path, tags):
    read = read_image(write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **tags))
    picture = shown(read)
    assert np.array_equal(np.asarray(picture.image)[..., 0].ravel(), np.arange(256))  # value / 4,080 x 255
    assert picture.notes[-1] == NO_WINDOW
    is_told = not {"VOILUTFunction", "PixelPaddingValue", "NumberOfFrames", "Modality"} & set(tags)
    assert [note.endswith("taken as absent") for note in picture.notes[:-1]] == [True] * is_told


@pytest.mark.parametrize("text", ["2048,5", "abc", "nan", "inf", "1e400"])
def test_a_window_that_is_no_number_counts_as_absent(tmp_path, text):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, WindowCenter=2048.5, WindowWidth=4096)
    content = path.read_bytes()
    place = content.index(b"2048.5")
    path.write_bytes(content[:place] + text.ljust(6).encode() + content[place + 6 :])
    assert shown(read_image(path)).notes[-1] == NO_WINDOW


def test_of_several_windows_the_first_whole_one_is_used(tmp_path):
    tags = {"WindowCenter": ["", 2040.5, 99], "WindowWidth": [4096, 4081, 100]}
    picture = shown(read_image(write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **tags)))
    # from 2,040.5 - 0.5 - 4,080 / 2 = 0 to 4,080
    assert np.array_equal(np.asarray(picture.image)[..., 0].ravel(), np.arange(256))
    assert picture.notes == (WINDOWED,)


def test_a_broken_look_up_table_leaves_the_window(tmp_path):
    tags = {"VOILUTSequence": [Dataset()], "WindowCenter": 2040.5, "WindowWidth": 4081}
    picture = shown(read_image(write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **tags)))
    assert np.array_equal(np.asarray(picture.image)[..., 0].ravel(), np.arange(256))
    assert picture.notes == ("VOILUTSequence without a usable table, taken as absent", WINDOWED)


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        ("LINEAR", [0, 0, 128, 255, 255]),
        ("LINEAR_EXACT", [0, 0, 128, 255, 255]),
        ("SIGMOID", [0, 30, 128, 225, 255]),  # 255 / (1 + exp(-4 (x - 2,000) / 1,000)): 30.4 at 1,500
    ],
)
def test_the_functions_of_a_window_are_the_standard_s(tmp_path, function, wanted):
    pixels = np.array([[0, 1500, 2000, 2500, 4000]], np.uint16)
    tags = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": function}
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, bits=12, **tags))[0] == wanted


def test_a_look_up_table_is_applied_from_its_first_value_on(tmp_path):
    # 10 and below: entry 0; 13 and above: the last; entries 100, 400, 900, 1,600 of which 100 is black
    table = look_up_table(data=(100, 400, 900, 1600), descriptor=[4, 10, 16])
    pixels = np.array([[0, 10, 11, 12, 13, 60000]], np.uint16)
    wanted = [0, 0, 51, 136, 255, 255]  # (entry - 100) / 1,500 x 255
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[table]))[0] == wanted


def test_a_look_up_table_from_white_to_black_inverts(tmp_path):
    table = look_up_table(data=(255, 170, 85, 0))
    assert grey(write_dicom(tmp_path / "a.dcm", np.array([[0, 1, 2, 3]], np.uint16), VOILUTSequence=[table]))[
        0
    ] == [0, 85, 170, 255]


def test_a_negative_slope_does_not_turn_a_windowed_image_black(tmp_path):
    tags = {"RescaleSlope": -1, "RescaleIntercept": 4080, "WindowCenter": 2040.5, "WindowWidth": 4081}
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **tags)
    assert np.array_equal(np.ravel(grey(path)), np.arange(256)[::-1])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("pixels", [RAMP, RAMP[1:], RAMP // 4])  # 6%, none and 25% of the values inside
def test_a_window_written_for_an_eight_bit_copy_is_told_and_not_used(tmp_path, pixels, photometric):
    pixels = pixels if photometric == "MONOCHROME2" else 4095 - pixels
    centre = 127 if photometric == "MONOCHROME2" else 4095 - 127
    tags = {"WindowCenter": centre, "WindowWidth": 255}
    path = write_dicom(tmp_path / "a.dcm", pixels, bits=12, photometric=photometric, **tags)
    picture = shown(read_image(path))
    assert len(np.unique(np.asarray(picture.image))) == pixels.size
    assert picture.notes[0] == ABSENT


def test_after_such_a_window_the_next_one_is_used(tmp_path):
    tags = {"WindowCenter": [127, 2040.5], "WindowWidth": [255, 4081]}
    picture = shown(read_image(write_dicom(tmp_path / "a.dcm", RAMP, bits=12, **tags)))
    assert np.array_equal(np.asarray(picture.image)[..., 0].ravel(), np.arange(256))
    assert picture.notes == (ABSENT, WINDOWED)


def test_air_that_a_window_turns_black_does_not_speak_against_it(tmp_path):
    pixels = np.full((100, 100), -1000, np.int16)
    pixels[:10, :10] = np.arange(100).reshape(10, 10) - 10  # a head's top, 1% of the pixels
    tags = {"WindowCenter": 40, "WindowWidth": 80}
    picture = shown(read_image(write_dicom(tmp_path / "a.dcm", pixels, **tags)))
    assert picture.notes == (WINDOWED,)
    assert np.asarray(picture.image)[50, 50, 0] == 0


def test_images_without_a_window_share_one_range_within_a_kind(tmp_path):
    deep = [
        read_image(write_dicom(tmp_path / f"{name}.dcm", pixels, bits=bits, Modality="CR"))
        for name, pixels, bits in (
            ("dark", RAMP // 2, 12),
            ("bright", RAMP, 12),
            ("other scanner", RAMP * 4, 14),
        )
    ]
    surveys = [one.survey() for one in deep]
    display = Display.of(surveys)
    choices = [display.choice(one) for one in surveys]
    brightest = [
        int(np.asarray(shown(one, choice).image).max()) for one, choice in zip(deep, choices, strict=True)
    ]
    assert brightest == [128, 255, 255]  # 2,040 of 4,080 = 127.5


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_padding_is_black_and_does_not_widen_the_range(tmp_path, photometric, window):
    pixels = RAMP.astype(np.int16)
    pixels[0] = -2000
    pixels[1] = -2001
    header = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -2001, **window}
    path = write_dicom(tmp_path / "a.dcm", pixels, photometric=photometric, **header)
    found = np.array(grey(path))
    assert (found[:2] == 0).all()
    # 512 and 4,080 in the window from 0 to 4,095: 31.9 and 254.1
    darkest, brightest = (32, 254) if window else (0, 255)
    wanted = (255 - brightest, 255 - darkest) if photometric == "MONOCHROME1" else (darkest, brightest)
    assert (found[2:].min(), found[2:].max()) == wanted


def test_eight_bits_with_a_rescale_that_changes_nothing_stay_as_they_are(tmp_path):
    pixels = np.array([[7, 100], [180, 200]], np.uint8)
    assert (
        grey(write_dicom(tmp_path / "a.dcm", pixels, RescaleSlope=1, RescaleIntercept=0)) == pixels.tolist()
    )


def test_eight_bits_stored_in_sixteen_stay_as_they_are(tmp_path):
    pixels = np.array([[7, 100], [180, 200]], np.uint16)
    assert grey(write_dicom(tmp_path / "a.dcm", pixels, bits=8)) == pixels.tolist()


def test_nothing_is_assumed_where_the_header_does_not_say_whether_zero_is_black(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", RAMP, photometric=None)
    with pytest.raises(ValueError, match="nothing says whether 0 is black or white"):
        to_rgb(path)


def test_a_picture_under_the_suffix_of_dicom_is_read(tmp_path):
    Image.new("RGB", (4, 4), (9, 9, 9)).save(tmp_path / "a.dcm", format="PNG")
    assert grey(tmp_path / "a.dcm") == [[9] * 4] * 4


def test_a_large_image_is_shrunk_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGE_PIXELS", 16 * 16)
    path = write_dicom(tmp_path / "a.dcm", RAMP.repeat(2, 0).repeat(2, 1), bits=12)
    assert np.array_equal(np.ravel(grey(path)), np.arange(256))


def test_dicom_is_known_without_suffix_and_without_preamble(tmp_path):
    path = write_dicom(tmp_path / "IM0001", np.array([[7, 100], [180, 200]], np.uint8))
    old = tmp_path / "IM0002"
    old.write_bytes(path.read_bytes()[132:])
    assert is_image_file(path)
    assert is_image_file(old)
    assert grey(old) == grey(path)


def test_old_dicom_that_begins_with_its_data_set_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.array([[7, 100], [180, 200]], np.uint8), Modality="CR")
    old = tmp_path / "IM0001"
    header = pydicom.dcmread(path)
    del header.file_meta, header.preamble
    header.save_as(old, implicit_vr=True, little_endian=True)
    assert old.read_bytes()[:4] == b"\x08\0\x60\0"  # no preamble, no meta information
    assert is_image_file(old)
    assert grey(old) == grey(path)


def test_the_directory_of_a_dicom_disc_is_no_image():
    path = Path(pydicom.data.get_testdata_file("DICOMDIR", download=False))
    assert not is_image_file(path)


DIM = RAMP // 4 + 900  # 900 to 1,920 in steps of 4: most of it in the window, from 1,100 to 1,699
BRIGHT = RAMP // 2 + 1600  # 1,600 to 3,640 in steps of 8: all but 13 of 256 values are white there
ONE_WINDOW = {"WindowCenter": 1400, "WindowWidth": 600}


@pytest.fixture
def decoded(tmp_path):
    """Of DICOM files (pixels and tags) that are one data set: grey values, and what was decided of each."""

    def decode(*files, bits=12):
        paths = [
            write_dicom(tmp_path / f"{number}.dcm", pixels, bits=bits, **tags)
            for number, (pixels, tags) in enumerate(files)
        ]
        raw = tmp_path / "raw"
        raw.write_bytes(bytes(len(files) * 16 * 16 * 3))
        found, _ = decode_into(raw, paths, resize=BICUBIC)
        values = np.fromfile(raw, np.uint8).reshape(len(files), 256, 3)[..., 0]
        return values, [one.notes for one in found]

    return decode


@pytest.mark.parametrize(("dim", "bright"), [(3, 2), (2, 2)])
def test_a_window_that_suits_most_images_that_state_it_is_used_for_all(decoded, dim, bright):
    values, notes = decoded(*[(DIM, ONE_WINDOW)] * dim, *[(BRIGHT, ONE_WINDOW)] * bright)
    # ((value - 1,399.5) / 599 + 0.5) x 255: 900 lies below, 1,400 gives 127.7, 1,600 gives 212.9
    assert values[:dim, [0, 125, 255]].tolist() == [[0, 128, 255]] * dim
    assert values[dim:, [0, 255]].tolist() == [[213, 255]] * bright
    assert notes == [(WINDOWED,)] * dim + [(WINDOWED, KEPT)] * bright


def test_a_window_that_hides_most_images_that_state_it_is_used_for_none(decoded):
    values, notes = decoded(*[(DIM, ONE_WINDOW)] * 2, *[(BRIGHT, ONE_WINDOW)] * 3)
    # (value - 900) / 2,740 x 255: 94.9 at 1,920 and 65.1 at 1,600
    assert values[:2, [0, 255]].tolist() == [[0, 95]] * 2
    assert values[2:, [0, 255]].tolist() == [[65, 255]] * 3
    ranged = "no window: 900 to 3,640, the lowest and highest value of all such images, is black to white"
    assert notes == [(ABSENT, ranged)] * 5


def test_images_that_use_their_window_do_not_widen_the_range_of_the_others(decoded):
    values, _ = decoded((DIM, {}), (BRIGHT, ONE_WINDOW), (DIM, ONE_WINDOW))
    assert values[0, [0, 255]].tolist() == [0, 255]  # of 900 to 1,920


def test_windows_of_other_numbers_functions_or_modalities_are_decided_apart(decoded):
    others = [{"WindowWidth": 601}, {"VOILUTFunction": "SIGMOID"}, {"Modality": "CR"}]
    _, notes = decoded(
        *[(DIM, ONE_WINDOW)] * 2, *[(BRIGHT, ONE_WINDOW | other) for other in others], (BRIGHT, ONE_WINDOW)
    )
    assert [WINDOWED in one for one in notes] == [True, True, False, False, False, True]


def test_where_the_first_window_is_used_for_none_the_next_one_is_used_for_all(decoded):
    tags = {"WindowCenter": [1400, 2270.5], "WindowWidth": [600, 2741]}  # the second: 900 to 3,640
    values, notes = decoded((DIM, tags), (BRIGHT, tags), (BRIGHT, tags))
    assert values[:, [0, 255]].tolist() == [[0, 95], [65, 255], [65, 255]]
    assert notes == [(ABSENT, WINDOWED)] * 3


def test_eight_bits_stay_as_they_are_in_all_images_where_their_window_hides_most(decoded):
    shallow, tags = np.arange(256, dtype=np.uint8).reshape(16, 16), {"WindowCenter": 20, "WindowWidth": 10}
    dark = shallow // 8  # 0 to 31
    values, notes = decoded((dark, tags), (shallow, tags), (255 - shallow, tags), bits=8)
    assert values.tolist() == [one.ravel().tolist() for one in (dark, shallow, 255 - shallow)]
    assert notes == [(ABSENT,)] * 3


def write_classes(root, *, windowed):
    """Ten images a class, as many of them with a window as `windowed` says."""
    rng = np.random.default_rng(0)
    for name, number_of_windows in windowed.items():
        (root / name).mkdir(parents=True)
        for number in range(10):
            tags = ONE_WINDOW if number < number_of_windows else {}
            pixels = rng.integers(900, 1900, (16, 16)).astype(np.uint16)
            write_dicom(root / name / f"{number}.dcm", pixels, bits=12, **tags)
    return f"folder:{root}"


@pytest.mark.parametrize(
    ("windowed", "is_told"),
    [
        ({"a": 10, "b": 7}, True),
        ({"a": 9, "b": 7}, False),  # 20 points are not more than 20
        ({"a": 0, "b": 3, "c": 1}, True),
        ({"a": 10, "b": 10}, False),
        ({"a": 0, "b": 0}, False),
    ],
)
def test_windows_that_go_with_the_label_are_a_warning_of_check_and_of_a_sweep(
    tmp_path, caplog, windowed, is_told
):
    source = write_classes(tmp_path / "data", windowed=windowed)
    most, least = max(windowed, key=windowed.get), min(windowed, key=windowed.get)
    warning = (
        f"{10 * windowed[most]}% of the images of class '{most}' and {10 * windowed[least]}% of class "
        f"'{least}' are shown in a window of their DICOM header"
    )
    told = [text for text in check_dataset(source).warnings if "DICOM header" in text]
    assert [text.startswith(warning) for text in told] == [True] * is_told
    cache = tmp_path / "cache"
    for _ in range(2):  # decoded, and from the cache
        caplog.clear()
        prepare(source, resizes=[BICUBIC], split="auto", split_seed=0, cache_dir=cache)
        assert (warning in caplog.text) == is_told


NUMBERS = st.sampled_from([None, "", 0, 1, -1, 127, 2048, 4096, -1024, [2048, 400], ["", 2048]])
TABLES = st.sampled_from([None, [], [Dataset()], [look_up_table(LUTData=None)], [look_up_table(data=(5, 5))]])
TAGS = {
    **dict.fromkeys(["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"], NUMBERS),
    **dict.fromkeys(["VOILUTSequence", "ModalityLUTSequence"], TABLES),
    "VOILUTFunction": st.sampled_from([None, "", "LINEAR", "LINEAR_EXACT", "SIGMOID", "UNKNOWN"]),
    "PixelPaddingValue": st.sampled_from([None, 0, 4080]),
    "Modality": st.sampled_from([None, "", "CR"]),
    "NumberOfFrames": st.sampled_from([None, 1]),
}


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tags=st.fixed_dictionaries({}, optional=TAGS), photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"])
)
def test_whatever_tags_lack_the_picture_is_there(tmp_path, tags, photometric):
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=12, photometric=photometric, **tags)
    pixels = np.asarray(shown(read_image(path)).image)
    assert len(np.unique(pixels)) > 16  # of 256: never uniform, never a mask
