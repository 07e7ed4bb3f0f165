from pathlib import PurePosixPath

import numpy as np
import pytest

from panvision.dataset.descriptors import LookStack
from panvision.validate.copies.groups import join_groups
from panvision.validate.settings import SplitSettings
from tests.validate.copies.test_groups import entry

SETTINGS = SplitSettings(copy_difference=0.0)


def video(seed, count, *, step=4.0):
    """Looks of frames of one scene, each a little unlike the one before: (count, 64, 64) uint8."""
    chance = np.random.default_rng(seed)
    scene = chance.uniform(40, 215, (1, 8, 8)).repeat(8, 1).repeat(8, 2)
    drift = chance.normal(0, step, (count, 64, 64)).cumsum(0)
    return np.clip(scene + drift, 0, 255).astype(np.uint8)


def grouped(names, looks, *, task="detection"):
    entries = [entry(name, task, photo=PurePosixPath(name).stem) for name in names]
    return join_groups(entries, LookStack([looks]), SETTINGS)


def others(count):
    """Names and looks of unrelated images, so that one video is not the whole dataset."""
    looks = np.concatenate([video(100 + number, 1) for number in range(count)])
    return [f"{chr(97 + number % 26) * (3 + number // 26)}.jpg" for number in range(count)], looks


@pytest.mark.parametrize(
    "form", ["frame_{:06}.jpg", "{}.png", "0804 wok (frame {}).jpg", "clip2-{:03}_1280x720.jpg", "day/wok.mp4_{}.jpg"]
)
def test_find_frames_any_numbering(form):
    names, looks = others(10)
    groups = grouped(
        [*names, *(form.format(number) for number in (8, 9, 10, 40, 41))], np.concatenate([looks, video(1, 5)])
    )
    assert len(set(groups.names[10:])) == 1 and len(set(groups.names)) == 11
    assert {link.reason for link in groups.links} == {"frames"} and groups.torn == []


def test_find_frames_roboflow_names():
    names, looks = others(10)
    entries = [entry(name) for name in names]
    photos = [f"wok_mp4-{number}_jpg" for number in range(9, 12)]
    entries += [entry(f"{photo}.rf.{number}.jpg", photo=photo, roboflow=True) for number, photo in enumerate(photos)]
    groups = join_groups(entries, LookStack([looks, video(1, 3)]), SETTINGS)
    assert len(set(groups.names[10:])) == 1


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (["a1.jpg", "b2.jpg", "c3.jpg"], {}),
        (["a1_1.jpg", "a2_2.jpg", "a3_3.jpg"], {}),
        (["f1.jpg", "f2.jpg", "f3.jpg"], {"taken": 5.0}),
    ],
)
def test_find_frames_other_names_mean_nothing(names, changes):
    more, looks = others(10)
    entries = [*(entry(name) for name in more), *(entry(n, photo=n[:-4], camera=n, **changes) for n in names)]
    assert len(set(join_groups(entries, LookStack([looks, video(1, 3)]), SETTINGS).names)) == 13


def test_find_frames_numbered_photos_of_other_scenes_stay_apart():
    looks = others(20)[1]
    assert grouped([f"IMG_{number:04}.jpg" for number in range(20)], looks).links == []


def test_find_frames_plain_images_stay_apart():
    looks = np.full((20, 64, 64), 90, np.uint8)
    assert grouped([f"frame_{number}.jpg" for number in range(20)], looks).links == []


def test_find_frames_through_class_folders():
    names, looks = others(10)
    frames = [f"{'raw' if number < 2 else 'golden'}/f{number}.jpg" for number in range(4)]
    groups = grouped([*names, *frames], np.concatenate([looks, video(1, 4)]), task="classification")
    assert len(set(groups.names[10:])) == 1


def test_find_frames_off():
    entries = [entry(f"f{number}.jpg", photo=f"f{number}") for number in range(4)]
    off = SETTINGS.model_copy(update={"burst_seconds": 0.0})
    assert join_groups(entries, LookStack([video(1, 4)]), off).links == []


def test_find_frames_one_long_video_is_cut_where_it_differs_most():
    looks = video(1, 30, step=2.0)
    looks[10:] = np.clip(looks[10:] + video(2, 1)[0] * 0.3, 0, 255)
    looks[20:] = np.clip(looks[20:] * 0.4 + video(3, 1)[0] * 0.3, 0, 255)
    groups = grouped([f"frame_{number:03}.jpg" for number in range(30)], looks)
    sizes = sorted(groups.names.count(name) for name in set(groups.names))
    assert max(sizes) <= 10 and len(sizes) >= 3
    assert len(set(groups.names[:10])) == 1, "cut inside a still scene"


def test_join_groups_reports_the_frames_that_it_tore_apart():
    groups = grouped([f"frame_{number:03}.jpg" for number in range(30)], video(1, 30, step=1.0))
    assert groups.torn and all(abs(first - second) == 1 for first, second in groups.torn)
    for first, second in groups.torn:
        assert groups.names[first] != groups.names[second]
