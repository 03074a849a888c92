"""Finding files in a tree or in archives, and pairing them."""

import zipfile

from refusals import refuse

from jaxseg.data import layouts

IMAGES = layouts.Glob("images.zip", ("images/*/*.jpg", "*/*.jpg"))
LABELS = layouts.Glob("labels.zip", ("labels/*/*_label.png",))
LIST = layouts.Glob("labels.zip", ("lists/train.txt",))
NAMES = ("ulm/b", "ulm/a", "bern/a")
ADDRESS = "https://example.org"


def fill(root, names=NAMES):
    for name in names:
        write(root / f"images/{name}.jpg", b"image")
        write(root / f"labels/{name}_label.png", b"label")
    return root


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pack(root, folder):
    """Moves a folder into an archive of its name."""
    with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
        for path in sorted((root / folder).rglob("*")):
            archive.write(path, path.relative_to(root))
    (root / folder).rename(root / "packed")


def open_pairs(root, **choice):
    pairs = layouts.Pairs(IMAGES, LABELS, **choice).open(root, ADDRESS)
    return [(str(image), str(label)) for image, label in pairs]


def test_tree(tmp_path):
    fill(tmp_path)
    for path in ("images/ulm/._a.jpg", "images/ulm/a.txt", "images/ulm/c/d.jpg"):
        write(tmp_path / path)
    assert open_pairs(tmp_path) == [
        (f"{tmp_path}/images/{name}.jpg", f"{tmp_path}/labels/{name}_label.png")
        for name in sorted(NAMES)
    ]


def test_one_half_packed(tmp_path):
    pack(fill(tmp_path), "labels")
    assert open_pairs(tmp_path)[0] == (
        f"{tmp_path}/images/bern/a.jpg",
        f"{tmp_path}/labels.zip/labels/bern/a_label.png",
    )


def test_an_archive_packed_anew(tmp_path):
    """With a folder around everything, and what a Mac adds."""
    fill(tmp_path)
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        for path in sorted((tmp_path / "labels").rglob("*.png")):
            archive.write(path, "mine" / path.relative_to(tmp_path))
        archive.writestr("__MACOSX/mine/labels/bern/._a_label.png", b"")
    (tmp_path / "labels").rename(tmp_path / "packed")
    write(tmp_path / "images/ulm/c.jpg")
    message = refuse(open_pairs, tmp_path)
    assert f"expected {tmp_path}/labels.zip/mine/labels/ulm/c_label.png" in message
    (tmp_path / "images/ulm/c.jpg").unlink()
    assert open_pairs(tmp_path)[0] == (
        f"{tmp_path}/images/bern/a.jpg",
        f"{tmp_path}/labels.zip/mine/labels/bern/a_label.png",
    )


def test_the_first_pattern_that_matches_counts(tmp_path):
    fill(tmp_path)
    write(tmp_path / "ulm/z.jpg")
    assert len(open_pairs(tmp_path)) == 3
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert "ulm/z.jpg has no label" in refuse(open_pairs, tmp_path)


def test_choices(tmp_path):
    fill(tmp_path)
    write(tmp_path / "lists/train.txt", b"ulm/b 1 1\n\nbern/a 2 1\r\n")
    listed = [f"{tmp_path}/images/{name}.jpg" for name in ("bern/a", "ulm/b")]
    assert [image for image, _ in open_pairs(tmp_path, listed=LIST)] == listed
    others = [f"{tmp_path}/images/ulm/a.jpg"]
    assert [image for image, _ in open_pairs(tmp_path, unlisted=LIST)] == others
    kept = open_pairs(tmp_path, keep=lambda key: key == "ulm/a")
    assert [image for image, _ in kept] == others


def test_label_is_missing(tmp_path):
    (fill(tmp_path) / "labels/ulm/a_label.png").unlink()
    assert refuse(open_pairs, tmp_path) == (
        f"{tmp_path}/images/ulm/a.jpg has no label; expected "
        f"{tmp_path}/labels/ulm/a_label.png"
    )
    pack(tmp_path, "labels")
    message = refuse(open_pairs, tmp_path)
    assert f"expected {tmp_path}/labels.zip/labels/ulm/a_label.png" in message


def test_image_of_a_list_is_missing(tmp_path):
    write(fill(tmp_path) / "lists/train.txt", b"ulm/a\nulm/z\n")
    message = refuse(open_pairs, tmp_path, listed=LIST)
    assert message == f"ulm/z has no image; expected {tmp_path}/images/ulm/z.jpg"


def test_a_label_without_image_is_no_example(tmp_path):
    write(fill(tmp_path) / "labels/ulm/z_label.png")
    assert len(open_pairs(tmp_path)) == 3


def test_nothing_there(tmp_path):
    assert refuse(open_pairs, tmp_path) == (
        f"config.data.root={str(tmp_path)!r} holds neither images/*/*.jpg nor "
        f"*/*.jpg nor images.zip; get it from {ADDRESS}"
    )
    write(tmp_path / "labels/ulm/a_label.png")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.jpg", b"")
    assert refuse(open_pairs, tmp_path).startswith(
        f"{tmp_path}/images.zip holds no images/*/*.jpg or */*.jpg; get it from"
    )


def test_no_example_is_left(tmp_path):
    fill(tmp_path)
    message = refuse(open_pairs, tmp_path, keep=lambda key: False)
    assert "no example of this split" in message
    write(tmp_path / "lists/train.txt", b"\n")
    assert "no example of this split" in refuse(open_pairs, tmp_path, listed=LIST)
