import numpy as np
import peers
import pytest
import torch

from panvision.cli.packing import pack
from panvision.config import Config
from panvision.core.boxes import box_iou
from panvision.core.tasks import TASKS
from panvision.decoding.decoder import Thresholds
from panvision.inference.predictor import Predictor
from panvision.model.settings import ModelSettings
from panvision.training.data.batches import labelled_batch
from panvision.training.data.sets import open_sets
from tests.cli.small import SMALL

SIDE = 128
MODEL = ModelSettings(backbone="resnet10", weights="none")


@pytest.fixture(scope="module")
def params(raw):
    own = ["train.phase2.backbone_factor=0.1", "train.ema_decay=0.9", f"data.image_size={SIDE}", f"data.root={raw}"]
    return Config().changed(*SMALL, *own).model_dump(mode="json")


@pytest.fixture(scope="module")
def packed(params, tmp_path_factory):
    return pack(Config.parse(params), {}, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def sets(packed):
    return open_sets(packed.prepared, packed.splits)


@pytest.mark.parametrize("task", TASKS)
def test_train_network_scores_and_keeps_the_row(task, params, packed, tmp_path):
    row = peers.train_network(task, params, packed, tmp_path)
    own = {name for name, (of, _) in peers.METRICS.items() if of == task and name in peers.COMPARED}
    assert row.keys() == {*own, "minutes", "MB"}
    assert all(0.0 <= row[name] <= 1.0 for name in own) and row["MB"] > 15
    assert (tmp_path / "log.txt").read_text().count("validation") == 2
    (tmp_path / "log.txt").unlink()
    assert peers.train_network(task, params, packed, tmp_path) == row and not (tmp_path / "log.txt").exists()


@pytest.mark.parametrize("task", TASKS)
def test_phase_1_changes_the_head_and_not_the_backbone(task, params, sets):
    net = peers.make_network(task, MODEL, sets)
    before = {name: value.clone() for name, value in net.named_parameters()}
    peers.train_phase(task, net, sets, Config.parse(params), 1)
    changed = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith("backbone.body.") for name in changed)
    peers.train_phase(task, net, sets, Config.parse(params), 2)
    assert not torch.equal(net.backbone.body.conv1.weight, before["backbone.body.conv1.weight"])


def test_fcos_has_the_losses_of_its_own_forward_pass(sets):
    torch.manual_seed(0)
    net = peers.make_network("detection", MODEL, sets).train()
    batch = labelled_batch(sets.packed["detection"], np.arange(4))
    labels = batch.labels["detection"]
    targets = [
        {"boxes": boxes[own >= 0], "labels": own[own >= 0]}
        for boxes, own in zip(labels["boxes"], labels["labels"], strict=True)
    ]
    net.backbone.body.freeze(weights=False, batch_norm=True)
    expected = sum(net([*batch.images["detection"].float()], targets).values())
    torch.testing.assert_close(peers.network_loss("detection", net, batch), expected)


def test_fcos_has_the_boxes_of_its_own_decoding(sets):
    torch.manual_seed(0)
    net = peers.make_network("detection", MODEL, sets)
    torch.nn.init.normal_(net.head.regression_head.bbox_reg.bias, 2.0, 1.0)
    torch.nn.init.normal_(net.head.classification_head.cls_logits.weight, std=0.3)
    backend = peers.NetworkBackend("detection", net, sets, Thresholds(0.05, 0.6, 20))
    net.score_thresh, net.nms_thresh, net.detections_per_img = 0.05, 0.6, 20
    images = np.asarray(sets.packed["detection"].images[:2])
    with torch.inference_mode():
        expected = net([*torch.tensor(images).permute(0, 3, 1, 2).float()])
    for found, own in zip(Predictor(backend).predict_squares(images, [(SIDE, SIDE)] * 2), expected, strict=True):
        assert len(own["boxes"]) == 20
        np.testing.assert_allclose(found["detection"]["scores"], own["scores"].numpy(), atol=1e-5)
        overlaps = box_iou(np.array(found["detection"]["boxes"], np.float32), own["boxes"].numpy())
        assert np.diag(overlaps).min() > 0.999


@pytest.mark.parametrize("backbone", ["resnet10", "efficientnet_lite0"])
def test_fcn_reads_c5_at_stride_8(backbone, sets):
    net = peers.make_network("segmentation", ModelSettings(backbone=backbone, weights="none"), sets)
    assert net.backbone(torch.zeros(1, 3, SIDE, SIDE))["out"].shape[-2:] == (SIDE // 8, SIDE // 8)


def test_table_has_both_rows_and_their_difference(capsys):
    panvision = {(1, seed): dict.fromkeys(peers.COLUMNS, 0.5 + seed / 100) for seed in (1, 2, 3)}
    others = {key: dict.fromkeys(peers.COLUMNS, 0.4) for key in panvision}
    peers.show(panvision, others)
    _, _, first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("| panvision | 3 | 0.520 ± 0.010 |") and second.startswith(
        "| torchvision's three | 3 | 0.400"
    )
    assert last.startswith("| difference | 3 | +0.095 to +0.145 * |")
    peers.show({}, others)
    assert "| panvision | 0 |" in capsys.readouterr().out
    del others[1, 1]["mAP"]
    peers.show(panvision, others)
    assert "| difference | 3 |" in capsys.readouterr().out


def test_the_row_of_panvision_needs_the_same_settings_and_images(packed, params, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "load_checkpoint", lambda path: (torch.nn.Linear(999, 1), {}))
    assert peers.panvision_row(params, tmp_path, packed) is None
    peers.write_json(tmp_path / "done.json", {"params": params, "row": {"mIoU": 0.5}})
    (tmp_path / "build").mkdir()
    (tmp_path / "build/splits.csv").write_bytes(packed.splits.read_bytes())
    assert peers.panvision_row(params, tmp_path, packed) == {"mIoU": 0.5, "MB": 0.004}
    assert peers.panvision_row({**params, "seed": 7}, tmp_path, packed) is None
    (tmp_path / "build/splits.csv").write_text("task,file,group,split\n")
    assert peers.panvision_row(params, tmp_path, packed) is None
