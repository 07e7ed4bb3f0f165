from dataclasses import replace

from panvision.core import tasks
from panvision.evaluation.summary import summary, summary_names


def test_summary_has_the_headline_metrics_in_task_order():
    metrics = {task: {"images": 3, "ci95": {}} for task in tasks.TASKS}
    metrics["segmentation"] |= {"miou": 0.5, "iou": {"pan": 0.4}}
    found = summary(metrics)
    assert list(found) == ["miou", "dice", "map50", "map50_95", "accuracy", "balanced_accuracy"]
    assert found["miou"] == 0.5 and found["accuracy"] is None


def test_later_tasks_metric_has_its_loss_name_as_prefix(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "lid", replace(tasks.TASKS["segmentation"], loss="lid"))
    names = summary_names()
    assert names["miou"] == ("segmentation", "miou") and names["lid_miou"] == ("lid", "miou")
