"""Where the data sets are to be had, under which terms, and what should lie on disk afterwards.

Nothing here opens a connection. Sizes and checksums are empty where no source was found for them. Every
number of people and pictures was measured with our readers, or comes from the source that its data set names.
"""

from dataclasses import dataclass

SEEN = (
    "Addresses, sizes and checksums were gathered in November 2026 from stored copies of public pages and "
    "repositories. None was opened from the machine where this table was written."
)


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Args:
        name: where it belongs below the data set's folder.
        address: of the file itself, or of the page where a browser gets it; `seen` is where it was found.
        unpacks: for an archive, what is taken out of it: folders (ending in /) and files, as they shall lie
            below the data set's folder. A folder of the archive's own around all of them is taken off.
        size: bytes; None where unknown. `size_said` is then what its page says.
        sha256, md5: empty where unknown; `proof` is where size and checksum come from.
        by_hand: why `fetch` leaves the download to the user; empty where it doesn't.
        also: other places where a reader finds the file.
        extra: fetched only when it is named.
    """

    name: str
    holds: str
    address: str
    seen: str
    unpacks: tuple[str, ...] = ()
    size: int | None = None
    size_said: str = ""
    sha256: str = ""
    md5: str = ""
    proof: str = ""
    by_hand: str = ""
    also: tuple[str, ...] = ()
    extra: bool = False

    @property
    def how_large(self) -> str:
        """The size in words."""
        return self.size_said or "size unknown" if self.size is None else readable(self.size)


@dataclass(frozen=True)
class SplitSize:
    """What one split holds: people with a labelled joint, crowds aside, and pictures in its annotations."""

    split: str
    people: int
    pictures: int


@dataclass(frozen=True)
class DataSource:
    """One data set: `kind` is the reader (`data.name`, --data) that reads it, `home` its page.

    `about` says what is annotated, `terms` what may be done with it, each in a sentence; `licence` is a few
    words of the latter. `parts` are the splits of our reader, and `layout` what lies below the folder: path,
    and what it is.
    """

    name: str
    kind: str
    title: str
    about: str
    joints: int
    paper: str
    year: int
    home: str
    licence: str
    terms: str
    files: tuple[RemoteFile, ...]
    parts: tuple[SplitSize, ...]
    layout: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def readable(size: int) -> str:
    """Bytes in decimal units, as sites and disks count: 19.3 GB, 815.6 MB, 512 bytes."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


_AUTHORS = "https://github.com/princeton-vl/pose-hg-train/raw/"
_DRIVE = (
    "Google Drive asks a person to confirm large downloads, so a program gets a web page instead of the file"
)


def _mpii(name: str, holds: str, unpacks: str, size_said: str, md5: str = "") -> RemoteFile:
    return RemoteFile(
        name=name,
        holds=holds,
        address=f"https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr/{name}",
        seen="in many public scripts, of 2026 too",
        unpacks=(unpacks,),
        size_said=size_said,
        md5=md5,
        proof="size from the data set's page" + (", MD5 from A. Nibali's pose code" if md5 else ""),
    )


def _leeds(name: str, holds: str, extra: bool = False) -> RemoteFile:
    return RemoteFile(
        name=name,
        holds=holds,
        address=f"http://sam.johnson.io/research/{name}",
        seen="in many scripts; reported dead in GitHub issues of 2021 and of December 2024",
        unpacks=("joints.mat", "images/"),
        by_hand="the site has not answered since 2021 at the latest, and without a known checksum nobody "
        "could tell what a new owner of the address serves",
        extra=extra,
    )


def _flic(split: str, sha256: str, own_sides: bool = False) -> RemoteFile:
    people, size = {"train": ("3,987 training", 1_419_577), "valid": ("1,016 validation", 364_872)}[split]
    name = f"{split}_personcentric.h5" if own_sides else f"{split}.h5"
    return RemoteFile(
        name=f"annot/{name}",
        holds=f"{people} people, sides {'their own' if own_sides else 'as the observer sees them'}",
        address=f"{_AUTHORS}9442c50a97e15dc450c6c1f42032abcddf79b2d4/data/flic/annot/{name}",
        seen="the path and commit are in an index of the hourglass authors' repository",
        size=size,
        sha256=sha256,
        proof="of the copy that our reader was measured on, which has the same name",
        also=(name,),
        extra=own_sides,
    )


def _coco(path: str, holds: str, unpacks: tuple[str, ...], size: int, sha256: str) -> RemoteFile:
    return RemoteFile(
        name=path.split("/")[1],
        holds=holds,
        address=f"http://images.cocodataset.org/{path}",
        seen="in many public scripts, of 2026 too",
        unpacks=unpacks,
        size=size,
        sha256=sha256,
        proof="from TensorFlow Datasets' checksum list",
    )


MPII = DataSource(
    name="mpii",
    kind="mpii",
    title="MPII Human Pose",
    about="people in everyday activities, in pictures from YouTube videos; 16 joints, hidden ones marked",
    joints=16,
    paper="Andriluka, Pishchulin, Gehler, Schiele: 2D Human Pose Estimation: New Benchmark and State of the "
    "Art Analysis, CVPR 2014",
    year=2014,
    home="https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/software-and-datasets/"
    "mpii-human-pose-dataset",
    licence="research only",
    terms="Free for research; commercial use is not allowed, since the authors do not own the copyright of "
    "the pictures; cite the paper.",
    files=(
        _mpii(
            "mpii_human_pose_v1.tar.gz",
            "all pictures, of the test split too",
            "images/",
            "12.9 GB",
            "b6bc9c6869d3f035a5570b2e68ec84c4",
        ),
        _mpii(
            "mpii_human_pose_v1_u12_2.zip",
            "the official annotations, a MATLAB file",
            "mpii_human_pose_v1_u12_1.mat",
            "12.5 MB",
        ),
        RemoteFile(
            name="annot/train.h5",
            holds="the usual 22,246 training people, as the hourglass authors prepared them",
            address="https://github.com/princeton-vl/pose-hg-demo/raw/master/annot/train.h5",
            seen="in a fork of TensorFlow Datasets; `check` counts the people",
            also=("train.h5",),
        ),
        RemoteFile(
            name="annot/valid.h5",
            holds="the usual 2,958 validation people, as the hourglass authors prepared them",
            address=f"{_AUTHORS}4637618a1b162d80436bfd0b557833b5824cbb21/data/mpii/annot/valid.h5",
            seen="in A. Nibali's pose code",
            size=1_350_310,
            sha256="6c9e29d1472945abf370339d8a75e0da4117be52dcc3f589cb9f4a77cac2b760",
            md5="d88b6828485168c1fb4c79a21995fdef",
            proof="MD5 from A. Nibali's pose code; size and SHA-256 from a copy with this MD5",
            also=("valid.h5",),
        ),
    ),
    parts=(SplitSize("train", 22_246, 14_679), SplitSize("val", 2_958, 2_729)),
    layout=(
        ("images/", "the pictures, 015601864.jpg and so on"),
        ("annot/train.json and valid.json", "annotations as HRNet has them, or"),
        ("mpii_annotations.json or .json.gz", "all people in one list, or"),
        ("annot/train.h5 and valid.h5", "annotations of the hourglass authors, or"),
        ("mpii_human_pose_v1_u12_1.mat", "the official annotations"),
    ),
    notes=(
        "One form of the annotations is enough; HRNet's and the list are other people's conversions.",
        "Only the official file has the test split, 11,731 people in 6,619 pictures, without their joints.",
    ),
)

LSP = DataSource(
    name="lsp",
    kind="lsp",
    title="Leeds Sports Pose",
    about="sports people in Flickr photos, scaled to about 150 pixels; 14 joints, hidden ones marked",
    joints=14,
    paper="Johnson, Everingham: Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation, "
    "BMVC 2010",
    year=2010,
    home="http://sam.johnson.io/research/lsp.html",
    licence="unknown",
    terms="No licence is known: the authors ask to cite the paper, the photos come from Flickr and belong to "
    "their photographers, so treat it as research only.",
    files=(
        _leeds("lsp_dataset.zip", "annotations and 2,000 photos"),
        _leeds(
            "lsp_dataset_original.zip",
            "the same people in photos of the original size, with their own joints.mat",
            extra=True,
        ),
    ),
    parts=(SplitSize("train", 1_000, 1_000), SplitSize("test", 1_000, 1_000)),
    layout=(("joints.mat", "annotations of all 2,000"), ("images/", "im0001.jpg to im2000.jpg")),
    notes=(
        "Somebody else's copy: https://huggingface.co/datasets/LiuRunky/Leeds_Sports_Pose, whose page says "
        "that it was put there because the official site is down. Nobody vouches for it.",
        "joints.mat and images/ must come from the same archive: the original photos are larger.",
    ),
)

LSPET = DataSource(
    name="lspet",
    kind="lspet",
    title="Leeds Sports Pose Extended",
    about="people in parkour, gymnastics and athletics, in Flickr photos; 14 joints, by crowd workers",
    joints=14,
    paper="Johnson, Everingham: Learning Effective Human Pose Estimation from Inaccurate Annotation, "
    "CVPR 2011",
    year=2011,
    home="http://sam.johnson.io/research/lspet.html",
    licence="unknown",
    terms="No licence is known: the authors ask to cite the paper, the photos come from Flickr and belong to "
    "their photographers, so treat it as research only.",
    files=(_leeds("lspet_dataset.zip", "annotations and 10,000 photos"),),
    parts=(SplitSize("train", 8_000, 8_000), SplitSize("val", 1_000, 1_000), SplitSize("test", 1_000, 1_000)),
    layout=(("joints.mat", "annotations of all 10,000"), ("images/", "im00001.jpg to im10000.jpg")),
    notes=(
        "The splits are ours, by photo number; the data set itself has none.",
        "HR-LSPET (http://datasets.d2.mpi-inf.mpg.de/hr-lspet/hr-lspet.zip, about 2.9 GB) holds most of "
        "these people in larger PNG pictures with other annotations; our reader does not read it.",
    ),
)

FLIC = DataSource(
    name="flic",
    kind="flic",
    title="Frames Labeled in Cinema",
    about="upper bodies in stills of 720 x 480 from Hollywood films; 11 joints, none marked as hidden",
    joints=11,
    paper="Sapp, Taskar: MODEC: Multimodal Decomposable Models for Human Pose Estimation, CVPR 2013",
    year=2013,
    home="https://bensapp.github.io/flic-dataset.html",
    licence="unknown",
    terms="No licence is known: the stills come from films whose owners keep their rights, so treat it as "
    "research only; cite the paper.",
    files=(
        RemoteFile(
            name="FLIC.zip",
            holds="5,003 people in film stills",
            address="https://drive.google.com/uc?id=0B4K3PZp8xXDJN0Fpb0piVjQ3Y3M&export=download",
            seen="in TensorFlow Datasets, which names the data set's page",
            unpacks=("images/",),
            size=300_257_553,
            sha256="778a4847f068592af40e959381c153838e4f68bb1d798e3824a9d88e5b881955",
            proof="from TensorFlow Datasets' checksum list",
            by_hand=_DRIVE,
        ),
        _flic("train", "b736543395c47120efefdb5d3230d07d1a5d32c834892a74249b4b4f9be891fe"),
        _flic("valid", "0c4d4c20bb5a69cf22e2c68adebe0cb8ce6686bdcb50d7a7180680616d9e4fec"),
        _flic("train", "31b4573c89c7c0d42de8a1aab3824eb8ff1337197212d2f342f6ac17d2e5544c", own_sides=True),
        _flic("valid", "1922f83ab61b6f4de8e5b520af2687edea8f3a686d8ce567b46e6ad7be2b355d", own_sides=True),
    ),
    parts=(SplitSize("train", 3_987, 3_628), SplitSize("val", 1_016, 926)),
    layout=(
        ("images/", "the stills"),
        ("annot/train.h5 and valid.h5", "annotations of the hourglass authors"),
    ),
    notes=("FLIC-full, its larger and rougher sibling, is not read.",),
)

COCO = DataSource(
    name="coco",
    kind="coco",
    title="COCO 2017 keypoints",
    about="people of any size in Flickr photos, also crowds; 17 joints, hidden ones marked",
    joints=17,
    paper="Lin et al.: Microsoft COCO: Common Objects in Context, ECCV 2014",
    year=2014,
    home="https://cocodataset.org",
    licence="CC BY 4.0, photos Flickr's",
    terms="The annotations are under CC BY 4.0; the photos are not the consortium's: each keeps its licence "
    "on Flickr, often a non-commercial one, and who uses them answers for it.",
    files=(
        _coco(
            "annotations/annotations_trainval2017.zip",
            "annotations of both splits",
            ("annotations/person_keypoints_train2017.json", "annotations/person_keypoints_val2017.json"),
            252_907_541,
            "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        ),
        _coco(
            "zips/val2017.zip",
            "5,000 photos",
            ("val2017/",),
            815_585_330,
            "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
        ),
        _coco(
            "zips/train2017.zip",
            "118,287 photos",
            ("train2017/",),
            19_336_861_798,
            "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
        ),
    ),
    parts=(SplitSize("train", 149_813, 118_287), SplitSize("val", 6_352, 5_000)),
    layout=(
        ("annotations/person_keypoints_train2017.json", "and person_keypoints_val2017.json"),
        ("train2017/ and val2017/", "the photos; images/train2017/ and images/val2017/ are found too"),
    ),
    notes=(
        "Train with data.name=coco data.root='ROOT/{split}2017' "
        "data.annotations='ROOT/annotations/person_keypoints_{split}2017.json'.",
        "People are counted as HRNet's code counts them: no crowds, nobody without a labelled joint.",
    ),
)

AP10K = DataSource(
    name="ap10k",
    kind="coco",
    title="AP-10K",
    about="animals of 54 species and 23 families in the wild, in COCO's form; 17 joints, hidden ones marked",
    joints=17,
    paper="Yu et al.: AP-10K: A Benchmark for Animal Pose Estimation in the Wild, NeurIPS 2021",
    year=2021,
    home="https://github.com/AlexTheBad/AP-10K",
    licence="CC BY 4.0",
    terms="Under CC BY 4.0, as its README says: name the authors and say what you changed.",
    files=(
        RemoteFile(
            name="ap-10k.zip",
            holds="10,015 photos and their annotations in three random splits",
            address="https://drive.google.com/file/d/1-FNNGcdtAQRehYYkGY1y4wzFNg4iWNad/view",
            seen="in the README of its own repository",
            unpacks=("annotations/", "data/"),
            by_hand=_DRIVE,
        ),
    ),
    parts=(SplitSize("train", 9_122, 7_023), SplitSize("val", 1_272, 995), SplitSize("test", 2_634, 1_997)),
    layout=(
        ("annotations/ap10k-train-split1.json", "and so on: train, val and test, splits 1 to 3"),
        ("data/", "the photos"),
    ),
    notes=(
        "All species share a skeleton and are read together; data.category takes one. Use data.name=coco.",
        "Counts are those of split 1, from the card of https://huggingface.co/datasets/tlpss/ap10k-cropped-512x512.",
    ),
)

SOURCES: tuple[DataSource, ...] = (MPII, LSP, LSPET, FLIC, COCO, AP10K)


def find(name: str) -> DataSource:
    """The data set of a name; raises ValueError with the known ones."""
    for source in SOURCES:
        if source.name == name.lower():
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise ValueError(f"there is no data set {name!r} in our table; it has {known}")
