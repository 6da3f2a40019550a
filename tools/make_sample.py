"""Cut the embedded sample out of a folder of PASCAL VOC 2012: small, balanced, the same every time.

    python tools/make_sample.py --source FOLDER --out data/embedded/voc12_animals_sample.tar

`FOLDER` is laid out like `VOCdevkit/VOC2012`: `JPEGImages/<id>.jpg`,
`SegmentationClassAug/<id>.png`, `saliency/<id>.png` of the training images,
`ImageSets/Segmentation/{train,val}.txt`, and `tags.csv` (image, split, tags with spaces between).

How images are chosen: training images from the source's `train` list, validation images from its
`val` list. Each list is shuffled by the seed; then, repeatedly, the animal with the fewest images
so far gets the next image that shows it. The choice depends on tags alone, not on masks or saliency
maps. Persons and other classes are present by chance; all tags are kept.

How they are cut: photographs are scaled to `--long-side` (Lanczos, never enlarged) and saved as
JPEG without metadata; masks are scaled by nearest neighbour with values and palette kept; saliency
maps are scaled bilinearly, then rounded to multiples of 5 of 255, which takes a megabyte off the
tar. The tar has sorted names and no owner, time or mode of its own, so the same Pillow gives the
same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import logging
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
ANIMALS = ("cat", "cow", "dog", "horse", "sheep")
JPEG_QUALITY = 88
SALIENCY_STEP = 5
NOTICE = """\
A part of PASCAL VOC 2012, scaled down. The photographs come from Flickr and stay under Flickr's
terms of use; VOC provides them for research. Masks: PASCAL VOC 2012, and the Semantic Boundaries
Dataset (SBD) where VOC has none, likewise for research. Saliency maps: IS-Net (DIS, general use).
M. Everingham et al., The PASCAL Visual Object Classes Challenge 2012 (VOC2012).
B. Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011.
"""

log = logging.getLogger("make_sample")


def read_tags(source: Path, split: str) -> dict[str, list[str]]:
    """Read the tags of the images on the source's list `split`, in the list's order."""
    with (source / "tags.csv").open(newline="", encoding="utf-8") as file:
        tags = {row["image"]: row["tags"].split() for row in csv.DictReader(file)}
    listed = (source / "ImageSets/Segmentation" / f"{split}.txt").read_text("utf-8").split()
    return {image: tags[image] for image in listed}


def choose(tags: dict[str, list[str]], count: int, seed: str) -> list[str]:
    """Choose `count` image names, sorted, with about as many images of each animal."""
    waiting = sorted(tags)
    random.Random(seed).shuffle(waiting)
    chosen: list[str] = []
    have = Counter(dict.fromkeys(ANIMALS, 0))
    while len(chosen) < count:
        left = [name for name in ANIMALS if any(name in tags[image] for image in waiting)]
        if not left:
            raise SystemExit(f"the source has {len(chosen)} animal images, {count} are asked for")
        rarest = min(left, key=lambda name: have[name])
        image = next(image for image in waiting if rarest in tags[image])
        waiting.remove(image)
        chosen.append(image)
        have.update(name for name in tags[image] if name in have)
    return sorted(chosen)


def scaled(path: Path, long_side: int, resample: Image.Resampling) -> Image.Image:
    """Scale the image so that its long side is at most `long_side`."""
    image = Image.open(path)
    scale = min(1.0, long_side / max(image.size))
    width, height = (round(side * scale) for side in image.size)
    return image.resize((width, height), resample)


def encoded(image: Image.Image, **options: Any) -> bytes:
    """Encode the image as a file, without metadata."""
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def image_files(source: Path, image: str, long_side: int) -> dict[str, bytes]:
    """Make the photograph, the mask and, if the source has one, the saliency map of an image."""
    photograph, mask, saliency = (
        f"JPEGImages/{image}.jpg",
        f"SegmentationClassAug/{image}.png",
        f"saliency/{image}.png",
    )
    resampling = Image.Resampling
    files = {
        photograph: encoded(
            scaled(source / photograph, long_side, resampling.LANCZOS).convert("RGB"),
            format="JPEG",
            quality=JPEG_QUALITY,
            optimize=True,
        ),
        mask: encoded(
            scaled(source / mask, long_side, resampling.NEAREST), format="PNG", optimize=True
        ),
    }
    if (source / saliency).exists():
        values = scaled(source / saliency, long_side, resampling.BILINEAR).convert("L")
        coarse = values.point([round(v / SALIENCY_STEP) * SALIENCY_STEP for v in range(256)])
        files[saliency] = encoded(coarse, format="PNG", optimize=True)
    return files


def text_files(tags: dict[str, dict[str, list[str]]]) -> dict[str, bytes]:
    """Make the lists, tags and class names; `tags` is split → image → tags."""
    rows = [
        f"{image},{split},{' '.join(tags[split][image])}" for split in tags for image in tags[split]
    ]
    texts = {
        "README.txt": NOTICE,
        "classes.txt": "\n".join(CLASSES) + "\n",
        "tags.csv": "\n".join(["image,split,tags", *rows]) + "\n",
    }
    for split, images in tags.items():
        texts[f"ImageSets/Segmentation/{split}.txt"] = "\n".join(images) + "\n"
    return {name: text.encode() for name, text in texts.items()}


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    """Write an uncompressed tar whose bytes depend on names and contents only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(files[name]))


def counts_table(tags: dict[str, dict[str, list[str]]]) -> str:
    """Count images per class and split, as a Markdown table."""
    counts = {
        split: Counter(name for names in images.values() for name in names)
        for split, images in tags.items()
    }
    lines = ["| class | train | val |", "|---|---:|---:|"]
    lines.append(f"| images | {len(tags['train'])} | {len(tags['val'])} |")
    present = [name for name in CLASSES if counts["train"][name] + counts["val"][name]]
    lines += [f"| {name} | {counts['train'][name]} | {counts['val'][name]} |" for name in present]
    return "\n".join(lines)


def main() -> None:
    """Cut the sample and log its counts and digest."""
    parser = argparse.ArgumentParser(description="Cut the embedded sample out of VOC 2012.")
    parser.add_argument("--source", type=Path, required=True, help="folder laid out like VOC2012")
    parser.add_argument("--out", type=Path, required=True, help="tar file to write")
    parser.add_argument("--train", type=int, default=200, help="training images")
    parser.add_argument("--val", type=int, default=80, help="validation images")
    parser.add_argument("--long-side", type=int, default=320, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    tags = {}
    for split, count in (("train", args.train), ("val", args.val)):
        listed = read_tags(args.source, split)
        chosen = choose(listed, count, f"{args.seed} {split}")
        tags[split] = {image: listed[image] for image in chosen}
    files = text_files(tags)
    for image in (image for images in tags.values() for image in images):
        files |= image_files(args.source, image, args.long_side)
    write_tar(args.out, files)

    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    log.info("%s\n", counts_table(tags))
    log.info("%s  %s (%d bytes)", digest, args.out.name, args.out.stat().st_size)


if __name__ == "__main__":
    main()
