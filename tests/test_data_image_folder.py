"""A person's own images: folders and zips, in memory and streamed, and what can be wrong with them."""

import io
import multiprocessing
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrbench.data import ImageFolder, StreamedSplit, image_folder
from lrbench.data.image_files import ImageReader, read_image_folder


def image_bytes(colour: int, *, size: tuple[int, int] = (6, 6), mode: str = "RGB", kind: str = "PNG") -> bytes:
    random = np.random.default_rng(colour)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape).astype(np.uint8), mode).save(file, kind)
    return file.getvalue()


def make_images(root: Path, *, bases: tuple[str, ...] = ("train", "test"), num: int = 10) -> Path:
    for b, base in enumerate(bases):
        for c, name in enumerate(("cat", "dog", "émeu")):
            folder = root / base / name
            folder.mkdir(parents=True)
            for i in range(num):
                (folder / f"{i:02}.png").write_bytes(image_bytes(1000 * b + 100 * c + i))
    return root


def zipped(root: Path) -> Path:
    return Path(shutil.make_archive(str(root), "zip", root))


def dataset(root: Path, **options) -> ImageFolder:
    options = {"cache_dir": str(root.parent / "cache"), "image_size": 6, "num_workers": 0} | options
    return ImageFolder(root=str(root), **options)


def all_of(split) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*split.batches(torch.arange(len(split)).split(4)), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def test_folder_and_zip_are_the_same_dataset(tmp_path):
    root = make_images(tmp_path / "data")
    from_folder, from_zip = dataset(root), dataset(zipped(root))
    a, b = from_folder.load(), from_zip.load()
    assert a.digest == b.digest
    assert torch.equal(a.train.inputs, b.train.inputs)
    assert (from_zip.num_outputs, from_zip.num_train, from_zip.input_shape) == (3, 27, (3, 6, 6))
    assert [len(s) for s in (b.train, b.validation, b.test)] == [27, 3, 30]
    assert torch.bincount(b.validation.targets).tolist() == [1, 1, 1]


def test_pixels_and_labels_are_those_of_the_files(tmp_path):
    root = make_images(tmp_path / "data")
    splits = dataset(root).load()
    # The test part is not shuffled: sorted by class, then by name.
    raw = np.stack([np.asarray(Image.open(p)).transpose(2, 0, 1) for p in sorted((root / "test").glob("*/*.png"))])
    for c in range(3):
        pair = np.stack([raw[:, c].ravel(), splits.test.inputs[:, c].numpy().ravel()])
        assert np.corrcoef(pair)[0, 1] > 1 - 1e-9
    assert splits.test.targets.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert splits.train.inputs.mean((0, 2, 3)).abs().max() < 1e-5
    assert (splits.train.inputs.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_undivided_images_get_a_test_split(tmp_path):
    root = make_images(tmp_path / "data", bases=("",))
    undivided = dataset(root, test_fraction=0.3, validation_fraction=1 / 7)
    splits = undivided.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [undivided.num_train, 3, 9] == [18, 3, 9]
    assert torch.bincount(splits.test.targets).tolist() == [3, 3, 3]


def test_images_of_any_mode_and_shape_become_rgb_squares(tmp_path):
    root = make_images(tmp_path / "data")
    folder = root / "train" / "cat"
    (folder / "grey.png").write_bytes(image_bytes(1, mode="L"))
    (folder / "alpha.png").write_bytes(image_bytes(1, mode="RGBA"))
    (folder / "wide.JPG").write_bytes(image_bytes(1, size=(50, 20), kind="JPEG"))
    assert dataset(root).load().train.inputs.shape == (30, 3, 6, 6)
    reader = ImageReader(root, 6)
    grey = np.asarray(Image.open(folder / "grey.png"))
    assert (reader.decode("train/cat/grey.png")[0] == grey).all()


def test_the_middle_square_is_used_upright(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:15] = 200  # left half of the middle square
    picture[:, :10] = 77  # outside of it
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    for name, options in (("upright", {}), ("turned", {"exif": exif})):
        Image.fromarray(picture).save(tmp_path / f"{name}.png", **options)
    upright, turned = (ImageReader(tmp_path, 10).decode(f"{name}.png")[0] for name in ("upright", "turned"))
    assert (upright[0] == picture[:, 10:20, 0]).all()
    assert (turned == upright[:, ::-1, ::-1]).all()


def test_sixteen_bits_are_scaled_by_their_range_and_not_cut_off(tmp_path):
    values = np.array([[0, 257], [32768, 65535]])
    expected = np.array([[0, 1], [128, 255]], dtype=np.uint8)
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray((values / 65535).astype(np.float32)).save(tmp_path / "b.tif")
    reader = ImageReader(tmp_path, 2)
    for name in ("a.png", "a.tif", "a.pgm", "b.tif"):
        assert (reader.decode(name)[0] == expected).all(), name
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "c.tif")
    with pytest.raises(ValueError, match=r"c.tif \(numbers of the mode F must be between 0 and 1, got 0 to 65535\)"):
        reader.decode("c.tif")


def test_palettes_cmyk_and_the_first_frame_of_an_animation_are_the_colours_they_show(tmp_path):
    red, frames = (254, 0, 0), [Image.new("RGB", (2, 2), colour) for colour in ((254, 0, 0), (0, 0, 254))]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("P").save(tmp_path / "palette.png")
    frames[0].convert("CMYK").save(tmp_path / "print.tif")
    for name in ("moving.gif", "palette.png", "print.tif"):
        assert np.abs(ImageReader(tmp_path, 2).decode(name)[0][:, 0, 0].astype(int) - red).max() <= 3, name


@pytest.mark.parametrize(
    ("bases", "sizes"),
    [(("train", "valid", "test"), [30, 30, 30]), (("train", "val"), [24, 30, 6]), (("Train", "TEST"), [27, 3, 30])],
)
def test_parts_that_exist_are_kept_and_the_others_drawn_from_train(tmp_path, bases, sizes):
    root = make_images(tmp_path / "data", bases=bases)
    (root / bases[-1] / "unlabelled.png").write_bytes(image_bytes(0))
    divided = dataset(root)
    splits = divided.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == sizes
    assert divided.num_train == sizes[0]


def test_images_of_no_class_in_test_are_none_to_test_on(tmp_path):
    root = make_images(tmp_path / "data", bases=("train",))
    (root / "test").mkdir()
    (root / "test" / "1.png").write_bytes(image_bytes(0))
    assert len(dataset(root).load().test) == 6


def test_a_zip_of_windows_and_one_with_a_folder_round_all_are_the_same_dataset(tmp_path):
    root = make_images(tmp_path / "data", num=5)
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    for kind, separator, prefix in (("windows", "\\", ""), ("wrapped", "/", "my data/"), ("dotted", "/", "./")):
        with zipfile.ZipFile(tmp_path / f"{kind}.zip", "w") as archive:
            for path in files:
                archive.writestr(prefix + separator.join(path.relative_to(root).parts), path.read_bytes())
            archive.writestr(f"__MACOSX{separator}._x.png", b"")
        assert dataset(tmp_path / f"{kind}.zip").load().digest == dataset(root).load().digest, kind


def test_a_link_to_a_folder_above_is_no_class(tmp_path, caplog):
    root = make_images(tmp_path / "data", num=5)
    (root / "train" / "loop").symlink_to("..")
    (root / "train" / "cat" / "loop").symlink_to(".")
    assert dataset(root).num_outputs == 3
    assert "loop, a link to a folder that it lies in" in caplog.text


def test_a_class_of_one_image_is_trained_on(tmp_path):
    root = make_images(tmp_path / "data", bases=("",), num=9)
    (root / "a").mkdir()
    (root / "a" / "A.JPEG").write_bytes(image_bytes(5, kind="JPEG"))
    splits = dataset(root, test_fraction=0.5, validation_fraction=0.3).load()
    assert [int((s.targets == 0).sum()) for s in (splits.train, splits.validation, splits.test)] == [1, 0, 0]


def test_streaming_gives_the_values_of_memory_and_leaves_no_worker(tmp_path):
    root = zipped(make_images(tmp_path / "data"))
    memory = dataset(root, in_memory=True).load()
    streamed = dataset(root, in_memory=False, num_workers=2).load()
    state = torch.get_rng_state()
    assert streamed.digest == memory.digest
    # An archive opened here must not be read through the same file position by the workers.
    streamed.train.examples.reader.read_bytes("train/cat/00.png")
    order = list(torch.randperm(27, generator=torch.Generator().manual_seed(0)).split(5))
    pairs = zip(memory.train.batches(order), streamed.train.to("cpu").batches(iter(order)), strict=True)
    for (a, x), (b, y) in pairs:
        assert torch.equal(a, b)
        assert a.stride() == b.stride(), "convolutions round differently on another memory order"
        assert torch.equal(x, y)
    abandoned = streamed.train.batches(order)
    next(abandoned)
    assert multiprocessing.active_children()
    abandoned.close()
    assert not multiprocessing.active_children()
    assert torch.equal(torch.get_rng_state(), state), "streaming must not draw from the stream of dropout"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_streamed_evaluation_splits_equal_those_in_memory(tmp_path, split):
    root = make_images(tmp_path / "data")
    memory, streamed = (getattr(dataset(root, in_memory=m).load(), split) for m in (True, False))
    assert isinstance(streamed, StreamedSplit)
    assert all(torch.equal(a, b) for a, b in zip(all_of(memory), all_of(streamed), strict=True))


@pytest.mark.parametrize(
    ("available", "kind"), [(2 * 60 * 3 * 36 * 4, "Split"), (2 * 60 * 3 * 36 * 4 - 1, "StreamedSplit")]
)
def test_what_does_not_fit_in_half_of_the_memory_is_streamed(tmp_path, monkeypatch, available, kind):
    monkeypatch.setattr(image_folder, "available_memory", lambda: available)
    assert type(dataset(make_images(tmp_path / "data")).load().train).__name__ == kind


def test_available_memory_is_that_of_a_computer():
    assert 2**26 < image_folder.available_memory() < 2**50


def test_images_are_decoded_once_until_one_changes(tmp_path, monkeypatch):
    root = make_images(tmp_path / "data")
    first = dataset(root).load()
    decode = ImageReader.decode
    monkeypatch.setattr(ImageReader, "decode", lambda *_: pytest.fail("decoded again"))
    assert dataset(root).load().digest == first.digest
    monkeypatch.setattr(ImageReader, "decode", decode)
    (root / "train" / "dog" / "00.png").write_bytes(image_bytes(999))
    assert dataset(root).load().digest != first.digest
    assert dataset(root, image_size=5).load().digest != first.digest


# What can be wrong


def test_files_that_are_not_images_are_ignored_and_counted(tmp_path, caplog):
    root = make_images(tmp_path / "data", num=3)
    (root / "README.txt").touch()
    (root / "train" / "cat" / "notes.csv").touch()
    (root / "train" / "cat" / ".hidden.png").touch()
    (root / "stray.png").write_bytes(image_bytes(0))
    listing = read_image_folder(root)
    assert listing.num_ignored == 3
    assert len(listing.names) == 18
    assert "ignoring 3 files" in caplog.text


@pytest.mark.parametrize("packed", [False, True])
def test_an_empty_folder_is_refused(tmp_path, packed):
    root = tmp_path / "data"
    (root / "train" / "cat").mkdir(parents=True)
    root = zipped(root) if packed else root
    with pytest.raises(ValueError, match=r"dataset\.root must hold images as train/<class>.*found none in .*data"):
        dataset(root).check()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_images_is_named(tmp_path, packed, part):
    root = make_images(tmp_path / "data", num=2)
    for path in (root / part / "dog").iterdir():
        path.unlink()
    root = zipped(root) if packed else root
    # A dog that is only in test is the other side of the same mistake.
    with pytest.raises(ValueError, match=rf"dataset\.root must hold images of every class, found none in {part}/dog"):
        dataset(root).check()


def test_a_class_missing_from_test_is_named(tmp_path):
    root = make_images(tmp_path / "data", num=2)
    shutil.rmtree(root / "test" / "dog")
    with pytest.raises(ValueError, match="found none in test/dog"):
        dataset(root).check()


def test_a_class_that_is_only_in_test_is_named(tmp_path):
    root = make_images(tmp_path / "data", num=2)
    shutil.rmtree(root / "train" / "dog")
    with pytest.raises(ValueError, match=r"has the class test/dog, absent from those in train: \['cat', 'émeu'\]"):
        dataset(root).check()


def test_two_folders_for_one_part_and_a_zip_with_a_password_are_refused(tmp_path):
    root = make_images(tmp_path / "data", bases=("train", "val", "valid"), num=2)
    with pytest.raises(ValueError, match=r"must hold each part once, found \['train', 'val', 'valid'\]"):
        dataset(root).check()
    path = zipped(root)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # in the last entry of the directory
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a zip file without a password"):
        dataset(path).check()


def test_a_single_class_is_refused(tmp_path):
    root = make_images(tmp_path / "data" / "nested", bases=("",)).parent
    with pytest.raises(ValueError, match="found none"):
        dataset(root).check()
    (root / "only").mkdir()
    (root / "only" / "a.png").write_bytes(image_bytes(0))
    with pytest.raises(ValueError, match=r"at least two classes, found only \['only'\]"):
        dataset(root).check()


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("damage", ["text", "truncated", "empty"])
def test_an_unreadable_image_is_named(tmp_path, in_memory, damage):
    root = make_images(tmp_path / "data")
    whole = image_bytes(1, size=(40, 40), kind="JPEG")
    bad = root / "test" / "cat" / "bad.jpg"
    bad.write_bytes({"text": b"<html>", "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"dataset\.root holds an unreadable image: .*test/cat/bad\.jpg"):
        dataset(root, in_memory=in_memory).load()


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png"):
            archive.writestr(name, image_bytes(0))
    content = bytearray(path.read_bytes())
    content[content.index(b"b/1.png") + 60] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"unreadable image: .*data\.zip/b/1\.png"):
        dataset(path, test_fraction=0.4, validation_fraction=0.4).load()


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), (b"not a zip", "must be a folder or a zip file")]
)
def test_a_root_that_is_no_folder_and_no_zip_is_refused(tmp_path, content, message):
    root = tmp_path / "data.zip"
    if content is not None:
        root.write_bytes(content)
    with pytest.raises(ValueError, match=rf"dataset\.root .*{message}"):
        dataset(root).check()


def test_a_missing_root_is_refused():
    with pytest.raises(ValueError, match=r"dataset\.root must name a folder or zip"):
        ImageFolder().check()


@pytest.mark.slow
def test_real_cifar10_zip(shared_data, tmp_path):
    cifar = ImageFolder(root=str(shared_data / "cifar10-jpeg.zip"), cache_dir=str(tmp_path))
    cifar.check()
    assert (cifar.num_outputs, cifar.num_train, cifar.input_shape) == (10, 45_000, (3, 32, 32))
    splits = cifar.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [45_000, 5_000, 10_000]
    assert torch.bincount(splits.train.targets).tolist() == [4500] * 10
    # CIFAR-10's well-known mean of the red channel, 0.4914, and deviation, 0.2470.
    black, white = splits.train.inputs[:, 0].min().item(), splits.train.inputs[:, 0].max().item()
    assert -black / (white - black) == pytest.approx(0.4914, abs=2e-3)
    assert 1 / (white - black) == pytest.approx(0.2470, abs=2e-3)
    assert cifar.load().digest == splits.digest
