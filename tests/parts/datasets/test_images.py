"""Folders of image files, as Pillow writes them."""

from __future__ import annotations

import os
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vaeflow.errors import ConfigError, DataError
from vaeflow.options import validate
from vaeflow.parts.datasets.images import Images
from vaeflow.testing import check

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (20, 4, 6)).astype(np.uint8)
COLOUR = RNG.randint(0, 256, (20, 4, 6, 3)).astype(np.uint8)


DEEP = RNG.randint(0, 65536, (20, 4, 6)).astype(np.uint16)


def save(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}{suffix}")
    return folder


def put(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def complaint(path: Path, **options) -> str:
    with pytest.raises(DataError) as caught:
        Images(path=path, **options).load()
    return str(caught.value)


def rows(x: torch.Tensor) -> list[bytes]:
    return sorted(bytes(row) for row in np.asarray((x * 255).round(), np.uint8).reshape(len(x), -1))


def deep_png(kind: int, channels: int) -> bytes:
    """Return a PNG of 4×6 pixels of 16 bits a channel, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 6, 4, 16, kind, 0, 0, 0)
    lines = (bytes(1) + RNG.bytes(6 * channels * 2) for _ in range(4))  # each after its filter
    pixels = zlib.compress(b"".join(lines))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def deep_tiff() -> bytes:
    """Return a TIFF of 4×6 pixels in RGB of 16 bits a channel, which Pillow does not write."""
    pixels = RNG.bytes(4 * 6 * 3 * 2)
    depths = 8 + len(pixels)
    tags = [  # number, type (3 for 16 bits, 4 for 32), count, value or where it lies
        (256, 3, 1, 6), (257, 3, 1, 4), (258, 3, 3, depths), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, 4), (279, 4, 1, len(pixels)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        struct.pack("<2sHI", b"II", 42, depths + 6)
        + pixels
        + struct.pack("<HHH", 16, 16, 16)
        + struct.pack("<H", len(tags))
        + directory
        + bytes(4)
    )


class TestValues:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".PNG", ".gif", ".webp"])
    def test_grey_images_have_one_channel(self, tmp_path, suffix):
        lossless = {"lossless": True} if suffix == ".webp" else {}
        for i, image in enumerate(GREY):
            put(tmp_path / f"{i}{suffix}", Image.fromarray(image), **lossless)
        splits = Images(path=tmp_path, channels=1).load()
        assert splits.data_shape == (1, 4, 6)
        assert splits.train.dtype == torch.float32
        together = torch.cat([x for _, x in splits])
        assert rows(together) == sorted(image.tobytes() for image in GREY)
        assert torch.equal((together * 255).round() / 255, together)

    def test_colour_images_have_three_channels_before_height_and_width(self, tmp_path):
        splits = Images(path=save(tmp_path, COLOUR)).load()
        assert splits.data_shape == (3, 4, 6)
        expected = sorted(image.transpose(2, 0, 1).tobytes() for image in COLOUR)
        assert rows(torch.cat([x for _, x in splits])) == expected

    def test_one_image_in_colour_makes_all_of_them_colour(self, tmp_path):
        save(tmp_path, GREY)
        put(tmp_path / "z.png", Image.fromarray(COLOUR[0]))
        splits = Images(path=tmp_path).load()
        together = torch.cat([x for _, x in splits])
        assert together.shape == (21, 3, 4, 6)
        assert ((together[:, :1] == together).all((1, 2, 3))).sum() == 20

    def test_colour_is_turned_to_grey_on_request(self, tmp_path):
        splits = Images(path=save(tmp_path, COLOUR), channels=1).load()
        expected = sorted(Image.fromarray(image).convert("L").tobytes() for image in COLOUR)
        assert rows(torch.cat([x for _, x in splits])) == expected

    @pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
    def test_every_kind_of_eight_bits_is_read(self, tmp_path, mode):
        suffix = ".tif" if mode == "CMYK" else ".png"
        for i in range(3):
            put(tmp_path / f"{i}{suffix}", Image.new("RGB", (6, 4), "white").convert(mode))
        splits = Images(path=tmp_path).load()
        assert splits.data_shape == (1 if mode in ("1", "LA") else 3, 4, 6)
        assert (splits.train == 1).all()

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_palette_with_transparency_gives_its_colours(self, tmp_path, channels):
        image = Image.fromarray(COLOUR[0]).quantize(8)
        for i in range(3):
            put(tmp_path / f"{i}.png", image, transparency=bytes([0, 128, 255]))
        splits = Images(path=tmp_path, channels=channels).load()
        expected = np.asarray(image.convert("RGB").convert("L" if channels == 1 else "RGB"))
        assert np.array_equal(
            (splits.train[0] * 255).round(), expected.reshape(4, 6, channels).transpose(2, 0, 1)
        )

    def test_jpeg_files_are_close_to_the_saved_image(self, tmp_path):
        smooth = np.broadcast_to(np.linspace(0, 250, 16).astype(np.uint8), (3, 16, 16))
        splits = Images(path=save(tmp_path, smooth, ".jpg")).load()
        assert (splits.train * 255 - torch.tensor(smooth[0])).abs().max() < 5

    def test_images_are_turned_by_their_orientation(self, tmp_path):
        image = Image.fromarray(GREY[0])
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned to the right by whoever shows it
        for i in range(3):
            put(tmp_path / f"{i}.png", image, exif=exif)
        splits = Images(path=tmp_path).load()
        assert splits.data_shape == (1, 6, 4)
        assert rows(splits.train) == [np.rot90(GREY[0], -1).tobytes()]


class TestLevels:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_grey_of_16_bits_keeps_its_levels(self, tmp_path, caplog, suffix, channels):
        splits = Images(path=save(tmp_path, DEEP, suffix), channels=channels).load()
        together = torch.cat([x for _, x in splits])
        assert together.shape == (20, channels, 4, 6)
        seen = (together[:, -1].double() * 65535).round().to(torch.int64).numpy().astype(np.uint16)
        assert sorted(i.tobytes() for i in seen) == sorted(i.tobytes() for i in DEEP)
        expected = torch.from_numpy(np.float32(seen) / np.float32(65535))[:, None]
        assert torch.equal(together, expected.expand_as(together))
        assert "16 bits a channel: their values are k/65535" in caplog.text

    def test_grey_of_16_bits_is_resized_as_floats(self, tmp_path):
        x = torch.cat([x for _, x in Images(path=save(tmp_path, DEEP), size=(2, 3)).load()])
        floats = [ImageOps.fit(Image.fromarray(i.astype(np.float32)), (3, 2)) for i in DEEP]
        expected = sorted(np.asarray(i).round().clip(0, 65535).tolist() for i in floats)
        assert sorted((x * 65535).round()[:, 0].tolist()) == expected

    @pytest.mark.parametrize("suffix", [".png", ".gif"])
    def test_a_palette_of_greys_is_grey(self, tmp_path, suffix):
        for i, image in enumerate(GREY):
            put(tmp_path / f"{i}{suffix}", Image.fromarray(image // 128 * 90).convert("P"))
        splits = Images(path=tmp_path).load()
        assert splits.data_shape == (1, 4, 6)
        expected = sorted((image // 128 * 90).tobytes() for image in GREY)
        assert rows(torch.cat([x for _, x in splits])) == expected

    @pytest.mark.parametrize(
        ("mode", "told"), [("RGBA", True), ("LA", True), ("RGB", False), ("P", True)]
    )
    def test_transparency_is_told(self, tmp_path, caplog, mode, told, one_sentence):
        options = {"transparency": 0} if mode == "P" else {}
        for i in range(4):
            put(tmp_path / f"{i}.png", Image.new("RGB", (6, 4), "white").convert(mode), **options)
        Images(path=tmp_path).load()
        assert bool(caplog.records) == told
        for record in caplog.records:
            one_sentence(record.getMessage())
            assert "4 of the 4 images" in record.getMessage()
            assert f"left out; the first is {tmp_path / '0.png'}" in record.getMessage()

    def test_the_first_picture_of_a_film_is_taken_and_told(self, tmp_path, caplog, one_sentence):
        save(tmp_path, GREY)
        frames = [Image.fromarray(np.full((4, 6), v, np.uint8)) for v in (7, 200)]
        film = put(tmp_path / "film.gif", frames[0], save_all=True, append_images=frames[1:])
        together = torch.cat([x for _, x in Images(path=tmp_path).load()])
        assert ((together * 255).round() == 7).all((1, 2, 3)).sum() == 1
        (record,) = caplog.records
        one_sentence(record.getMessage())
        assert f"1 of the 21 images of {tmp_path} hold several pictures" in record.getMessage()
        assert str(film) in record.getMessage()

    def test_grey_among_colours_is_told(self, tmp_path, caplog, one_sentence):
        save(tmp_path, GREY)
        coloured = put(tmp_path / "z.png", Image.fromarray(COLOUR[0]))
        assert Images(path=tmp_path).load().data_shape == (3, 4, 6)
        (record,) = caplog.records
        one_sentence(record.getMessage())
        assert record.getMessage().startswith(f"{tmp_path / '000.png'} is grey and {coloured} is")
        caplog.clear()
        assert Images(path=tmp_path, channels=1).load().data_shape == (1, 4, 6)
        assert not caplog.records


class TestSize:
    def test_crop_covers_the_size_and_keeps_the_middle(self, tmp_path):
        image = np.zeros((8, 16), np.uint8)
        image[:, 4:12] = 255  # the middle square is white
        splits = Images(path=save(tmp_path, np.stack([image] * 3)), size=(8, 8)).load()
        assert splits.data_shape == (1, 8, 8)
        assert (splits.train == 1).all()

    def test_stretch_keeps_everything(self, tmp_path):
        image = np.zeros((8, 16), np.uint8)
        image[:, 8:] = 255
        path = save(tmp_path, np.stack([image] * 3))
        x = Images(path=path, size=(8, 8), fit="stretch").load().train
        assert (x[..., :3] == 0).all()
        assert (x[..., 5:] == 1).all()

    @pytest.mark.parametrize("fit", ["crop", "stretch"])
    def test_sizes_are_height_and_width(self, tmp_path, fit):
        splits = Images(path=save(tmp_path, COLOUR), size=(3, 5), fit=fit).load()
        assert splits.data_shape == (3, 3, 5)

    def test_resizing_is_pillows(self, tmp_path):
        path = save(tmp_path, COLOUR)
        x = torch.cat([x for _, x in Images(path=path, size=(2, 3)).load()])
        fitted = [ImageOps.fit(Image.fromarray(i), (3, 2)) for i in COLOUR]
        expected = sorted(np.asarray(image).transpose(2, 0, 1).tobytes() for image in fitted)
        assert rows(x) == expected

    def test_images_of_many_sizes_need_one(self, tmp_path, one_sentence):
        save(tmp_path, GREY)
        odd = put(tmp_path / "x.png", Image.fromarray(GREY[0].T.copy()))
        message = complaint(tmp_path)
        one_sentence(message)
        first = tmp_path / "000.png"
        assert message == f"{odd} has 6×4 pixels, but {first} has 4×6: give --dataset.size"
        assert Images(path=tmp_path, size=(4, 4)).load().data_shape == (1, 4, 4)

    def test_one_number_is_the_side_of_a_square(self, tmp_path):
        assert Images(path=save(tmp_path, COLOUR), size=(5,)).load().data_shape == (3, 5, 5)

    @pytest.mark.parametrize(("text", "size"), [("32,24", (32, 24)), ("32", (32,)), ("none", None)])
    def test_the_size_is_read_from_the_command_line(self, text, size):
        assert validate(Images, {"path": "x", "size": text}, "dataset")["size"] == size

    @pytest.mark.parametrize("text", ["0", "8,-8", "1,2,3", "[]", "large"])
    def test_a_wrong_size_is_refused(self, text, one_sentence):
        with pytest.raises(ConfigError, match=r"^--dataset\.size: got ") as caught:
            validate(Images, {"path": "x", "size": text}, "dataset")
        one_sentence(str(caught.value))


class TestSplits:
    def test_one_folder_is_shuffled_and_split_by_fractions(self, tmp_path):
        path = save(tmp_path, GREY)
        splits = Images(path=path, validation=0.25, test=0.05).load()
        assert [len(x) for _, x in splits] == [14, 5, 1]
        again = Images(path=path, validation=0.25, test=0.05).load()
        assert again.fingerprint() == splits.fingerprint()
        assert rows(splits.train) != sorted(image.tobytes() for image in GREY[:14])

    def test_the_split_does_not_depend_on_the_order_of_the_file_system(self, tmp_path, monkeypatch):
        path = save(tmp_path / "a", GREY)
        splits = Images(path=path).load()
        walk = os.walk

        def backwards(*args, **options):
            for top, folders, names in walk(*args, **options):
                folders.reverse()
                yield top, folders, names[::-1]

        monkeypatch.setattr(os, "walk", backwards)
        assert Images(path=path).load().fingerprint() == splits.fingerprint()

    def test_folders_named_after_splits_are_the_splits(self, tmp_path):
        for name, part in {
            "train": GREY[:14],
            "validation": GREY[14:17],
            "test": GREY[17:],
        }.items():
            save(tmp_path / name, part)
        splits = Images(path=tmp_path).load()
        for (_, x), part in zip(splits, (GREY[:14], GREY[14:17], GREY[17:]), strict=True):
            assert np.array_equal((x * 255).round(), part[:, None])

    def test_folders_of_classes_are_searched_and_other_files_left(self, tmp_path):
        save(tmp_path / "cats", GREY[:10])
        save(tmp_path / "dogs" / "small", GREY[10:])
        (tmp_path / "labels.csv").write_text("0,1")
        (tmp_path / "cats" / "._000.png").write_bytes(b"a file of the Finder's")
        splits = Images(path=tmp_path).load()
        assert sum(len(x) for _, x in splits) == 20

    def test_hidden_files_and_folders_are_left_out(self, tmp_path):
        root = save(
            tmp_path / ".data" / "pictures", GREY
        ).parent  # above the folder it is no matter
        save(root / ".thumbnails", GREY[:, ::2, ::2])
        save(root / "pictures" / ".ipynb_checkpoints" / "old", COLOUR)
        splits = Images(path=root).load()
        assert sum(len(x) for _, x in splits) == 20
        assert splits.data_shape == (1, 4, 6)

    def test_links_are_followed_and_loops_are_not(self, tmp_path):
        store = save(tmp_path / "store" / "dogs", GREY[10:])
        root = save(tmp_path / "pictures" / "cats", GREY[:10]).parent
        (root / "dogs").symlink_to(store)
        (store / "all").symlink_to(root)  # a loop
        (root / "pets").symlink_to(root / "cats")  # a second way
        together = torch.cat([x for _, x in Images(path=root).load()])
        assert rows(together) == sorted(image.tobytes() for image in GREY)

    @pytest.mark.parametrize(
        "names",
        [
            ("train", "validation", "test"),
            ("Train", "Valid", "TEST"),
            ("training", "val", "testing"),
        ],
    )
    def test_splits_have_several_names(self, tmp_path, names):
        parts = (GREY[:14], GREY[14:17], GREY[17:])
        for name, part in zip(names, parts, strict=True):
            save(tmp_path / name, part)
        for (_, x), part in zip(Images(path=tmp_path).load(), parts, strict=True):
            assert np.array_equal((x * 255).round(), part[:, None])

    def test_without_validation_it_is_taken_off_the_training_images(
        self, tmp_path, caplog, one_sentence
    ):
        save(tmp_path / "train", GREY[:15])
        save(tmp_path / "test", GREY[15:])
        splits = Images(path=tmp_path, validation=0.2).load()
        assert [len(x) for _, x in splits] == [12, 3, 5]
        assert np.array_equal((splits.test * 255).round(), GREY[15:, None])
        together = torch.cat([splits.train, splits.validation])
        assert rows(together) == sorted(image.tobytes() for image in GREY[:15])
        (record,) = caplog.records
        one_sentence(record.getMessage())
        assert "no validation data: 3 of its 15 training examples" in record.getMessage()

    @pytest.mark.parametrize(
        "names",
        [
            ("trn", "tst"), ("train", "eval"), ("train", "dev", "test"), ("train", "holdout"),
            ("train",), ("test",), ("val", "test"), ("train", "validation"), ("train", "Train"),
            ("train", "training", "test"), ("train", "test", "cats"), ("cats", "dogs", "eval"),
            ("train_images", "test_images"), ("trainset", "holdout-set"), ("x_train", "x_test"),
            ("seg_train", "seg_test"), ("test2",), ("cats/train", "cats/test", "dogs/train"),
            ("train/cats/val", "test/cats"),
        ],
        ids="+".join,
    )  # fmt: skip
    def test_other_names_like_those_of_splits_are_refused(self, tmp_path, names, one_sentence):
        for name in names:
            save(tmp_path / name, GREY[:1])
        if len(list(tmp_path.iterdir())) < len({name.split("/")[0] for name in names}):
            pytest.skip("the file system knows no case")
        message = complaint(tmp_path)
        one_sentence(message)
        assert str(tmp_path) in message
        assert "rename" in message

    def test_names_that_tell_classes_are_classes(self, tmp_path):
        for i, name in enumerate(("trains", "test tubes", "valley", "contest", "best")):
            save(tmp_path / name, GREY[4 * i : 4 * i + 4])
        splits = Images(path=tmp_path).load()
        assert sum(len(x) for _, x in splits) == 20

    @pytest.mark.parametrize("split", [False, True])
    def test_folders_are_the_labels(self, tmp_path, split):
        for name in ("train", "val", "test") if split else (".",):
            save(tmp_path / name / "cats", GREY[:10])
            save(tmp_path / name / "dogs" / "small", GREY[10:])
        splits = Images(path=tmp_path).load()
        dogs = {image.tobytes() for image in GREY[10:]}
        for name, x in splits:
            seen = [bytes(row) for row in (x * 255).round().to(torch.uint8).numpy()]
            expected = ["dogs" if row in dogs else "cats" for row in seen]
            assert splits.labels[name]["label"].tolist() == expected

    @pytest.mark.parametrize("folders", [("cats",), ("cats", ".")], ids=["one", "beside"])
    def test_images_outside_of_classes_have_no_label(self, tmp_path, folders):
        for folder in folders:
            save(tmp_path / folder, GREY)
        assert Images(path=tmp_path).load().labels == {}

    def test_images_beside_the_splits_are_told(self, tmp_path, caplog):
        for name in ("train", "val", "test"):
            save(tmp_path / name, GREY)
        beside = put(tmp_path / "all.png", Image.fromarray(GREY[0]))
        assert len(Images(path=tmp_path).load().train) == 20
        assert f"1 files beside the folders test, train, val are left out, such as {beside}" in (
            caplog.text
        )

    def test_the_path_is_found_below_the_data_root(self, tmp_path):
        save(tmp_path / "pictures", GREY)
        assert Images(tmp_path, path=Path("pictures")).load().data_shape == (1, 4, 6)
        (tmp_path / "moved").mkdir()
        (tmp_path / "pictures").rename(tmp_path / "moved" / "pictures")
        moved = Images(tmp_path / "moved", path=tmp_path / "pictures")
        assert moved.load().data_shape == (1, 4, 6)

    def test_it_passes_the_checks_of_a_dataset(self, tmp_path):
        check("dataset", partial(Images, path=save(tmp_path, COLOUR)))


class TestRefusals:
    def test_a_folder_that_is_missing_or_empty_is_refused(self, tmp_path, one_sentence):
        file = put(tmp_path / "x.png", Image.fromarray(GREY[0]))
        for path in (tmp_path / "none", file):
            message = complaint(path)
            one_sentence(message)
            assert message == f"{path} is no folder: check --dataset.path and --data-root"
        (tmp_path / "empty").mkdir()
        message = complaint(tmp_path / "empty")
        one_sentence(message)
        assert message.startswith(f"{tmp_path / 'empty'} holds no image: files .bmp, .gif, ")

    def test_too_few_images_and_too_large_fractions_are_refused(self, tmp_path, one_sentence):
        message = complaint(save(tmp_path, GREY[:2]))
        one_sentence(message)
        assert "holds 2 examples, of which 1 go to validation and 1 to the test" in message
        with pytest.raises(ConfigError, match="leave no training data"):
            Images(path=tmp_path, validation=0.5, test=0.5)

    @pytest.mark.parametrize(
        "content",
        [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(30), b"GIF89a"],
        ids=["empty", "text", "damaged", "cut off"],
    )
    def test_a_file_without_an_image_is_named(self, tmp_path, content, one_sentence):
        bad = save(tmp_path, GREY) / "bad.png"
        bad.write_bytes(content)
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{bad} is not a readable image (")
        assert message.endswith("): replace it, or take it out of the folder")

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    def test_a_truncated_image_is_named(self, tmp_path, suffix, one_sentence):
        noise = RNG.randint(0, 256, (4, 64, 64, 3)).astype(np.uint8)
        bad = save(tmp_path, noise, suffix) / f"002{suffix}"
        bad.write_bytes(bad.read_bytes()[:-900])
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{bad} is not a readable image (")

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_more_than_sixteen_bits_are_refused_and_not_clipped(
        self, tmp_path, dtype, one_sentence
    ):
        bad = put(tmp_path / "x.tif", Image.fromarray(GREY[0].astype(dtype) * 200))
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{bad} is not a readable image (its mode is ")

    @pytest.mark.parametrize(
        ("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "LA", "RGBA"]
    )
    def test_colours_of_sixteen_bits_are_refused(self, tmp_path, kind, channels, one_sentence):
        bad = tmp_path / "x.png"
        bad.write_bytes(deep_png(kind, channels))
        with Image.open(bad) as image:
            image.load()  # Pillow takes it, and cuts it to 8 bits
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{bad} has 16 bits a channel, which are read of grey images")

    def test_colours_of_sixteen_bits_in_tiff_are_refused(self, tmp_path, one_sentence):
        bad = tmp_path / "x.tif"
        bad.write_bytes(deep_tiff())
        with Image.open(bad) as image:
            image.load()
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{bad} has 16 bits a channel, which are read of grey images")

    def test_images_of_8_and_of_16_bits_are_refused_together(self, tmp_path, one_sentence):
        flat = save(tmp_path, GREY) / "000.png"
        deep = put(tmp_path / "x.png", Image.fromarray(DEEP[0]))
        message = complaint(tmp_path)
        one_sentence(message)
        assert message.startswith(f"{deep} has 16 bits a channel, but {flat} has 8: convert")

    def test_an_image_above_the_limit_is_not_decoded(self, tmp_path, monkeypatch, one_sentence):
        put(tmp_path / "bomb.png", Image.new("1", (9000, 9000)))
        monkeypatch.setattr(ImageOps, "exif_transpose", lambda i: pytest.fail("it was decoded"))
        message = complaint(tmp_path)
        one_sentence(message)
        assert "(it has 9000×9000 pixels, more than 67,108,864)" in message


def test_images_that_memory_cannot_hold_are_read_once(tmp_path, monkeypatch):
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    save(folder, GREY)
    wanted = Images(path=folder).load()
    monkeypatch.setattr("vaeflow.parts.datasets.images._IN_MEMORY", 0)
    monkeypatch.setattr("vaeflow.parts.datasets.images._GROUP", 2)
    images = Images(path=folder, cache=cache)
    assert images.load().fingerprint() == wanted.fingerprint()
    assert not images.load().kept("train").resident
    monkeypatch.setattr("vaeflow.parts.datasets.images.header", None)  # no file is opened
    assert images.load().fingerprint() == wanted.fingerprint()
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("split", [False, True])
def test_a_pixel_is_called_by_its_file(tmp_path, split):
    names = ("train", "validation", "test") if split else (".",)
    for name in names:
        save(tmp_path / name / "cats", GREY)
    splits = Images(path=tmp_path).load()
    for name, x in splits:
        for i, image in enumerate(x):
            told = splits.place(name)((i, 0, 2, 3))
            file = Path(told.removesuffix(" at (0, 2, 3)"))
            assert np.array_equal(np.asarray(Image.open(file)), (image[0] * 255).round())
            assert not split or file.parent.parent.name == name
