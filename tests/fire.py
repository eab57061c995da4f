"What the property tests share: values of any kind, what an annotation means, errors that are ours, damage to files."
import inspect
import io
import json
import math
import shutil
import signal
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from scgan_nb.datasets.celeba import template_landmarks


def fuzz(n):
    "Try `n` examples, or as many more as the profile asks for."
    return settings(max_examples=n*settings.default.max_examples//100)


# values

INTS = st.integers(-3, 70) | st.sampled_from([-10**30, -2**63, 2**31, 2**63, 10**9, 10**30])
FLOATS = st.sampled_from([math.nan, math.inf, -math.inf, -1., 0., .5, 1., 64., 1e308]) | st.floats(-10, 100)
TEXTS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=6) | st.sampled_from(
    ["", " ", "all", "4", "nan", "None", "landmark7", "../x", "/", "\0", "\ufeff", "x"*300, "a b", "[", "é"])
ANYTHING = st.recursive(st.none() | st.booleans() | INTS | FLOATS | TEXTS, lambda inner: st.lists(inner, max_size=4)
                        | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6)


def may_be(value, kind):
    "Whether an annotation can mean a value. Written without `core.values`, so that it checks what is there."
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType): return any(may_be(value, k) for k in args)
    if origin in (list, tuple, Iterable):
        if not isinstance(value, (list, tuple)): return False
        if origin is tuple and args and args[-1] is not ...:
            return len(value) == len(args) and all(map(may_be, value, args))
        return all(may_be(v, args[0]) for v in value if args)
    if origin is dict and args:
        return isinstance(value, dict) and all(may_be(k, args[0]) and may_be(v, args[1]) for k, v in value.items())
    if origin is float: return type(value) in (int, float) and math.isfinite(value)
    if origin is Path: return isinstance(value, (str, Path))
    if origin in (int, bool, str, NoneType): return type(value) is origin
    return origin in (Any, inspect.Parameter.empty) or isinstance(value, origin)


def meant_by(kind, seen=()):
    "A strategy of values that an annotation means; `seen` are texts that occur there."
    origin, args = get_origin(kind) or kind, get_args(kind)
    texts = st.sampled_from(sorted(seen)) | TEXTS if seen else TEXTS
    if origin in (Union, UnionType): return st.one_of(*(meant_by(k, seen) for k in args))
    if origin is tuple and args and args[-1] is not ...: return st.tuples(*(meant_by(k, seen) for k in args))
    if origin in (list, tuple, Iterable): return st.lists(meant_by(args[0] if args else Any, seen), max_size=4)
    plain = {int: st.integers(0, 70) | st.sampled_from([2**31, 10**9]), float: st.floats(0, 100), bool: st.booleans(),
             str: texts, Path: texts, NoneType: st.none()}
    return plain.get(origin, ANYTHING)


def values_for(kind, seen=()):
    "Values that an annotation means, and any others."
    return meant_by(kind, seen) | ANYTHING


def texts_in(*values):
    "The texts in some values."
    return {t for v in values for t in ([v] if isinstance(v, str) else v if isinstance(v, (list, tuple)) else [])
            if isinstance(t, str)}


def parameters(cls):
    "What the arguments of a class mean, those of base classes included: name -> annotation."
    found = {}
    for c in cls.__mro__:
        if "__init__" not in vars(c): continue
        hints, signature = get_type_hints(c.__init__), list(inspect.signature(c.__init__).parameters.values())[1:]
        for p in signature:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY): found.setdefault(p.name, hints.get(p.name, Any))
        if not any(p.kind is p.VAR_KEYWORD for p in signature): break
    return found


# errors

class Hangs(BaseException): "A call that does not come back."


@contextmanager
def soon(seconds=20):
    "The block must end soon; without signals of the system nobody watches."
    if "SIGALRM" not in signal.Signals.__members__: yield; return
    def ring(*_): raise Hangs(f"no end after {seconds} s")
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try: yield
    finally: signal.setitimer(signal.ITIMER_REAL, 0); signal.signal(signal.SIGALRM, before)


def is_ours(e):
    "Whether an error is one that the library raises on purpose: one line, but for lists of faults."
    ours = type(e).__module__.startswith("scgan_nb")
    plain = type(e) is ValueError or isinstance(e, ImportError) or isinstance(e, OSError) and e.errno is None
    known = isinstance(e, KeyError) and " " in str(e)
    return (ours and isinstance(e, ValueError)) or ((plain or known) and len(str(e).splitlines()) == 1)


def told(f, *names):
    "The result of a call; or None and the text of an error of ours, which holds one of the names."
    try:
        with soon(): return f(), None
    except Exception as e:
        assert is_ours(e), f"not an error of ours: {type(e).__name__}: {e}"
        named = {t for n in names for t in (str(n), repr(n)[1:-1], repr(n)[1:40])}
        assert not names or any(t in str(e) for t in named), f"{e!r} names none of {names}"
        return None, str(e)


# damage to files

PLACES = ("gone", "a folder", "a link that leads nowhere", "a link to itself", "empty")
JSON = st.recursive(st.none() | st.booleans() | st.integers(-3, 70) | st.sampled_from([10**30, 1e308, math.nan, -1.5]) | TEXTS,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=4)


def spots(value, at=()):
    "The places in a JSON value: keys and indices that lead there."
    found = [at]
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else (): found += spots(v, (*at, k))
    return found


@st.composite
def other_json(draw, whole):
    "A JSON text with one value replaced, or left out."
    value = json.loads(whole)
    *way, last = draw(st.sampled_from([s for s in spots(value) if s] or [(None,)]))
    if last is None or draw(st.integers(0, 9)) == 0: return json.dumps(draw(JSON)).encode()
    inner = value
    for k in way: inner = inner[k]
    if draw(st.booleans()): del inner[last]
    else: inner[last] = draw(JSON)
    return json.dumps(value, indent=1).encode()


@st.composite
def other_text(draw, whole):
    "A text with a piece replaced, or in another encoding."
    text = whole.decode()
    a = draw(st.integers(0, len(text))); b = draw(st.integers(a, min(a + 12, len(text))))
    new = draw(TEXTS | st.sampled_from([",", "\n", "\t", "\r", '"', "x"*200_000, "1", "-1", "#", "é"]))
    return (text[:a] + new + text[b:]).encode(draw(st.sampled_from(["utf-8"]*6 + ["utf-8-sig", "utf-16", "utf-7"])), "replace")


@st.composite
def other_picture(draw, ending):
    "A picture of any mode and size, in the format of the ending or in another one."
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"]))
    size = draw(st.tuples(st.integers(1, 48), st.integers(1, 48)))
    im, file = Image.effect_noise(size, 90), io.BytesIO()
    im = im.quantize(3 + size[0]) if mode == "P" else im.convert("I").convert(mode) if mode == "I;16" else im.convert(mode)
    kinds = [Image.registered_extensions()[ending], "PNG", "TIFF", "GIF", "JPEG", "BMP", "PPM", "WEBP"]
    try: im.save(file, draw(st.sampled_from(kinds)))
    except (OSError, ValueError, KeyError): im.convert("RGB").save(file, "PNG")
    return file.getvalue()


@st.composite
def other_array(draw):
    "An array of any shape and type."
    file, kind = io.BytesIO(), draw(st.sampled_from(["f4", "f8", "i8", "u1", "?", "c16", "U3", "O", "f2", ">f4", "M8[s]"]))
    shape = draw(st.sampled_from([(), (68, 2), (2, 68), (68, 3), (68,), (0,), (1, 68, 2)]))
    np.save(file, np.full(shape, draw(st.sampled_from([0, 1, 9])), "f8").astype(kind), allow_pickle=True)
    return file.getvalue()


@st.composite
def harm(draw, path, single=False):
    "Another content for a file, as bytes; or one of `PLACES`. `single`: one flipped byte, a cut, or a place."
    whole = path.read_bytes()
    at = draw(st.integers(0, max(len(whole) - 1, 0)))
    flip = st.integers(1, 255).map(lambda b: whole[:at] + bytes([whole[at] ^ b]) + whole[at + 1:])
    ways = [flip]*bool(whole) + [st.just(whole[:at])] + [st.sampled_from(PLACES)]
    if not single:
        ways += [st.binary(max_size=40), st.binary(min_size=1, max_size=9).map(lambda b: whole + b)]
        if path.suffix == ".json": ways += [other_json(whole)]*3
        if path.suffix in (".txt", ".csv", ".pts"): ways += [other_text(whole)]*4
        if path.suffix in Image.registered_extensions(): ways += [other_picture(path.suffix)]*2
        if path.suffix == ".npy": ways += [other_array()]
    return draw(st.one_of(ways))


@contextmanager
def harmed(path, content):
    "Inside the block a file holds something else."
    aside = path.with_name(path.name + ".aside~")
    path.rename(aside)
    try:
        if content == "a folder": path.mkdir()
        elif content == "a link that leads nowhere": path.symlink_to("nowhere")
        elif content == "a link to itself": path.symlink_to(path.name)
        elif content != "gone": path.write_bytes(b"" if content == "empty" else content)
        yield
    finally:
        if path.is_dir() and not path.is_symlink(): shutil.rmtree(path)
        else: path.unlink(missing_ok=True)
        aside.rename(path)


def files_in(folder): return sorted(p for p in Path(folder).rglob("*") if p.is_file())


# the files of each dataset that is read from a disk, small and true to the format; a builder returns the ways to open them, if there are several

def save(path, a, kind=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(a).astype(kind)).save(path)


def noise(seed, high=256, *shape): return np.random.default_rng(seed).integers(0, high, shape)
def photo(i, h=24, w=24): return noise(i, 256, h//4, w//4, 3).repeat(4, 0).repeat(4, 1)
def ids(i, high, h=24, w=24): return noise(i, high, h//4, w//4).repeat(4, 0).repeat(4, 1)


def folder(root):
    for i in range(3):
        save(root/"images"/f"{i}.{('png', 'jpg', 'bmp')[i]}", photo(i))
        save(root/"masks"/f"{i}.png", ids(i, 3))
    (root/"attrs.csv").write_text("file,Young,Male\n" + "".join(f"{i},{i % 2},1\n" for i in range(3)))
    (root/"masks"/"labels.txt").write_text("sky 0 0 255\nleft_hand 9 9 9 # a comment\nright_hand 20 0 0\n")


def coco(root):
    for i in range(2):
        save(root/"train_img"/f"{i:012}.jpg", photo(i))
        save(root/"train_label"/f"{i:012}.png", ids(i, 182))
        save(root/"train_inst"/f"{i:012}.png", ids(i, 60_000), np.uint16)
    return [{}, dict(instances=True)]


def ade(root):
    for i in range(2):
        save(root/"images"/"training"/f"ADE_train_{i + 1:08}.jpg", photo(i))
        save(root/"annotations"/"training"/f"ADE_train_{i + 1:08}.png", ids(i, 151))


def city(root):
    for i in range(2):
        numbers = np.where(ids(i, 2, 24, 48), 26000 + ids(i, 9, 24, 48), 7)
        save(root/"leftImg8bit"/"train"/"ulm"/f"ulm_{i:06}_000019_leftImg8bit.png", photo(i, 24, 48))
        save(root/"gtFine"/"train"/"ulm"/f"ulm_{i:06}_000019_gtFine_instanceIds.png", numbers, np.uint16)
        save(root/"gtFine"/"train"/"ulm"/f"ulm_{i:06}_000019_gtFine_labelIds.png",
             np.where(numbers < 1000, numbers, numbers//1000))


def attribute_file(path, names):
    attrs = "Black_Hair Blond_Hair Brown_Hair Male Young"
    path.write_text(f"{len(names)}\n{attrs}\n" + "".join(f"{n} 1 -1 -1 {1 - 2*(i % 2)} 1\n" for i, n in enumerate(names)))


def celeba(root):
    names = [f"{i + 1:06}.jpg" for i in range(3)]
    for i, name in enumerate(names):
        save(root/"img_align_celeba"/name, photo(i, 220, 180))
        save(root/"segmentation"/f"{i + 1:06}.png", ids(i, 7, 220, 180))
    attribute_file(root/"list_attr_celeba.txt", names)
    (root/"list_eval_partition.txt").write_text("".join(f"{n} {i//2}\n" for i, n in enumerate(names)))
    (root/"identity_CelebA.txt").write_text("".join(f"{n} {i + 5}\n" for i, n in enumerate(names)))
    points = template_landmarks(220, 180).numpy()[:, ::-1]
    (root/"points").mkdir(); np.save(root/"points"/"000001.npy", points)
    for i, ending in ((2, "pts"), (3, "txt")):
        lines = "\n".join(f"{x:.1f} {y:.1f}" for x, y in points)
        (root/"points"/f"{i:06}.{ending}").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n" if i == 2 else lines)
    return [{}, dict(landmarks=str(root/"points"), split="all")]


def celebamask(root):
    for i in range(2):
        save(root/"CelebA-HQ-img"/f"{i}.jpg", photo(i))
        for part, mask in (("skin", ids(i, 2)*255), ("hair", ids(i + 9, 2)*255)):
            save(root/"CelebAMask-HQ-mask-anno"/"0"/f"{i:05}_{part}.png", mask)
    attribute_file(root/"CelebAMask-HQ-attribute-anno.txt", ["0.jpg", "1.jpg"])
    (root/"train_list.txt").write_text("0.jpg\n1.jpg\n")


def fashion(root):
    h5py, io = pytest.importorskip("h5py"), pytest.importorskip("scipy.io")
    for name in ("Img", "Anno"): (root/name).mkdir()
    with h5py.File(root/"Img"/"G2.h5", "w") as f:
        f["ih"], f["ih_mean"] = noise(0, 9, 3, 3, 16, 16)/9 - .5, np.full((3, 16, 16), .5)
        f["b_"] = noise(1, 7, 3, 1, 16, 16).astype(np.float64)
    io.savemat(root/"Anno"/"ind.mat", dict(train_ind=[[1], [3]], test_ind=[[2]]))
    io.savemat(root/"Anno"/"language_original.mat", dict(color_=[[1], [17], [4]], cate_new=[[1], [2], [3]],
                                                         gender_=[[0], [1], [1]], sleeve_=[[1], [4], [2]]))


def pose_transfer(root):
    names = [f"fashion{who}_{shot}.jpg" for who in ("MENDenimid0000008001", "WOMENTees_Tanksid0000783805")
             for shot in ("1front", "2side")]
    rows = []
    for i, name in enumerate(names):
        save(root/"train"/name, photo(i, 24, 16))
        save(root/"trainE"/"diff"/f"{name[7:-4]}.png", 255*ids(i, 2, 24, 16))
        y, x = noise(i, 24, 18).tolist(), noise(i + 9, 16, 18).tolist()
        y[16], x[16] = -1, -1
        rows.append(f"{name}:{y}:{x}")
    (root/"fashion-resize-annotation-train.csv").write_text("\n".join(["name:keypoints_y:keypoints_x", *rows]))
    pairs = [f"{names[a]},{names[b]}" for a, b in ((0, 1), (1, 0), (3, 2))]
    (root/"fashion-resize-pairs-train.csv").write_text("\n".join(["from,to", *pairs]))
    return [{}, dict(edges="xdog"), dict(pairs="make")]


BUILDERS = {"folder": folder, "coco-stuff": coco, "ade20k": ade, "cityscapes": city, "celeba": celeba,
            "celebamask-hq": celebamask, "fashion": fashion, "pose-transfer": pose_transfer}
