"""Four formats of one set give the same boxes; what is wrong with them is one clear message each."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.core.detection.truth import Truth
from harness.core.errors import DataError
from harness.data.boxes import coco, table, voc, yolo
from harness.data.boxes.labels import Box, BoxLabels, objects_of, paired
from harness.data.images import ImageRecipe
from harness.data.sources import DataSource, load

#: width and height of each image, and its objects: class, x0, y0, x1, y1.
SCENES = {
    "a.png": ((100, 80), [(0, 10, 20, 30, 60), (1, 40, 0, 100, 80)]),
    "b.png": ((60, 60), []),
    "c.png": ((64, 128), [(1, 0, 0, 32, 64)]),
}
NAMES = ("cat", "dog")
MOST = 1_000_000


@pytest.fixture
def folder(tmp_path: Any) -> Any:
    (tmp_path / "images").mkdir()
    for name, ((width, height), _) in SCENES.items():
        Image.new("RGB", (width, height)).save(tmp_path / "images" / name)
    return tmp_path / "images"


def write_coco(path: Any, **changes: Any) -> Any:
    annotations = [
        {"id": i, "image_id": image, "category_id": (3, 7)[c], "iscrowd": 0,
         "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for image, (_, rows) in enumerate(SCENES.values()) for i, (c, x0, y0, x1, y1) in enumerate(rows)
    ]  # fmt: skip
    whole = {
        "images": [
            {"id": i, "file_name": name, "width": size[0], "height": size[1]}
            for i, (name, (size, _)) in enumerate(SCENES.items())
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    path.write_text(json.dumps(whole | changes))
    return coco.read(path, MOST)


def write_yolo(folder: Any, images: Any) -> Any:
    folder.mkdir(exist_ok=True)
    for name, ((width, height), rows) in SCENES.items():
        text = "\n".join(
            f"{c} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} {(x1 - x0) / width} {(y1 - y0) / height}"
            for c, x0, y0, x1, y1 in rows
        )
        (folder / name).with_suffix(".txt").write_text(text)
    (folder / "classes.txt").write_text("cat\ndog\n")
    return yolo.read(folder, sorted(images.iterdir()), images, MOST)


def write_voc(folder: Any) -> Any:
    folder.mkdir()
    for name, ((width, height), rows) in SCENES.items():
        objects = "".join(
            f"<object><name>{NAMES[c]}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for c, x0, y0, x1, y1 in rows
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
        (folder / name).with_suffix(".xml").write_text(text)
    return voc.read(folder, MOST)


def write_csv(path: Any, sizes: Any) -> Any:
    lines = ["image,class,x,y,width,height" if sizes else "filename,xmin,ymin,xmax,ymax,class"]
    for name, (_, rows) in SCENES.items():
        if not rows:
            lines.append(f"{name}{',' * 5}")
        for c, x0, y0, x1, y1 in rows:
            row = [name, NAMES[c], x0, y0, x1 - x0, y1 - y0] if sizes else [name, x0, y0, x1, y1, NAMES[c]]
            lines.append(",".join(map(str, row)))
    path.write_text("\n".join(lines) + "\n")
    return table.read(path, MOST)


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "csv corners", "csv sizes"])
def test_every_format_gives_the_same_objects(folder: Any, kind: Any) -> None:
    labels = {
        "coco": lambda: write_coco(folder.parent / "instances.json"),
        "yolo": lambda: write_yolo(folder.parent / "labels", folder),
        "voc": lambda: write_voc(folder.parent / "Annotations"),
        "csv corners": lambda: write_csv(folder.parent / "boxes.csv", sizes=False),
        "csv sizes": lambda: write_csv(folder.parent / "boxes.csv", sizes=True),
    }[kind]()
    assert tuple(labels.classes.values()) == NAMES
    files, names, notes = paired(labels, folder, sorted(folder.iterdir()), without="left out")
    assert [file.name for file in files] == list(SCENES)
    assert notes == []
    objects = objects_of(labels, names, [SCENES[file.name][0] for file in files])
    for file, got in zip(files, objects, strict=True):
        rows = SCENES[file.name][1]
        assert got.classes.tolist() == [row[0] for row in rows]
        np.testing.assert_allclose(got.corners, np.array([row[1:] for row in rows]).reshape(-1, 4), atol=1e-9)
        np.testing.assert_allclose(got.areas, [(x1 - x0) * (y1 - y0) for _, x0, y0, x1, y1 in rows])
    if kind == "coco":
        assert objects[0].numbers.tolist() == [3, 7]


def of(*boxes: Any, classes: Any = None, **more: Any) -> Any:
    return BoxLabels("labels", classes or {0: "cat", 1: "dog"}, {"a.png": boxes}, **more)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (of(Box(0, 90, 0, 110, 10)), r"1 of 1 boxes lie outside .*a.png: \[90, 0, 110, 10\] in 100×80"),
        (of(Box(0, -9, 0, 10, 10)), "lie outside"),
        (of(Box(0, 0, 0, 5, 5), Box(0, 30, 0, 10, 10)), "1 of 2 boxes have no width or no height, or a neg"),
        (of(Box(0, 0, 0, float("nan"), 5)), "have no width"),
        (of(Box(2, 0, 0, 5, 5)), "that the labels do not name; they name 0, 1: a.png: class 2"),
        (of(Box(0, 0.2, 0.2, 1.5, 0.3), normalized=True), "lie outside"),
        (of(sizes={"a.png": (80, 100)}), "a.png has 100×80 pixels, the labels say 80×100"),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_are_refused(labels: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        objects_of(labels, ["a.png"], [(100, 80)])


def test_a_box_may_reach_a_pixel_beyond_its_image() -> None:
    (objects,) = objects_of(of(Box(0, -1, 0, 101, 80)), ["a.png"], [(100, 80)])
    assert objects.corners.tolist() == [[0, 0, 100, 80]]


def test_labels_without_images_and_images_without_labels(folder: Any) -> None:
    images = sorted(folder.iterdir())
    lost = BoxLabels("labels", {0: "cat"}, {"a.png": (), "z.png": ()})
    with pytest.raises(DataError, match=r"1 of 2 labelled images are not in images; the first: z\.png"):
        paired(lost, folder, images, without="left out")
    with pytest.raises(DataError, match="none of the images is there"):
        paired(BoxLabels("labels", {}, {"z.png": ()}), folder, images, without="left out")
    one = BoxLabels("labels", {0: "cat"}, {"a.png": ()})
    files, _, notes = paired(one, folder, images, without="left out")
    assert len(files) == 1
    assert notes == ["left out: 2 of 3 images that the labels do not name"]
    files, _, notes = paired(one, folder, images, without="empty")
    assert len(files) == 3
    assert notes == ["2 of 3 images have no labels and count as empty ones"]


def one(**changes: Any) -> Any:
    return {"annotations": [{"image_id": 0, "category_id": 3, "bbox": [0, 0, 1, 1], **changes}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": None}, "no list 'categories'"),
        (one(image_id=9), r"annotations\[0\] has image_id 9"),
        (one(category_id=4), "has category_id 4"),
        (one(bbox=[0, 0, 1]), "no bbox of four numbers"),
        (one(bbox=[0, 0, 1, None]), "is None, not a number"),
        ({"annotations": [{"category_id": 3}]}, "an entry has no image_id"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_coco_is_refused(tmp_path: Any, changes: Any, message: Any) -> None:
    with pytest.raises(DataError, match=message):
        write_coco(tmp_path / "instances.json", **changes)


def test_results_are_no_labels(tmp_path: Any) -> None:
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(DataError, match="no COCO JSON") as caught:
        coco.read(tmp_path / "results.json", MOST)
    assert "results has no labels" in caught.value.cause
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        coco.read(tmp_path / "results.json", MOST)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1", "is not a class from 0 and a box"),
        ("0 0.5 0.5 0.1 0.1 0.9", "is not a class from 0 and a box"),
        ("-1 0.5 0.5 0.1 0.1", "is not a class from 0 and a box"),
        ("cat 0.5 0.5 0.1 0.1", "a value is 'cat', not a number"),
    ],
)
def test_a_line_that_is_no_box_is_refused(folder: Any, line: Any, message: Any) -> None:
    write_yolo(folder.parent / "labels", folder)
    (folder.parent / "labels" / "a.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        yolo.read(folder.parent / "labels", sorted(folder.iterdir()), folder, MOST)


def test_yolo_polygons_are_boxes_and_files_need_images(folder: Any) -> None:
    labels = folder.parent / "labels"
    write_yolo(labels, folder)
    (labels / "a.txt").write_text("1 0.1 0.2 0.5 0.2 0.3 0.6\n")
    (box,) = yolo.read(labels, sorted(folder.iterdir()), folder, MOST).boxes["a.png"]
    assert (box.x0, box.y0, box.x1, box.y1) == (0.1, 0.2, 0.5, 0.6)
    (labels / "z.txt").write_text("")
    with pytest.raises(DataError, match=r"1 files of labels have no image in images: z\.txt"):
        yolo.read(labels, sorted(folder.iterdir()), folder, MOST)
    (labels / "z.txt").unlink()
    (labels / "classes.txt").write_text("cat\n")
    read = yolo.read(labels, sorted(folder.iterdir()), folder, MOST)
    with pytest.raises(DataError, match="class that the labels do not name"):
        objects_of(read, ["a.png"], [(100, 80)])


def test_voc_of_something_else_is_refused_and_difficult_objects_do_not_count(tmp_path: Any) -> None:
    folder = tmp_path / "Annotations"
    write_voc(folder)
    text = (folder / "c.xml").read_text()
    (folder / "c.xml").write_text(text.replace("<name>dog", "<difficult>1</difficult><name>dog"))
    assert voc.read(folder, MOST).boxes["c.png"][0].crowd
    for damaged, message in (("<a/>", "its element is a"), ("<a>", "is not XML"),
                             ("<annotation><object/></annotation>", "has no name")):  # fmt: skip
        (folder / "c.xml").write_text(damaged)
        with pytest.raises(DataError, match=message):
            voc.read(folder, MOST)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class,x0,y0\na.png,cat,1,2\n", "has no column for the box"),
        ("file,x0,y0,x1,y1\n", "has no column for the class"),
        ("image,class,x0,y0,x1,y1\na.png,cat,1,2,3\n", "has 5 cells, the first line 6"),
        ("image,class,x0,y0,x1,y1\na.png,cat,1,2,3,z\n", "y1 is 'z', not a number"),
    ],
)
def test_a_table_without_boxes_is_refused(tmp_path: Any, text: Any, message: Any) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        table.read(tmp_path / "boxes.csv", MOST)


def test_classes_of_a_table_are_numbers_or_names(tmp_path: Any) -> None:
    (tmp_path / "boxes.csv").write_text("image,class,x0,y0,x1,y1\na.png,2,1,2,3,4\n")
    assert table.has_boxes(tmp_path / "boxes.csv")
    read = table.read(tmp_path / "boxes.csv", MOST)
    assert list(read.classes.values()) == ["0", "1", "2"]
    assert (read.boxes["a.png"][0].x1, read.boxes["a.png"][0].y1) == (3, 4)
    (tmp_path / "boxes.csv").write_text("file,label\na.png,2\n")
    assert not table.has_boxes(tmp_path / "boxes.csv")


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "box-csv"])
def test_a_folder_and_its_labels_are_one_set(folder: Any, kind: Any) -> None:
    given = {
        "coco": "instances.json", "yolo": "labels", "voc": "Annotations", "box-csv": "boxes.csv",
    }[kind]  # fmt: skip
    path = folder.parent / given
    write = {"coco": write_coco, "yolo": lambda at: write_yolo(at, folder), "voc": write_voc}
    write.get(kind, lambda at: write_csv(at, sizes=False))(path)
    recipe = ImageRecipe((64, 64), "contain", pad=114)
    source = DataSource(folder, path, image=recipe, input_names=("image",))
    dataset = load(source)
    truth = Truth(dataset.labels)
    assert dataset.inputs["image"].shape == (3, 64, 64, 3)
    assert dataset.class_names == NAMES
    assert truth.counts.tolist() == [2, 0, 1]
    assert truth.packed[0, 0, :6].tolist() == [100, 80, 0.64, 51 / 80, 0, 6]
    assert [file.name for file in dataset.files] == list(SCENES)
    if path.is_dir():  # a folder with both needs no more words
        again = load(replace(source, path=folder.parent, labels=None))
        np.testing.assert_array_equal(again.labels, dataset.labels)
    skipped = load(replace(source, skip=("b.png",)))
    assert Truth(skipped.labels).counts.tolist() == [2, 1]
